/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * line - what the carrier's NAT does to one protocol: the watch hole, and the verdict.
 *
 * The watch hole asks every few seconds, so that a renumbered line is noticed soon, and
 * knows the public address. The verdict says whether a hole is worth punching: asked when
 * the watch hole opens, again when the public address changes, and again while unknown.
 *
 * A line whose watch hole shows its own public address and port has no NAT: it is direct.
 * Each look of the watch hole confirms it, so a 1:1 NAT, or a NAT that comes between, shows.
 */
#ifndef GATEWAY_LINE_H
#define GATEWAY_LINE_H

#include <uv.h>

#include "gateway/hole/servers.h"
#include "lib/natcheck.h"

struct line;

enum line_event {
	LINE_UP,      /* the public address is known (again), line_is_direct may be another */
	LINE_MOVED,   /* the public address is another, likewise */
	LINE_CHANGED, /* the NAT forgot its mappings: others of the protocol have other outer ports as well. Follows LINE_UP or LINE_MOVED */
	LINE_SUSPECT, /* other holes may want to look too */
	LINE_VERDICT, /* line_verdict says something new */
};

typedef void line_event_fn(void *owner, enum lease_protocol protocol, enum line_event event);

struct line_config {
	uv_loop_t *loop;
	struct servers *servers, *hosts; /* as in struct punch_config */
	enum lease_protocol protocol;
	uint32_t wan_ip; /* host order; 0: none yet, line_move tells */
	unsigned wan_index;
	uint32_t watch_ms;
	line_event_fn *event;
	void *owner;
};

enum line_verdict {
	LINE_ASKING,   /* not known yet: wait with the answer */
	LINE_SUITED,   /* holes work, or nothing says that they do not */
	LINE_UNSUITED, /* the NAT maps by destination: no hole can serve strangers */
};

int line_open(struct line **out, const struct line_config *config);
enum line_verdict line_verdict(const struct line *l);
/* Whether there is no NAT, and so no hole is needed. */
bool line_is_direct(const struct line *l);
/* What is known of the carrier's NAT: behaviours, STUNWAY_BEHAVIOR_UNKNOWN where it cannot be asked or is not answered yet. */
struct line_nat {
	bool direct;
	enum stunway_behavior mapping, filtering;
};
struct line_nat line_nat(const struct line *l);
/* The public address in host order; 0 while it is not known. */
uint32_t line_public_ip(const struct line *l);
/* The watch hole's; 0: it has none. */
uint16_t line_port(const struct line *l);
/* The list of servers changed. */
void line_recheck(struct line *l);
/* The other protocol's line is another: asks at once. moved: its public address is, so that nothing old can live. */
void line_doubt(struct line *l, bool moved);
/*
 * The line has this address (host order) and interface now, and perhaps had them before: asks at
 * once what is outside, and what the NAT is like. 0: it has none, nobody is asked. A failure is
 * negative errno, and then it is as with 0.
 */
int line_move(struct line *l, uint32_t wan_ip, unsigned wan_index);
/* Asks these servers from now on. */
void line_servers(struct line *l, struct servers *servers);
void line_close(struct line *l); /* NULL is fine */

#endif
