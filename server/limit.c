/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/limit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/bucket.h"

#define SECOND_US 1000000u

static_assert(sizeof(struct bucket_key) == LIMIT_SECRET, "the key is the secret");

struct limit {
	struct bucket_key key;
	uint32_t interval_us, depth_us; /* depth: of an empty bucket, until it is full */
	struct bucket_set sets[BUCKET_SETS];
};

static uint32_t lost(const struct limit *l, const struct bucket *b, uint32_t now_us)
{
	return bucket_lost(b->full, now_us, l->depth_us);
}

/* The source's own bucket, or else the fullest of its set, which becomes its own and full. */
static struct bucket *bucket_of(struct limit *l, const struct endpoint *from, uint32_t now_us)
{
	uint64_t source = 0;

	memcpy(&source, from->ip, 8); /* the rest of an IPv4 address is 0 */
	const uint64_t h = bucket_hash(&l->key, source, from->family == ENDPOINT_IPV6);
	const uint32_t tag = (uint32_t)(h >> 32);
	struct bucket_set *set = &l->sets[h % BUCKET_SETS];
	struct bucket *fullest = &set->ways[0];

	for (size_t i = 0; i < BUCKET_WAYS; i++)
		if (set->ways[i].tag == tag)
			return &set->ways[i];
	for (size_t i = 1; i < BUCKET_WAYS; i++)
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
	b->full = now + after;
	return true;
}

void limit_change(struct limit *l, uint32_t rate)
{
	assert(rate >= 1 && rate <= LIMIT_RATE_MAX);
	l->interval_us = (SECOND_US + rate - 1) / rate; /* rounded so that the rate is never exceeded */
	l->depth_us = l->interval_us * rate;
}

int limit_new(struct limit **out, uint32_t rate, const uint8_t secret[LIMIT_SECRET])
{
	struct limit *l = aligned_alloc(64, sizeof(*l));

	if (!l)
		return -ENOMEM;
	memset(l, 0, sizeof(*l)); /* touched: a flood finds nothing left to grow */
	memcpy(&l->key, secret, sizeof(l->key));
	limit_change(l, rate);
	*out = l;
	return 0;
}

void limit_free(struct limit *l)
{
	free(l);
}
