/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker - one thread that answers UDP: its own loop, sockets, limit and counts, shared with nobody.
 *
 *	worker_new (in order, all before the first starts) -> worker_start -> worker_free
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include "server/config.h"
#include "server/counts.h"

#define WORKERS_MAX 64

struct worker;

struct worker_settings {
	const struct place *places; /* borrowed until worker_free */
	size_t place_count;
	uint32_t number, count; /* this one's, of how many */
	uint32_t rate;		/* answers per second and source, 0: no limit */
};

/* Binds and watches its sockets. Negative errno; what an operator can mend has been logged. */
int worker_new(struct worker **out, const struct worker_settings *settings);
/* Serves, in a thread of its own. Negative errno. */
int worker_start(struct worker *w);
/* Its UDP socket of a place's first address and port, borrowed. */
int worker_fd(const struct worker *w, size_t place);
/* From now on at this rate (not 0, and only where it began with one); from another thread. */
void worker_rate(struct worker *w, uint32_t rate);
/* Adds what it has counted so far, and what its sockets had no room for; from any thread. */
void worker_counts(const struct worker *w, struct counts_sum *sum);
/* Ends its thread and closes its sockets. NULL is fine. */
void worker_free(struct worker *w);

#endif
