/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * counts - what the server did and why it did not: one number per row, logged at exit and at SIGUSR1, told to --metrics.
 *
 * Each thread counts for itself, on cache lines of its own; whoever wants to know adds them
 * up, at any time. Numbers of one row never go back; those of two rows may be a moment apart.
 */
#ifndef SERVER_COUNTS_H
#define SERVER_COUNTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum count {
	COUNT_ANSWERED,		  /* a Binding with success */
	COUNT_BAD_REQUEST,	  /* answered 400 */
	COUNT_UNKNOWN_ATTRIBUTE,  /* answered 420 */
	COUNT_NOT_STUN,		  /* dropped: bytes that are no STUN message */
	COUNT_NOT_REQUEST,	  /* dropped: an indication, or somebody's answer */
	COUNT_UNKNOWN_METHOD,	  /* dropped: not Binding */
	COUNT_RATE_LIMITED,	  /* dropped: its source has had --rate answers in this second */
	COUNT_QUEUE_FULL,	  /* dropped: came while its socket's queue was full, so nobody knows what it was */
	COUNT_SEND_FAILED,	  /* an answer the kernel did not take */
	COUNT_NODE_HANDED,	  /* a question given to the peer, whose address was asked for */
	COUNT_NODE_ANSWERED,	  /* a question of the peer's, answered from here */
	COUNT_NODE_REFUSED,	  /* likewise, but not one to answer from here */
	COUNT_NODE_BEAT,	  /* the peer's heartbeats */
	COUNT_NODE_FOUND,	  /* the peer was heard (again) */
	COUNT_NODE_LOST,	  /* the peer is silent: no OTHER-ADDRESS until it is found */
	COUNT_NODE_STRANGER,	  /* dropped: a node's message, but not from the peer's address */
	COUNT_NODE_MALFORMED,	  /* dropped: not of the form */
	COUNT_NODE_FORGED,	  /* dropped: altered, sent back, or signed with another key */
	COUNT_NODE_REPLAYED,	  /* dropped: seen before */
	COUNT_NODE_SKEWED,	  /* dropped: more than 30 s off our clock */
	COUNT_NODE_OTHER_RUN,	  /* dropped: not meant for this run of the server, or of a run of the peer that is over */
	COUNT_NODE_FULL,	  /* dropped: too many runs of the peer to remember */
	COUNT_XDP_ANSWERED,	  /* of the answers, and of what was dropped for its rate: by --xdp */
	COUNT_XDP_RATE_LIMITED,
	COUNT_XDP_PASSED,	  /* asked where --xdp answers, but left to the sockets */
	COUNT_TCP_ACCEPTED,	  /* connections */
	COUNT_TCP_ACCEPT_FAILED,  /* out of descriptors or memory: accepting pauses */
	COUNT_TCP_REFUSED,	  /* closed at once: --tcp-max reached */
	COUNT_TCP_REFUSED_SOURCE, /* closed at once: --tcp-max-per-address reached */
	COUNT_TCP_NOT_STUN,	  /* closed: bytes that are no STUN message, or one too long */
	COUNT_TCP_IDLE,		  /* closed: no whole message for --tcp-idle */
	COUNT_TCP_SLOW,		  /* closed: does not read its answers */
	COUNT_KINDS
};

/* One thread's; only that thread adds. */
struct counts {
	_Alignas(64) _Atomic uint64_t of[COUNT_KINDS];
};

struct counts_sum {
	uint64_t of[COUNT_KINDS];
};

static inline void counts_add(struct counts *c, enum count row)
{
	/* Not an atomic increment, which would lock the bus: there is one writer. */
	atomic_store_explicit(&c->of[row], atomic_load_explicit(&c->of[row], memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Adds a thread's counts to the sum; from any thread. */
void counts_sum(struct counts_sum *sum, const struct counts *c);

#define COUNTS_TEXT_MAX 1536

/* "tcp-idle": the row's name. */
const char *count_name(enum count row);
/* "answered=12 bad-request=0 ...", every row. Returns buf. */
const char *counts_text(const struct counts_sum *sum, char buf[COUNTS_TEXT_MAX]);

#endif
