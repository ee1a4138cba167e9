/* SPDX-License-Identifier: MIT */
#include "lib/leases.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS 1024 /* a power of two */

/* A client that has leases. */
struct lease_client {
	uint32_t ip;
	size_t count;
	struct lease_client *next;
};

struct leases {
	size_t max, max_per_client;
	size_t count, forever; /* all, and those of them that count in no quota */
	struct lease *first;
	struct lease *by_key[BUCKETS], *by_relay[BUCKETS];
	struct lease_client *by_ip[BUCKETS];
};

/* The finalizer of MurmurHash3: every bit of the input moves half of the output's. */
static uint32_t mixed(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return (uint32_t)(x ^ x >> 33);
}

static uint32_t key_hash(const struct lease_key *k)
{
	return mixed((uint64_t)k->client_ip << 32 | (uint32_t)k->internal_port << 8 | (uint32_t)k->protocol);
}

static uint32_t relay_hash(enum lease_protocol protocol, uint16_t relay_port)
{
	return mixed((uint32_t)relay_port << 8 | (uint32_t)protocol);
}

static bool key_equal(const struct lease_key *a, const struct lease_key *b)
{
	return a->protocol == b->protocol && a->client_ip == b->client_ip && a->internal_port == b->internal_port;
}

int leases_new(struct leases **out, size_t max, size_t max_per_client)
{
	struct leases *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->max = max;
	t->max_per_client = max_per_client;
	*out = t;
	return 0;
}

void leases_free(struct leases *t)
{
	if (!t)
		return;
	while (t->first)
		leases_remove(t, t->first);
	free(t);
}

/* Where the client's own pointer is, or would be appended. */
static struct lease_client **client_at(struct lease_client **chain, uint32_t ip)
{
	while (*chain && (*chain)->ip != ip)
		chain = &(*chain)->next;
	return chain;
}

static struct lease_client *find_client(const struct leases *t, uint32_t ip)
{
	struct lease_client *c = t->by_ip[mixed(ip) % BUCKETS];

	return *client_at(&c, ip);
}

/* Counts one lease more; NULL when there is no memory. */
static struct lease_client *join_client(struct leases *t, uint32_t ip)
{
	struct lease_client **at = client_at(&t->by_ip[mixed(ip) % BUCKETS], ip);

	if (!*at && (*at = calloc(1, sizeof(**at))))
		(*at)->ip = ip;
	if (*at)
		(*at)->count++;
	return *at;
}

static void leave_client(struct leases *t, struct lease_client *c)
{
	struct lease_client **at = client_at(&t->by_ip[mixed(c->ip) % BUCKETS], c->ip);

	if (--c->count > 0)
		return;
	*at = c->next;
	free(c);
}

int leases_room(const struct leases *t, uint32_t client_ip)
{
	const struct lease_client *c = find_client(t, client_ip);

	if (t->count - t->forever >= t->max)
		return -ENOSPC;
	return (c ? c->count : 0) < t->max_per_client ? 0 : -EDQUOT;
}

int leases_add(struct leases *t, const struct lease_key *key, uint16_t relay_port, uint64_t expires_ms, struct lease **out)
{
	const int room = expires_ms == LEASES_FOREVER ? 0 : leases_room(t, key->client_ip);
	struct lease **by_key = &t->by_key[key_hash(key) % BUCKETS];
	struct lease **by_relay = &t->by_relay[relay_hash(key->protocol, relay_port) % BUCKETS];
	struct lease_client *client = NULL;
	struct lease *l;

	if (leases_find(t, key) || leases_find_relay(t, key->protocol, relay_port))
		return -EEXIST;
	if (room < 0)
		return room;
	l = calloc(1, sizeof(*l));
	if (l && expires_ms != LEASES_FOREVER)
		client = join_client(t, key->client_ip);
	if (!l || (!client && expires_ms != LEASES_FOREVER)) {
		free(l);
		return -ENOMEM;
	}
	*l = (struct lease){ .key = *key, .client = client, .relay_port = relay_port, .expires_ms = expires_ms, .next_key = *by_key,
		.next_relay = *by_relay, .next = t->first };
	*by_key = l;
	*by_relay = l;
	if (t->first)
		t->first->prev = l;
	t->first = l;
	t->count++;
	t->forever += expires_ms == LEASES_FOREVER;
	*out = l;
	return 0;
}

static struct lease **relay_bucket(struct leases *t, enum lease_protocol protocol, uint16_t relay_port)
{
	return &t->by_relay[relay_hash(protocol, relay_port) % BUCKETS];
}

static void unlink_relay(struct leases *t, const struct lease *l)
{
	struct lease **at = relay_bucket(t, l->key.protocol, l->relay_port);

	while (*at != l)
		at = &(*at)->next_relay;
	*at = l->next_relay;
}

int leases_move(struct leases *t, struct lease *l, uint16_t relay_port)
{
	struct lease **bucket = relay_bucket(t, l->key.protocol, relay_port);

	if (leases_find_relay(t, l->key.protocol, relay_port))
		return -EEXIST;
	unlink_relay(t, l);
	l->relay_port = relay_port;
	l->next_relay = *bucket;
	*bucket = l;
	return 0;
}

static struct lease **key_bucket(struct leases *t, const struct lease_key *key)
{
	return &t->by_key[key_hash(key) % BUCKETS];
}

static void unlink_key(struct leases *t, const struct lease *l)
{
	struct lease **at = key_bucket(t, &l->key);

	while (*at != l)
		at = &(*at)->next_key;
	*at = l->next_key;
}

int leases_follow(struct leases *t, struct lease *l, uint32_t client_ip)
{
	struct lease_key key = l->key;

	key.client_ip = client_ip;
	if (leases_find(t, &key))
		return -EEXIST;
	unlink_key(t, l);
	l->key = key;
	l->next_key = *key_bucket(t, &key);
	*key_bucket(t, &key) = l;
	return 0;
}

void leases_remove(struct leases *t, struct lease *l)
{
	unlink_key(t, l);
	unlink_relay(t, l);
	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		t->first = l->next;
	t->count--;
	t->forever -= l->expires_ms == LEASES_FOREVER;
	if (l->client)
		leave_client(t, l->client);
	free(l);
}

struct lease *leases_find(const struct leases *t, const struct lease_key *key)
{
	struct lease *l = t->by_key[key_hash(key) % BUCKETS];

	while (l && !key_equal(&l->key, key))
		l = l->next_key;
	return l;
}

struct lease *leases_find_relay(const struct leases *t, enum lease_protocol protocol, uint16_t relay_port)
{
	struct lease *l = t->by_relay[relay_hash(protocol, relay_port) % BUCKETS];

	while (l && (l->key.protocol != protocol || l->relay_port != relay_port))
		l = l->next_relay;
	return l;
}

struct lease *leases_next(const struct leases *t, const struct lease *l)
{
	return l ? l->next : t->first;
}

size_t leases_count(const struct leases *t)
{
	return t->count;
}

uint16_t leases_preferred_relay(const struct lease_key *key, uint16_t low, uint16_t high)
{
	return (uint16_t)(low + key_hash(key) % (uint32_t)(high - low + 1));
}
