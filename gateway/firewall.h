/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall - lets strangers reach mapped clients, and clients leave by their mapped port.
 *
 * One interface, several backends: nftables, and "none" for those who route by hand. What
 * a mapping means to a firewall:
 *
 *	inbound:  WAN:relay_port → client_ip:internal_port, the stranger's address kept
 *	outbound: client_ip:internal_port → leaves as WAN:relay_port
 *
 * The STUN servers in use are exempt from both, or the holes would be taken from the
 * sockets that hold them. Flows of ours carry a ct mark, by which a foreign chain that
 * drops by default can let them pass (accept_chains).
 *
 * A change takes effect or fails whole, and what is there already may be added again. After
 * each the caller scrubs conntrack.
 */
#ifndef GATEWAY_FIREWALL_H
#define GATEWAY_FIREWALL_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/endpoint.h"
#include "lib/leases.h"

struct firewall_mapping {
	enum lease_protocol protocol;
	uint16_t relay_port;
	uint32_t client_ip; /* host order */
	uint16_t internal_port;
};

#define FIREWALL_ACCEPT_CHAINS 8
#define FIREWALL_SERVERS       64

struct firewall_config {
	const char *wan; /* interface name */
	uint32_t mark, mark_mask;
	const char *accept_chains[FIREWALL_ACCEPT_CHAINS]; /* "inet filter forward", borrowed */
	size_t accept_chain_count;
};

struct firewall;

/* A backend's row. Errors are negative errno; firewall_error says more. */
struct firewall_backend {
	const char *name;
	/* Builds everything anew: whatever an earlier run left is gone. A failure is told in why. */
	int (*open)(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max);
	int (*add)(struct firewall *f, const struct firewall_mapping *m);
	int (*remove)(struct firewall *f, const struct firewall_mapping *m);
	/* The servers in use, all of them, per protocol; at most FIREWALL_SERVERS. */
	int (*exempt)(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count);
	/* Names the foreign chains that would drop our flows, joined by ", "; "" when none. */
	void (*obstacles)(struct firewall *f, char *buf, size_t max);
	/* Leaves no trace. NULL is fine. */
	void (*close)(struct firewall *f);
	const char *(*error)(const struct firewall *f); /* of the last call that failed */
};

extern const struct firewall_backend firewall_nftables, firewall_none;

/* "nftables" or "none"; NULL for another name. */
const struct firewall_backend *firewall_backend(const char *name);
/* Whether a text is "FAMILY TABLE CHAIN" as --accept-chain wants it. */
bool firewall_chain_valid(const char *chain);

#endif
