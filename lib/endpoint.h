/* SPDX-License-Identifier: MIT */
/*
 * endpoint - an IP address and a port, as the protocols carry them.
 *
 * Not a sockaddr: the core knows no sockets. sys/net.h converts.
 */
#ifndef LIB_ENDPOINT_H
#define LIB_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum endpoint_family { ENDPOINT_NONE = 0, ENDPOINT_IPV4 = 4, ENDPOINT_IPV6 = 6 };

struct endpoint {
	uint8_t family; /* enum endpoint_family */
	uint16_t port;  /* host order */
	uint8_t ip[16]; /* network order; IPv4 uses the first 4 bytes, the rest is 0 */
};

#define ENDPOINT_TEXT_MAX 56 /* "[v6 address]:port" and the final NUL */

/* ip: host order. */
struct endpoint endpoint_ipv4(uint32_t ip, uint16_t port);
/* The IPv4 address in host order, 0 for another family. */
uint32_t endpoint_ip32(const struct endpoint *e);
/* 4 or 16 (bytes of the address), 0 for ENDPOINT_NONE. */
size_t endpoint_ip_len(const struct endpoint *e);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
/* Whether a host can have it: a port, and no "this network" (0/8, ::), multicast or reserved address. */
bool endpoint_is_host(const struct endpoint *e);
/* Whether its address belongs to one machine, link or site: loopback, link-local, RFC 1918, RFC 6598, RFC 4193. */
bool endpoint_is_local(const struct endpoint *e);
bool endpoint_same_ip(const struct endpoint *a, const struct endpoint *b);

/* "203.0.113.9:40001", "[2001:db8::1]:40001", "-" for none. Returns buf. */
const char *endpoint_text(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX]);
/* The address without the port. Returns buf. */
const char *endpoint_ip_text(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX]);
/* Reads ADDR:PORT, an IPv6 address in brackets, the port not 0; -EINVAL. */
int endpoint_parse(struct endpoint *out, const char *text);
/* Reads an address literal, IPv4 or IPv6 without brackets; -EINVAL. */
int endpoint_parse_ip(struct endpoint *out, const char *text, uint16_t port);

#endif
