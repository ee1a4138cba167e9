/* SPDX-License-Identifier: MIT */
/*
 * access - who may map what: miniupnpd's permission rules, as its configuration has them.
 *
 *	allow|deny EXTERNAL_PORTS CLIENT_NET INTERNAL_PORTS
 *
 *	allow 1024-65535 192.168.1.0/24 1024-65535
 *	allow 12345 192.168.7.113/32 54321
 *	deny 0-65535 0.0.0.0/0 0-65535
 *
 * Ports are one or LOW-HIGH, the net is an IPv4 address with or without /BITS. The first
 * rule that fits decides; where none fits the request is allowed.
 *
 * External ports are ports of the line's own address: relay ports. A line with a public
 * address shows them to strangers as they are. Behind a carrier's NAT the port that
 * strangers see is the carrier's choice, and no rule can promise or forbid it.
 *
 * Pure: no I/O, no allocation.
 */
#ifndef LIB_ACCESS_H
#define LIB_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCESS_RULES_MAX 64

struct access_ports {
	uint16_t low, high; /* both included */
};

struct access_rule {
	bool allow;
	struct access_ports external, internal;
	uint32_t net, mask; /* host order */
};

/* {0}: no rules, everything is allowed. */
struct access {
	struct access_rule rules[ACCESS_RULES_MAX];
	size_t count;
};

/* Reads one rule. -EINVAL: not of that form. */
int access_parse(struct access_rule *out, const char *text);
/* -EINVAL as access_parse, -ENOSPC when there are ACCESS_RULES_MAX. */
int access_add(struct access *a, const char *text);
/*
 * The lowest external port from low to high that a client (host order) may have for an
 * internal port; 0 when the rules allow none of them. Costs rules squared at most, not ports.
 */
uint16_t access_next(const struct access *a, uint32_t client_ip, uint16_t internal_port, uint16_t low, uint16_t high);
bool access_allows(const struct access *a, uint32_t client_ip, uint16_t internal_port, uint16_t external_port);

#endif
