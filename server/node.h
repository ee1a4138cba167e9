/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * node - how two servers of one public address each are one server of two.
 *
 * What must leave from the other address is handed to the peer: not a ready answer
 * but the question as it came, with its sender. The peer makes the answer itself,
 * as one asked at its site's address 1, which is us:
 *
 *	          asked at (A, p), CHANGE-REQUEST of the address
 *	client ------------------> A
 *	   ^                       | hand-over: question, client, p       first port to first port
 *	   +---------------------- B
 *	          answered from (B, p) or, of the port too, (B, !p)
 *
 * So all that whoever holds the key can make a node say is a STUN answer, to the
 * address that is written in it, within the size that the question allows.
 *
 * A message, network byte order:
 *
 *	 0  0xf5	nothing of STUN begins so (RFC 8489 section 5: two zero bits)
 *	 1  version	1
 *	 2  kind	1 heartbeat, 2 heartbeat that wants one back, 3 question
 *	 3  port	index of the port asked; 0 in a heartbeat
 *	 4  run		the sender's number for this run of its program, random, never 0
 *	12  peer run	the receiver's run as the sender knows it, 0 if it does not
 *	20  number	counts the messages of a run from 1
 *	28  time	of the sender's wall clock, ms since 1970
 *	36  client	family 4 or 6, a zero byte, port, 16 bytes of address; zeros in a heartbeat
 *	56  question	nothing in a heartbeat
 *	-32 HMAC-SHA256 with a key of both, over sender and receiver (public address and ports
 *			of each, which are not sent) and everything above
 *
 * Refused is what is altered, reflected, older or newer than 30 s, seen before, or a
 * question meant for an earlier run of ours: runs and numbers remember exactly what
 * was seen, in fixed memory, and the peer's run makes that hold over a restart.
 *
 * No I/O, no clock: now_ms never goes back, wall_ms is what the sender's is compared to.
 */
#ifndef SERVER_NODE_H
#define SERVER_NODE_H

#include <stdbool.h>

#include "lib/endpoint.h"

#define NODE_FIRST_BYTE	   0xf5
#define NODE_OVERHEAD	   (56 + 32) /* a message is so much longer than its question */
#define NODE_MESSAGE_MAX   65507     /* the most that a datagram takes */
#define NODE_KEY_MIN	   16
#define NODE_KEY_MAX	   64
#define NODE_KEYS_MAX	   4
#define NODE_CLOCK_MS	   30000 /* how far the clocks and the way may make a message's time differ from ours */
#define NODE_BEAT_MS	   5000
#define NODE_ASK_MS	   1000  /* instead, while the peer is overdue: two lost beats are not a dead peer */
#define NODE_OVERDUE_MS	   6000
#define NODE_DEAD_MS	   16000
#define NODE_RUNS	   16	/* of the peer, remembered at a time: it may restart so often in a minute */
#define NODE_WINDOW	   16384 /* numbers of a run remembered: a message overtaken by more is refused */

struct node_key {
	uint8_t bytes[NODE_KEY_MAX];
	size_t len;
};

/* One node as clients see it in one address family: its public address at each port; family NONE: no such port. */
struct node_identity {
	struct endpoint at[2];
};

/* What signing and checking need; constant once made, so all threads may share it. */
struct node_seal;

/* The first key signs, each of them verifies. count: 1 to NODE_KEYS_MAX. -ENOMEM. */
int node_seal_new(struct node_seal **out, const struct node_identity *own, const struct node_identity *peer,
	const struct node_key *keys, size_t count);
void node_seal_free(struct node_seal *s); /* NULL is fine; the keys are wiped */

enum node_kind { NODE_HEARTBEAT = 1, NODE_ASK = 2, NODE_QUESTION = 3 };

struct node_message {
	enum node_kind kind;
	uint8_t port;
	uint64_t run, peer_run, number, time_ms;
	struct endpoint client; /* family NONE in a heartbeat */
	const uint8_t *question; /* borrowed */
	size_t question_len;
};

enum node_verdict {
	NODE_FINE,
	NODE_STRANGER,	/* not from the peer's address */
	NODE_MALFORMED, /* not of the form above */
	NODE_FORGED,	/* no key of ours made its HMAC for this direction */
	NODE_REPLAYED,	/* seen before, or overtaken by more than NODE_WINDOW */
	NODE_SKEWED,	/* more than NODE_CLOCK_MS off our clock */
	NODE_OTHER_RUN, /* a question for another run of ours, or anything of a run the peer has replaced */
	NODE_FULL,	/* no room to remember its run, so it cannot be told from a replay */
	NODE_VERDICTS
};

/* Writes and signs. The message's length; 0 when it does not fit max or NODE_MESSAGE_MAX. */
size_t node_sign(const struct node_seal *s, const struct node_message *m, void *buf, size_t max);
/* Decodes what came from an address (of any port: a NAT may change it) if it is the peer's and genuine. */
enum node_verdict node_check(const struct node_seal *s, struct node_message *out, const struct endpoint *from,
	const void *bytes, size_t len);

/* What one node remembers of the other. Not for several threads at a time. */
struct node;

/* run: random, not 0. -ENOMEM. */
int node_new(struct node **out, uint64_t run, uint64_t now_ms);
void node_free(struct node *n); /* NULL is fine */

/* Makes a message the next of this run: run, peer_run, number, time_ms. */
void node_stamp(struct node *n, struct node_message *m, uint64_t wall_ms);

struct node_news {
	uint64_t answer_run; /* not 0: send a heartbeat now, with this as its peer_run */
	int64_t skew_ms;     /* NODE_SKEWED: the message's time less ours */
};

/* A checked message is new, in time and for us: NODE_FINE, and it is remembered. */
enum node_verdict node_accept(struct node *n, const struct node_message *m, uint64_t now_ms, uint64_t wall_ms,
	struct node_news *news);

enum node_change { NODE_NO_CHANGE, NODE_ALIVE, NODE_DEAD };

struct node_due {
	enum node_change change;
	bool beat;	    /* send a message of this kind now */
	enum node_kind kind;
	uint32_t wait_ms;   /* until the next call, at the latest */
};

/* What is to be done. To be called after node_accept, too, so that a change is seen at once. */
struct node_due node_tick(struct node *n, uint64_t now_ms);
bool node_alive(const struct node *n);

#endif
