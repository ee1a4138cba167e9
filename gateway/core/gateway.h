/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gateway - the core: leases, their holes, the firewall, and what clients are told.
 *
 *	request → lease + hole → (hole opens) → firewall, conntrack → answer
 *	          hole changes, line moves   → announcements
 *	          lease expires or is deleted → firewall, conntrack, hole closed
 *
 * What is granted is on disk before its client hears of it (gateway/state/keeper.h), and what is
 * found there at start stands again: its rule at once, its hole soon, one after the other.
 * The configuration's own mappings (gateway/state/permanent.h) go the same way, and never end.
 *
 * Knows neither NAT-PMP sockets nor web pages: whoever asks brings the function that takes the
 * answer, given at once or when the hole is open; a retransmission takes its question's place.
 * Whoever wants to know what changes observes (gateway_observe).
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <uv.h>

#include "gateway/config.h"
#include "gateway/hole/line.h"
#include "gateway/hooks.h"
#include "gateway/state/state.h"
#include "lib/hole.h"
#include "lib/natpmp.h"
#include "sys/netif.h"

struct gateway;

struct gateway_asker;
struct gateway_answer {
	enum natpmp_result result;
	uint16_t outer_port; /* with NATPMP_SUCCESS */
	uint32_t lifetime_s;
};

typedef void gateway_answer_fn(void *owner, const struct gateway_asker *asker, const struct natpmp_request *request,
	const struct gateway_answer *answer);

/* Who asks, and what takes an answer that could not be given at once. Of one owner and id one question per mapping waits. */
#define GATEWAY_REPLY_MAX 48
struct gateway_asker {
	gateway_answer_fn *answer;
	void *owner;
	uint64_t id;
	uint8_t reply_to[GATEWAY_REPLY_MAX]; /* opaque: where the answer goes */
};

/* wan: as for gateway_follow. lans are borrowed for the call: whose hosts may have been granted what the state file says; none: not known. */
int gateway_open(struct gateway **out, uv_loop_t *loop, const struct config *config, const struct netif *wan,
	const struct netif *lans, size_t lan_count, struct firewall *firewall);

/*
 * A mapping request (opcode 1 or 2) of a client, lifetime 0 deletes (RFC 6886 section 3.4).
 * 1: *answer is to be sent now. 0: the answer comes later, or never while the line is at fault.
 */
int gateway_map(struct gateway *g, uint32_t client_ip, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer);
/*
 * A mapping that somebody wishes over the web: as if its host had asked, but it is that person's, who alone
 * shortens or deletes it. One that is there is renewed, and becomes the person's.
 */
struct gateway_wish {
	struct lease_key key;	 /* internal_port not 0 */
	uint32_t lifetime_s;	 /* 1 to --hold-max; cut to that */
	uint16_t relay_port;	 /* this and no other, of any range; 0: any, or as it is */
	const char *description; /* UTF-8 of at most STATE_DESCRIPTION - 1 bytes, copied; NULL: none, or as it is */
};
/*
 * 1: *answer is to be told now. 0: the asker is answered later, perhaps before this returns. Negative errno, told as
 * gateway_why_not says: -EEXIST the relay port is another mapping's, -EBUSY the mapping is there with another relay port, -EPERM it is the
 * configuration's, -EAGAIN too many wait, -ENOBUFS the STUN servers' --stun-rate is used up, -ENOTSUP the carrier's NAT is not suited, -EDQUOT, -ENOSPC, -EACCES, -EADDRINUSE, -EADDRNOTAVAIL.
 */
int gateway_wish(struct gateway *g, const struct gateway_wish *wish, const struct gateway_asker *asker, struct gateway_answer *answer);
/* Likewise deletes it, whosever it is; answered when no flow of it lives. -ENOENT: there is none. */
int gateway_unmap(struct gateway *g, const struct lease_key *key, const struct gateway_asker *asker, struct gateway_answer *answer);
/* Who asked (owner and id) has gone and is not answered. A wish's mapping that nobody heard of goes with him. */
void gateway_forget(struct gateway *g, const struct lease_key *key, const struct gateway_asker *asker);
const char *gateway_why_not(int err);

/*
 * The configuration's access rules are others: ends the mappings that they forbid. A
 * renewal of such a one is then a new request, for another port or refused.
 */
void gateway_reconsider(struct gateway *g);
/* 1: *result and *public_ip are the answer to opcode 0. 0: say nothing yet. */
int gateway_address(struct gateway *g, enum natpmp_result *result, uint32_t *public_ip);
/* From now on the hook is told of mappings, first of those that are open; NULL: there is none, and those before are no longer used. */
void gateway_hooks(struct gateway *g, struct hooks *hooks);
/*
 * The configuration has changed where it may: permanent mappings that it no longer has end, new ones begin. servers: others are to be
 * asked. lans as for gateway_open.
 */
void gateway_reload(struct gateway *g, bool servers, const struct netif *lans, size_t lan_count);
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

/* --- what there is to see (gateway/core/view.c) --- */

struct gateway_mapping {
	struct lease_key key;
	uint16_t relay_port;
	struct endpoint outer; /* port 0: not known yet */
	enum origin origin;
	enum hole_state state;
	uint32_t lifetime_s; /* what was asked; 0: for ever */
	uint64_t expires_ms; /* of clock_ms; LEASES_FOREVER */
	uint64_t since_ms;   /* state and outer are so since */
	uint32_t rtt_ms;     /* to its STUN server, last */
	const char *description; /* NULL: none; borrowed */
	/*
	 * Where its path breaks: "" nowhere, "no-line" WAN has no address, "relay-port" that port cannot be had, "firewall" the rule does not stand,
	 * "nat-unsuited" the NAT maps by destination, "stun-silent" no server answers, "filtered" strangers get in where the client sent first.
	 */
	const char *trouble;
};
/* Their keys alone: with 10,000 mappings a millisecond. */
void gateway_each_key(const struct gateway *g, void (*visit)(void *owner, const struct lease_key *key), void *owner);
void gateway_each(const struct gateway *g, void (*visit)(void *owner, const struct gateway_mapping *m), void *owner);
bool gateway_find(const struct gateway *g, const struct lease_key *key, struct gateway_mapping *out);

/* What became of mappings' holes since the start; none of these falls. */
struct gateway_counts {
	uint64_t opened, lost; /* opened: for the first time, or again */
	uint64_t changed;      /* the outer endpoint became another */
};

struct gateway_status {
	struct netif wan;
	uint32_t public_ip; /* host order; 0: not known */
	uint64_t public_since_ms;
	uint32_t epoch_s;
	struct line_nat nat[2]; /* UDP, TCP, here and below */
	enum line_verdict verdict[2];
	size_t mappings, punching, open, lost;
	size_t pool[2]; /* spare holes that stand ready */
	uint32_t keepalive_ms[2];
	struct gateway_counts counts;
};
void gateway_status(const struct gateway *g, struct gateway_status *out);
/* STUN servers by index, from 0 until false. */
bool gateway_server(const struct gateway *g, enum lease_protocol protocol, size_t index, struct server_health *out);

/* Told in the loop; nothing of the gateway is to be changed from there. NULL: not wanted. */
struct gateway_observer {
	void *owner;
	/* A mapping appeared, or anything of gateway_mapping is another (renewals as well); gone: this was its last. */
	void (*mapping)(void *owner, const struct gateway_mapping *m, bool gone);
	/* gateway_status or a server's health may be another: at once when the line is, and every few seconds. */
	void (*status)(void *owner);
	/* The public address or a mapping's outer port is another: clients are to hear it, ten times. */
	void (*announce)(void *owner);
};
#define GATEWAY_OBSERVERS 4
/* Borrowed for good. */
void gateway_observe(struct gateway *g, const struct gateway_observer *observer);

/* The firewall is used no more: close it, then the gateway, or flows would begin that nobody ends. NULL is fine. */
void gateway_release_firewall(struct gateway *g);
/* Ends all holes and flows; the loop must run until its handles are closed. */
void gateway_close(struct gateway *g);

#endif
