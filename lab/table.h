/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * table - the mappings of the NAT and the sessions that use them.
 *
 *   mapping: inner endpoint -> outer endpoint, for one scope of remotes (RFC 4787, section 4.1): endpoint-independent
 *            has scope ENDPOINT_NONE, address-dependent the remote address with port 0, the third address and port.
 *            An outer endpoint belongs to one mapping per protocol, whatever the scope.
 *   session: one remote endpoint an inner endpoint talks to, through one mapping. UDP sessions are made by outbound
 *            packets only: they are also the record of who was contacted, which filtering asks for.
 *
 * Pure state: time is an argument, no policy is made here. What has expired is not found. Everything returned is
 * borrowed until the next call that takes a non-const table. Lookups are hashed; memory is bounded and taken at once.
 */
#ifndef LAB_TABLE_H
#define LAB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/endpoint.h"

enum { TABLE_MAPPINGS = 65536, TABLE_SESSIONS = 131072 };

struct link { /* of a list whose members can leave it in O(1) */
	struct link *next, **back;
};

struct mapping {
	struct link by_inner, by_outer, live;
	struct link *sessions; /* through session.siblings */
	struct endpoint inner, outer, scope;
	uint64_t last_ms;
	uint64_t expires_ms; /* with no session left it stays until then; 0 (TCP): goes with its last session */
	uint8_t proto;
};

/* What a TCP session has seen (session.seen). */
enum { SEEN_SYN_OUT = 1, SEEN_SYN_IN = 2, SEEN_FIN_OUT = 4, SEEN_FIN_IN = 8, SEEN_RST = 16 };

struct session {
	struct link by_flow, by_contact, siblings;
	struct mapping *mapping;
	struct endpoint remote;
	uint64_t last_ms, expires_ms;
	uint8_t seen;
	bool from_inside; /* who began */
};

struct table;

int table_new(struct table **out); /* -ENOMEM */
void table_free(struct table *t);  /* NULL is fine */

struct mapping *table_find_inner(
	struct table *t, uint8_t proto, const struct endpoint *inner, const struct endpoint *scope, uint64_t now_ms);
struct mapping *table_find_outer(struct table *t, uint8_t proto, const struct endpoint *outer, uint64_t now_ms);
/* NULL when the table is full. Inner, scope and outer must not be there yet. */
struct mapping *table_add_mapping(struct table *t, uint8_t proto, const struct endpoint *inner,
	const struct endpoint *scope, const struct endpoint *outer);

struct session *table_find_session(
	struct table *t, uint8_t proto, const struct endpoint *inner, const struct endpoint *remote, uint64_t now_ms);
struct session *table_add_session(struct table *t, struct mapping *m, const struct endpoint *remote); /* NULL: full */
/* A session of m with the remote's address, whatever the port, that satisfies want(); NULL when there is none. */
struct session *table_find_contact(struct table *t, struct mapping *m, const struct endpoint *remote, uint64_t now_ms,
	bool (*want)(const struct session *s));

/* Removes what has expired, or everything. */
void table_expire(struct table *t, uint64_t now_ms);
void table_clear(struct table *t);

size_t table_mapping_count(const struct table *t);
/* Walks the mappings, newest first: m = NULL begins, NULL ends. */
const struct mapping *table_next_mapping(const struct table *t, const struct mapping *m);
const struct session *mapping_next_session(const struct mapping *m, const struct session *s);

#endif
