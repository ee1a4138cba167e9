/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * punch - a hole (lib/hole.h) with its sockets: does what the machine says, tells it what arrives.
 *
 * UDP: one socket on WAN:relay port, which asks and holds. TCP: a bound socket that holds
 * the port for us, and the connections to STUN servers from the same port; where those
 * close after one answer an anchor (gateway/hole/anchor.h) holds, and the STUN servers are only
 * asked every fourth interval and when the anchor stands anew.
 *
 * Each question goes to the server that this punch's seed chooses among those that are
 * well, when the server's queue has a place for it (gateway/hole/servers.h).
 */
#ifndef GATEWAY_PUNCH_H
#define GATEWAY_PUNCH_H

#include <uv.h>

#include "gateway/hole/servers.h"
#include "lib/hole.h"

struct punch;

/* The hole's events: HOLE_OPENED, HOLE_CHANGED, HOLE_HELD, HOLE_GONE, HOLE_SUSPECT. The callee may close the punch. */
typedef void punch_event_fn(void *owner, enum hole_action event, bool disagree);

struct punch_config {
	uv_loop_t *loop;
	struct servers *servers; /* borrowed, outlives the punch */
	struct servers *hosts;	 /* of anchors, likewise; NULL: none */
	enum lease_protocol protocol;
	struct endpoint local; /* port 0: any */
	bool direct; /* there is no NAT: the port is held, nobody is asked */
	uint32_t keepalive_ms;
	bool steady; /* a watch hole: never the one that tries whether a silent server is back */
	punch_event_fn *event;
	void *owner;
};

/* -EADDRINUSE when the port is taken, -EMFILE and its kin when there is nothing left to ask with. */
int punch_open(struct punch **out, const struct punch_config *config);
const struct hole *punch_hole(const struct punch *p);
uint16_t punch_port(const struct punch *p);
/* Another owner from now on, who finds the hole as it is. */
void punch_assign(struct punch *p, punch_event_fn *event, void *owner);
/* Another interval; a shorter one counts at once. NULL is fine. */
void punch_keepalive(struct punch *p, uint32_t keepalive_ms);
/* Asks now: something suggests that the outer endpoint is another, or servers are known at last. NULL is fine. */
void punch_recheck(struct punch *p);
/* The same by a new connection, if that can be had beside the old one: what is silent on it may be dead. NULL is fine. */
void punch_redial(struct punch *p);
/* The same by a new connection, and one answer is enough: the NAT is known to have forgotten its mappings. NULL is fine. */
void punch_renew(struct punch *p);
/* The line has no NAT, or has one again. */
void punch_direct(struct punch *p, bool direct);
/* The line has no address: asks nobody, keeps its sockets, until it is moved. */
void punch_pause(struct punch *p);
/*
 * The line has this IPv4 address (host order) now, and perhaps had it before: goes on from its
 * port there and asks at once. As punch_open on failure, and then nothing changed.
 */
int punch_move(struct punch *p, uint32_t ip);
/* Asks these servers from now on, and at once. */
void punch_servers(struct punch *p, struct servers *servers);
void punch_close(struct punch *p); /* NULL is fine */

#endif
