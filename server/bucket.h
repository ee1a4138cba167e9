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
/* A power of 2; times BUCKET_WAYS sources at a time. 64 KiB stay in a core's cache; of four times that every answer waited for memory. */
#define BUCKET_SETS 1024

struct bucket {
	uint32_t tag; /* the hash's bits that do not pick the set */
	uint32_t full;
};

struct bucket_set {
	_Alignas(64) struct bucket ways[BUCKET_WAYS]; /* one cache line */
};

_Static_assert(sizeof(struct bucket_set) == 64, "one cache line");

/* Random, and nobody else's. */
struct bucket_key {
	uint64_t of[4];
};

/*
 * Of the source's 8 bytes (an IPv4 address and zeros, or an IPv6 address's /64): the upper half is the tag,
 * the lower picks the set. Multiply-shift of pairs (Thorup, "High Speed Hashing for Integers and Strings", 3.5): for any two
 * sources, chosen without the key, either half is the same with probability 2^-32, at two multiplications.
 */
static inline __attribute__((always_inline)) uint64_t bucket_hash(const struct bucket_key *key, uint64_t source, uint64_t v6)
{
	const uint64_t low = source & 0xffffffff, high = source >> 32 | v6 << 32;

	return ((key->of[0] + low) * (key->of[1] + high) & 0xffffffff00000000) | (key->of[2] + low) * (key->of[3] + high) >> 32;
}

/* How much longer than now a bucket takes to be full: what it has lost. depth: of an empty one. */
static inline __attribute__((always_inline)) uint32_t bucket_lost(uint32_t full, uint32_t now, uint32_t depth)
{
	const uint32_t ahead = full - now;

	return ahead <= depth ? ahead : 0;
}

#endif
