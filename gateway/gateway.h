/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gateway - the core: leases, their holes, the firewall, and what clients are told.
 *
 *	request → lease + hole → (hole opens) → firewall, conntrack → answer
 *	          hole changes, line moves   → announcements
 *	          lease expires or is deleted → firewall, conntrack, hole closed
 *
 * What is granted is on disk before its client hears of it (gateway/keeper.h), and what is
 * found there at start stands again: its rule at once, its hole soon, one after the other.
 * The configuration's own mappings (gateway/permanent.h) go the same way, and never end.
 *
 * Knows no NAT-PMP sockets: a request comes with a reply function, which is called at once
 * or when the hole is open. One question per mapping waits at a time; a retransmission
 * takes its place.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <uv.h>

#include "gateway/config.h"
#include "gateway/line.h"
#include "gateway/hooks.h"
#include "lib/natpmp.h"
#include "sys/netif.h"

struct gateway;

/* Who asks, and where the answer goes: opaque bytes of the server that asks. */
#define GATEWAY_REPLY_MAX 48
struct gateway_asker {
	uint8_t reply_to[GATEWAY_REPLY_MAX];
};

struct gateway_answer {
	enum natpmp_result result;
	uint16_t outer_port; /* with NATPMP_SUCCESS */
	uint32_t lifetime_s;
};

struct gateway_callbacks {
	/* The answer to a mapping request that could not be given at once. */
	void (*answer)(void *owner, const struct gateway_asker *asker, const struct natpmp_request *request,
		const struct gateway_answer *answer);
	/* The public address or a mapping changed: clients are to hear it, ten times. */
	void (*announce)(void *owner);
};

/* wan: as for gateway_follow. lans are borrowed for the call: whose hosts may have been granted what the state file says; none: not known. */
int gateway_open(struct gateway **out, uv_loop_t *loop, const struct config *config, const struct netif *wan,
	const struct netif *lans, size_t lan_count, struct firewall *firewall, const struct gateway_callbacks *callbacks, void *owner);

/*
 * A mapping request (opcode 1 or 2) of a client, lifetime 0 deletes (RFC 6886 section 3.4).
 * 1: *answer is to be sent now. 0: the answer comes later, or never while the line is at fault.
 */
int gateway_map(struct gateway *g, uint32_t client_ip, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer);
/*
 * The configuration's access rules are others: ends the mappings that they forbid. A
 * renewal of such a one is then a new request, for another port or refused.
 */
void gateway_reconsider(struct gateway *g);
/* 1: *result and *public_ip are the answer to opcode 0. 0: say nothing yet. */
int gateway_address(struct gateway *g, enum natpmp_result *result, uint32_t *public_ip);
/* From now on the hook is told of mappings; NULL: there is none. Outlives the gateway. */
void gateway_hooks(struct gateway *g, struct hooks *hooks);
/* The configuration has changed where it may. servers: others are to be asked. */
void gateway_reload(struct gateway *g, bool servers);
uint32_t gateway_epoch_s(const struct gateway *g);
/* What is known of the carrier's NAT for a protocol's mappings. */
struct line_nat gateway_nat(const struct gateway *g, enum lease_protocol protocol);
/*
 * The line is this interface now; its ip is 0 while it has none or is down. What is there stays:
 * with an address the firewall follows, then the line is asked, then all holes, paced. Without
 * one nobody is asked, and clients meet silence.
 */
void gateway_follow(struct gateway *g, const struct netif *wan);
/* Somebody else changed the firewall. */
void gateway_firewall_changed(struct gateway *g);
/* What was counted of mappings; it ends with the gateway. */
struct traffic *gateway_traffic(const struct gateway *g);
/* A table of all mappings and the line, to the log at info level; and when the kernel has told it, of their traffic. */
void gateway_log_mappings(struct gateway *g);
/* Ends all holes and takes all mappings from the firewall; the loop must run until its handles are closed. */
void gateway_close(struct gateway *g);

#endif
