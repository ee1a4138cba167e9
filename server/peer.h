/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer - the other node, where this server has one address of a family: says what the
 * site is at the moment, hands questions over, takes the peer's, keeps in touch.
 *
 * What node.h decides, with sockets, clocks, randomness and log. One per place; any
 * thread may call. Only what concerns the peer takes a lock.
 */
#ifndef SERVER_PEER_H
#define SERVER_PEER_H

#include "server/config.h"
#include "server/counts.h"

struct peer;

/* For a place whose site has the peer as address 1; place is borrowed until peer_free. Negative errno. */
int peer_new(struct peer **out, const struct place *place, const struct node_key *keys, size_t count);
void peer_free(struct peer *p); /* NULL is fine */

/* A socket of the first port, borrowed until this returns: heartbeats leave from there. Negative errno. */
int peer_start(struct peer *p, int fd);

/* The place's site while the peer is alive, peer_alone while it is not. */
const struct site *peer_site(const struct peer *p);
const struct site *peer_alone(const struct peer *p);
bool peer_alive(const struct peer *p);
/* Where its messages go, from the first port. */
const struct endpoint *peer_endpoint(const struct peer *p);

/*
 * Writes the message that gives the peer a question which an address of its own must
 * answer. Its length, 0 when it does not fit. buf may not hold the question.
 */
size_t peer_hand_over(struct peer *p, const struct question *q, void *buf, size_t max);

/* Does a datagram begin like a node's? */
static inline bool peer_speaks(const void *bytes, size_t len)
{
	return len > 0 && *(const uint8_t *)bytes == NODE_FIRST_BYTE;
}

/*
 * Takes a datagram that does: said's bytes, len and from. The row to count it under.
 * COUNT_NODE_ANSWERED: it is a question for this server to answer, *out, which borrows
 * the bytes; any other row: it was dealt with. counts: this thread's, for what it changes.
 */
enum count peer_receive(struct peer *p, const struct question *said, struct question *out, struct counts *counts);

/* Heartbeats, and whether the peer is alive; returns in how many ms to call again. */
int peer_tick(struct peer *p, struct counts *counts);

#endif
