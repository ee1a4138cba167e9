/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tally - what was counted of each mapping, made of looks at counters that may begin anew.
 *
 * A look is a list of samples in any order, some of them twice or missing. Each total is what
 * earlier counters of that mapping came to, and what the present one says, so it never falls.
 * What was counted between the last look at a counter and its end is lost. A mapping that
 * no look has seen for TALLY_PATIENCE_MS is forgotten: one that was deleted and made again
 * sooner goes on where it was.
 *
 * No I/O, no clock. A tally is made whole from the one before, so another thread may do it.
 */
#ifndef GATEWAY_TALLY_H
#define GATEWAY_TALLY_H

#include <stdbool.h>

#include "gateway/firewall/firewall.h"
#include "gateway/firewall/traffic.h"

#define TALLY_PATIENCE_MS 60000

struct tally_sample {
	struct lease_key key;
	enum firewall_counted what;
	uint64_t packets, bytes;
};

/* A sum of packets and bytes for each enum firewall_counted. */
struct tally_sums {
	struct {
		uint64_t packets, bytes;
	} of[FIREWALL_COUNTED];
};

struct tally_entry {
	struct lease_key key;
	struct tally_sums before, now; /* of counters that ended; of those there are, when they were seen last */
	uint64_t missed_ms;	       /* the first look of those in a row that did not see it; 0: the last one did */
};

/* Zeros are an empty one. */
struct tally {
	struct tally_entry *at; /* sorted by key */
	size_t count;
	uint64_t life;		/* of the counters */
	struct tally_sums gone; /* of mappings that are forgotten */
	struct tally_sums total; /* of all that were ever seen */
};

/*
 * life: the counters' now; with another than before all of them began anew. Sorts the samples. -ENOMEM: *out is
 * untouched.
 */
int tally_look(struct tally *out, const struct tally *before, struct tally_sample *samples, size_t count, uint64_t life, uint64_t now_ms);
/* False: there is none of this key. */
bool tally_find(const struct tally *t, const struct lease_key *key, struct traffic_counts *out);
struct traffic_counts tally_total(const struct tally *t);
void tally_free(struct tally *t);

#endif
