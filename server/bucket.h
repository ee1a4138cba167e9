/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bucket - one source's tokens, and where they are kept: what limit.c and the XDP program share.
 *
 * A bucket is kept as the time at which it will be full again (GCRA): every answer
 * moves that on by one interval, and nothing has to be refilled. Times are in ticks of
 * the user's choice and wrap. A time that is no bucket's (further ahead than an empty one's)
 * has passed: full. Who comes back after a multiple of 2^32 ticks may be taken for
 * somewhat emptier than he is.
 *
 * No libc: this compiles for BPF, too.
 */
#ifndef SERVER_BUCKET_H
#define SERVER_BUCKET_H

#include <stdint.h>

#define BUCKET_WAYS 8
#define BUCKET_SETS 4096 /* power of 2; times BUCKET_WAYS sources at a time */

struct bucket {
	uint32_t tag; /* the hash's bits that do not pick the set */
	uint32_t full;
};

struct bucket_set {
	_Alignas(64) struct bucket ways[BUCKET_WAYS]; /* one cache line */
};

_Static_assert(sizeof(struct bucket_set) == 64, "one cache line");

struct bucket_sip {
	uint64_t a, b, c, d;
};

static inline __attribute__((always_inline)) uint64_t bucket_rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline __attribute__((always_inline)) void bucket_sip_round(struct bucket_sip *s)
{
	s->a += s->b;
	s->b = bucket_rotate(s->b, 13) ^ s->a;
	s->a = bucket_rotate(s->a, 32);
	s->c += s->d;
	s->d = bucket_rotate(s->d, 16) ^ s->c;
	s->a += s->d;
	s->d = bucket_rotate(s->d, 21) ^ s->a;
	s->c += s->b;
	s->b = bucket_rotate(s->b, 17) ^ s->c;
	s->c = bucket_rotate(s->c, 32);
}

/*
 * SipHash-1-3 of the source's 8 bytes (an IPv4 address and zeros, or an IPv6 address's /64), and
 * its family where SipHash has the length. The upper half is the tag, the lower picks the set.
 */
static inline __attribute__((always_inline)) uint64_t bucket_hash(uint64_t key0, uint64_t key1, uint64_t source, uint64_t family)
{
	struct bucket_sip s = { key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
		key1 ^ 0x7465646279746573 };

	s.d ^= source;
	bucket_sip_round(&s);
	s.a ^= source;
	s.d ^= family << 56;
	bucket_sip_round(&s);
	s.a ^= family << 56;
	s.c ^= 0xff;
	bucket_sip_round(&s);
	bucket_sip_round(&s);
	bucket_sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

/* How much longer than now a bucket takes to be full: what it has lost. depth: of an empty one. */
static inline __attribute__((always_inline)) uint32_t bucket_lost(uint32_t full, uint32_t now, uint32_t depth)
{
	const uint32_t ahead = full - now;

	return ahead <= depth ? ahead : 0;
}

#endif
