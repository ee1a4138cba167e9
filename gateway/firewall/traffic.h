/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * traffic - what went through each mapping, as the kernel counted it.
 *
 * In is what came by the line to client:internal_port and out what left by it from there,
 * whoever began the flow, after every chain that might have dropped it: IP packets with
 * their headers as the router forwards them (what its network card merged is one). Connections are
 * the flows that began from outside by the mapping, UDP's as conntrack tells them apart. What stays in the
 * LAN, by hairpin too, is not counted, and nothing of the holes' own keepalive.
 *
 * Numbers never fall while the mapping is there; they begin at 0 when the gateway starts. When the
 * firewall is built anew, what was counted since the last look is lost.
 *
 * A look walks all counters in the kernel, off the loop: with 10,000 mappings some 40 ms. So
 * nobody looks but who is asked to (traffic_look), and at most once each TRAFFIC_PACE_MS.
 */
#ifndef GATEWAY_TRAFFIC_H
#define GATEWAY_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/leases.h"

#define TRAFFIC_PACE_MS	 2000
#define TRAFFIC_WATCHERS 4

struct firewall_backend;
struct traffic;

struct traffic_counts {
	uint64_t in_bytes, in_packets, out_bytes, out_packets, connections;
};

/* A look is done, well or not. Told in the loop, never from within a call. */
typedef void traffic_changed_fn(void *owner);

/* The first look begins now. Negative errno. */
int traffic_open(struct traffic **out, uv_loop_t *loop, const struct firewall_backend *backend);
/* TRAFFIC_WATCHERS at most, until it is closed; -ENOSPC. */
int traffic_watch(struct traffic *t, traffic_changed_fn *changed, void *owner);
/*
 * Why nothing is counted, or not all, in words for people ("part of the flows …"); "" when all is. Borrowed until the
 * next look is done.
 */
const char *traffic_why_not(const struct traffic *t);
/* As of the last look. False: nothing is known of it (yet). */
bool traffic_of(const struct traffic *t, const struct lease_key *key, struct traffic_counts *out);
/* Of all mappings there ever were, those that have ended too: it never falls. */
struct traffic_counts traffic_total(const struct traffic *t);
/* Asks the kernel anew, now or as soon as it may. False: there is nobody to ask, and nothing will be told. */
bool traffic_look(struct traffic *t);
/* The loop must run until the handles are closed; nobody is told any more. NULL is fine. */
void traffic_close(struct traffic *t);

#endif
