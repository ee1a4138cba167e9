/* SPDX-License-Identifier: MIT */
/*
 * leases - the table of granted port mappings.
 *
 * A lease says: what reaches us on relay_port belongs to client:internal_port, until
 * expires_ms. There is one per client, protocol and internal port, and one per
 * protocol and relay port. Pure state: no socket, clock or firewall. Errors are
 * negative errno. A lease stays where it is, and borrowed, until it is removed.
 */
#ifndef LIB_LEASES_H
#define LIB_LEASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lease_protocol { LEASE_TCP = 6, LEASE_UDP = 17 }; /* their IP protocol numbers */

#define LEASES_FOREVER UINT64_MAX /* expires_ms of a lease that nobody was granted: it counts in no quota */

struct lease_key {
	enum lease_protocol protocol;
	uint32_t client_ip;	/* host order */
	uint16_t internal_port; /* not 0 */
};

struct lease {
	struct lease_key key;
	uint16_t relay_port;
	uint64_t expires_ms;
	void *owner; /* what the program hangs on it; not touched here */

	struct lease *next_key, *next_relay; /* private: chains of two hash tables */
	struct lease *next, *prev;	     /* private: all leases */
	struct lease_client *client;	     /* private: its share, NULL for LEASES_FOREVER */
};

struct leases;

/* max: leases in all; max_per_client: of one client address. */
int leases_new(struct leases **out, size_t max, size_t max_per_client);
void leases_free(struct leases *t); /* NULL is fine */

/*
 * Adds a lease: -EEXIST when the key or the relay port has one, -ENOSPC when the table
 * is full, -EDQUOT when the client's share is, -ENOMEM. Renewing is writing expires_ms,
 * but never from or to LEASES_FOREVER.
 */
int leases_add(struct leases *t, const struct lease_key *key, uint16_t relay_port, uint64_t expires_ms, struct lease **out);
/* What leases_add would say to a new key: 0, -ENOSPC or -EDQUOT. Asks before work is spent. */
int leases_room(const struct leases *t, uint32_t client_ip);
/* Another relay port for a lease: -EEXIST when that has one. */
int leases_move(struct leases *t, struct lease *l, uint16_t relay_port);
/* Another client address for a lease that nobody was granted (LEASES_FOREVER): -EEXIST when its key has one. */
int leases_follow(struct leases *t, struct lease *l, uint32_t client_ip);
void leases_remove(struct leases *t, struct lease *l);

/* NULL when there is none. */
struct lease *leases_find(const struct leases *t, const struct lease_key *key);
struct lease *leases_find_relay(const struct leases *t, enum lease_protocol protocol, uint16_t relay_port);
/* Walks all: NULL begins and ends it. The one at hand may be removed when its successor was fetched. */
struct lease *leases_next(const struct leases *t, const struct lease *l);
size_t leases_count(const struct leases *t);

/*
 * The relay port to try first for a key: the same one each time, so that a client that
 * comes back after a restart finds its port again, and spread evenly over low to high.
 */
uint16_t leases_preferred_relay(const struct lease_key *key, uint16_t low, uint16_t high);

#endif
