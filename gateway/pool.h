/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pool - holes punched ahead, so that a new mapping is answered at once.
 *
 * For each protocol up to so many holes, on relay ports that no mapping has, are held open
 * and verified as any other. A taken one is a mapping's from then on; the pool fills up
 * behind, slowly, and only while the line is suited. A hole about which anything is in
 * doubt (a question failed, an answer deviates, the last answer is too old) is not ready.
 */
#ifndef GATEWAY_POOL_H
#define GATEWAY_POOL_H

#include "gateway/punch.h"

#define POOL_MAX 64 /* holes per protocol */

struct pool;

/* How many holes of this protocol the pool may have now, at most: mappings come first. */
typedef size_t pool_room_fn(void *owner, enum lease_protocol protocol);
/* Whether a relay port is a mapping's. */
typedef bool pool_taken_fn(void *owner, enum lease_protocol protocol, uint16_t port);

struct pool_config {
	struct punch_config punch; /* of the holes; protocol, port, event and owner are the pool's */
	uint16_t relay_low, relay_high;
	uint32_t wanted; /* per protocol, at most POOL_MAX */
	pool_room_fn *room;
	pool_taken_fn *taken;
	void *owner;
};

int pool_open(struct pool **out, const struct pool_config *config);
/* Fills and holds while a protocol's line is suited; ends its holes when it is not. */
void pool_suited(struct pool *p, enum lease_protocol protocol, bool suited);
/* Looks whether the pool is as large as it may be; to be called now and then. */
void pool_tend(struct pool *p);
/* A ready hole, assigned to its new owner, or NULL. */
struct punch *pool_take(struct pool *p, enum lease_protocol protocol, punch_event_fn *event, void *owner);
/* Whether a relay port is one of the pool's: TCP sockets would share it without a word. */
bool pool_has(const struct pool *p, enum lease_protocol protocol, uint16_t port);
/* Gives up a hole that is in another's way: that on this port, or with port 0 any. True when there was one. */
bool pool_yield(struct pool *p, enum lease_protocol protocol, uint16_t port);
void pool_keepalive(struct pool *p, enum lease_protocol protocol, uint32_t keepalive_ms);
void pool_recheck(struct pool *p, enum lease_protocol protocol);
/* Asks these from now on. */
void pool_servers(struct pool *p, struct servers *servers);
void pool_renew(struct pool *p, enum lease_protocol protocol);
/* The line has another address (host order): holes are punched from there. */
void pool_move(struct pool *p, uint32_t ip);
size_t pool_ready(const struct pool *p, enum lease_protocol protocol);
void pool_close(struct pool *p); /* NULL is fine */

#endif
