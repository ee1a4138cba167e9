/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * udp - one place's UDP sockets, of one worker: datagrams in, answers out of whichever of
 * them the question asks for, or to the peer whose address it asks for. No state per
 * client but what the limit keeps.
 */
#ifndef SERVER_UDP_H
#define SERVER_UDP_H

#include "server/batch.h"
#include "server/config.h"
#include "server/counts.h"
#include "server/limit.h"
#include "server/loop.h"

struct udp;

/* All is borrowed until udp_free. */
struct udp_settings {
	const struct place *place;
	struct loop *loop;
	struct counts *counts;
	struct batch *batch;
	struct limit *limit;	       /* NULL: none */
	uint32_t worker, worker_count; /* this one's number, of how many */
};

/*
 * Binds and watches. Workers bind in order of their number, and only the first makes sure
 * that nobody else has the port. Negative errno, which has been logged.
 */
int udp_new(struct udp **out, const struct udp_settings *settings);
/* The socket of a place's first address and port, borrowed. */
int udp_fd(const struct udp *udp);
void udp_free(struct udp *udp); /* NULL is fine */
/* Datagrams that its sockets' queues had no room for; from any thread. */
uint64_t udp_dropped(const struct udp *udp);

#endif
