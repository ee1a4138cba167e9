/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limit - how many answers a source gets: a token bucket each, in memory that never grows.
 *
 * A source is an IPv4 address, or the /64 of an IPv6 address. Its bucket holds one
 * second's worth of answers and refills at the rate.
 *
 * Senders can be forged, so there may be more sources than buckets. A bucket lives in a
 * set of 8 (bucket.h), which a keyed hash picks, so nobody can choose whom to collide with.
 * When a newcomer finds its set full it takes the fullest bucket's place: what is forgotten
 * is who has lost least. So a flood from a million addresses costs an honest client
 * nothing (forgotten, it is back with a full bucket), and who is at his limit stays
 * there, since the flood's own buckets are fuller than his.
 *
 * Pure: time is an argument. One thread's, no lock.
 */
#ifndef SERVER_LIMIT_H
#define SERVER_LIMIT_H

#include "lib/endpoint.h"

#define LIMIT_RATE_MAX 1000000
#define LIMIT_SECRET   32

struct limit;

/*
 * rate: answers per second and source, 1 to LIMIT_RATE_MAX. secret: random bytes. All
 * memory (64 KiB, 8,192 buckets) is taken and touched here. -ENOMEM.
 */
int limit_new(struct limit **out, uint32_t rate, const uint8_t secret[LIMIT_SECRET]);
/* From now on at this rate; buckets keep how full they are. */
void limit_change(struct limit *l, uint32_t rate);
void limit_free(struct limit *l); /* NULL is fine */

/* Takes one answer out of the sender's bucket; false when it has none left. */
bool limit_take(struct limit *l, const struct endpoint *from, uint64_t now_us);

#endif
