/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/limit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SETS	  4096 /* power of 2; times LIMIT_WAYS sources at a time */
#define SECOND_US 1000000u

/*
 * A bucket is kept as the time at which it will be full again (GCRA): every answer
 * moves that on by one interval, and nothing has to be refilled. Both numbers wrap. A
 * time that is no bucket's (further ahead than an empty one's) has passed: full. Who
 * comes back after a multiple of 71 minutes may be taken for somewhat emptier than he is.
 */
struct bucket {
	uint32_t tag; /* the hash's bits that do not pick the set */
	uint32_t full_us;
};

struct set {
	_Alignas(64) struct bucket ways[LIMIT_WAYS]; /* one cache line */
};

static_assert(sizeof(struct set) == 64, "one cache line");

struct limit {
	uint64_t key[2];
	uint32_t interval_us, depth_us; /* depth: of an empty bucket, until it is full */
	struct set sets[SETS];
};

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

struct sip {
	uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *s)
{
	s->a += s->b;
	s->b = rotate(s->b, 13) ^ s->a;
	s->a = rotate(s->a, 32);
	s->c += s->d;
	s->d = rotate(s->d, 16) ^ s->c;
	s->a += s->d;
	s->d = rotate(s->d, 21) ^ s->a;
	s->c += s->b;
	s->b = rotate(s->b, 17) ^ s->c;
	s->c = rotate(s->c, 32);
}

/* SipHash-1-3 of the source's 8 bytes, and its family where SipHash has the length. */
static uint64_t hash(const uint64_t key[2], uint64_t source, uint64_t family)
{
	struct sip s = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
		key[1] ^ 0x7465646279746573 };
	const uint64_t words[] = { source, family << 56 };

	for (int i = 0; i < 2; i++) {
		s.d ^= words[i];
		sip_round(&s);
		s.a ^= words[i];
	}
	s.c ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

/* How much longer than now the bucket takes to be full: what it has lost. */
static uint32_t lost(const struct limit *l, const struct bucket *b, uint32_t now_us)
{
	const uint32_t ahead = b->full_us - now_us;

	return ahead <= l->depth_us ? ahead : 0;
}

/* The source's own bucket, or else the fullest of its set, which becomes its own and full. */
static struct bucket *bucket_of(struct limit *l, const struct endpoint *from, uint32_t now_us)
{
	uint64_t source = 0;

	memcpy(&source, from->ip, 8); /* the rest of an IPv4 address is 0 */
	const uint64_t h = hash(l->key, source, from->family);
	const uint32_t tag = (uint32_t)(h >> 32);
	struct set *set = &l->sets[h % SETS];
	struct bucket *fullest = &set->ways[0];

	for (size_t i = 0; i < LIMIT_WAYS; i++)
		if (set->ways[i].tag == tag)
			return &set->ways[i];
	for (size_t i = 1; i < LIMIT_WAYS; i++)
		if (lost(l, &set->ways[i], now_us) < lost(l, fullest, now_us))
			fullest = &set->ways[i];
	*fullest = (struct bucket){ tag, now_us };
	return fullest;
}

bool limit_take(struct limit *l, const struct endpoint *from, uint64_t now_us)
{
	const uint32_t now = (uint32_t)now_us;
	struct bucket *b = bucket_of(l, from, now);
	const uint32_t after = lost(l, b, now) + l->interval_us;

	if (after > l->depth_us)
		return false;
	b->full_us = now + after;
	return true;
}

void limit_change(struct limit *l, uint32_t rate)
{
	assert(rate >= 1 && rate <= LIMIT_RATE_MAX);
	l->interval_us = (SECOND_US + rate - 1) / rate; /* rounded so that the rate is never exceeded */
	l->depth_us = l->interval_us * rate;
}

int limit_new(struct limit **out, uint32_t rate, const uint8_t secret[16])
{
	struct limit *l = aligned_alloc(64, sizeof(*l));

	if (!l)
		return -ENOMEM;
	memset(l, 0, sizeof(*l)); /* touched: a flood finds nothing left to grow */
	memcpy(l->key, secret, sizeof(l->key));
	limit_change(l, rate);
	*out = l;
	return 0;
}

void limit_free(struct limit *l)
{
	free(l);
}
