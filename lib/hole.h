/* SPDX-License-Identifier: MIT */
/*
 * hole - one held mapping in the carrier's NAT, over UDP or TCP.
 *
 * A hole asks a STUN server for its outer endpoint from a fixed local port, and asks
 * again every keepalive: the question holds the mapping open and checks it at once.
 *
 *	           answer                  answer differs, a second says the same
 *	PUNCHING ─────────→ OPEN ⟲ ────────────────────────→ OPEN (changed)
 *	    ↑ next server    │ every server silent (one alone: twice), or answers that never agree
 *	    └── on failure   ↓
 *	                   LOST ⟲ asks on, ever slower, until answered → OPEN
 *	                          (after disagreement: until two answers agree)
 *
 * No I/O: the caller owns a socket (UDP) or connections from one local port (TCP), does
 * what hole_step says, and tells what arrives. Over TCP, "send to" means: on the open
 * connection to that server, else connect first, and let go of a connection to another
 * server only when the new one stands (make before break: the mapping lives as long as a
 * connection does). A NAT that forgot a connection drops what is sent on it without a word,
 * so one that stands and does not answer soon is doubted, not its server (step.stale).
 *
 *	while ((action = hole_step(h, servers, n, now, &step)) != HOLE_WAIT)
 *		...;
 *	wake me at hole_wake_ms(h)
 */
#ifndef LIB_HOLE_H
#define LIB_HOLE_H

#include "lib/transaction.h"

enum hole_state { HOLE_PUNCHING, HOLE_OPEN, HOLE_LOST };

struct hole_config {
	bool stream;	       /* TCP */
	uint32_t keepalive_ms; /* between an answer and the next question */
	void (*random)(void *buf, size_t len); /* cryptographically strong */
};

struct hole {
	struct hole_config config;
	enum hole_state state;
	struct endpoint outer; /* last confirmed; kept when LOST */
	struct endpoint asked; /* the server asked last */
	uint32_t rtt_ms;       /* last measured round trip, 0: not yet */
	uint64_t heard_ms;     /* when an answer came last, 0: never */
	struct endpoint before; /* with HOLE_CHANGED and HOLE_OPENED: what outer was */
	uint32_t silent_ms;    /* with HOLE_HELD and HOLE_CHANGED: the silence before the question */

	/* private */
	bool asking;
	struct transaction question;
	uint64_t next_ms;	    /* when to ask, if not asking */
	bool spread;		    /* the next rest is shorter by chance: a recheck is due or runs */
	bool rested;		    /* the question follows on a rest */
	uint32_t turn;		    /* index of the server to ask, modulo their number */
	bool owned;		    /* hole_own: nothing is asked */
	uint8_t failures;	    /* in a row */
	uint32_t tried;		    /* servers of this round that failed */
	uint8_t rounds;		    /* in a row in which every server failed */
	uint8_t disagreements;	    /* in a row */
	bool torn;		    /* LOST by disagreement */
	uint8_t broken;		    /* connections that broke before a second answer, in a row */
	bool unproven;		    /* the connection gave no second answer yet */
	bool stands;		    /* a stream to `asked` that gave an answer, and is not known to have ended */
	bool standing;		    /* the question went there */
	bool anew;		    /* hole_anew: the next answer is believed */
	struct endpoint candidate;  /* an outer endpoint that waits for a second answer */
	uint8_t event;		    /* enum hole_action to be told, or HOLE_WAIT */
	uint8_t message[STUN_HEADER_LEN]; /* no FINGERPRINT: there are servers that fall silent at it */
};

enum hole_action {
	HOLE_WAIT,    /* nothing until hole_wake_ms */
	HOLE_SEND,    /* step.bytes to step.to */
	HOLE_FAILED,  /* step.to did not answer a question, or not with use */
	HOLE_OPENED,  /* h->outer is known, for the first time or again after LOST */
	HOLE_CHANGED, /* h->outer is another, confirmed */
	HOLE_HELD,    /* an answer after a rest said the same: the mapping bore h->silent_ms of silence */
	HOLE_GONE,    /* LOST: nobody answers, or the answers disagree (step.disagree) */
	HOLE_SUSPECT, /* an answer deviates, or a question failed: others may want to look too */
};

struct hole_step {
	struct endpoint to;
	const uint8_t *bytes; /* borrowed from the hole until the next call */
	size_t len;
	bool disagree;
	bool stale; /* with HOLE_FAILED: the connection gave no answer, which says nothing of the server */
};

void hole_init(struct hole *h, const struct hole_config *config, uint64_t now_ms);
/* servers: in the order to be asked; may change from call to call, and be empty. */
enum hole_action hole_step(struct hole *h, const struct endpoint *servers, size_t count, uint64_t now_ms,
	struct hole_step *step);
/* A datagram, or one whole message of the stream. True when it was the answer; the rest is to be counted. */
bool hole_receive(struct hole *h, const struct endpoint *from, const void *bytes, size_t len, uint64_t now_ms);
/* The connection to a server was refused, or closed, or cannot be made. Also a UDP send that failed hard. */
void hole_break(struct hole *h, const struct endpoint *server, uint64_t now_ms);
/* The connection to the server asked last is over, which breaks nothing: something else holds the mapping, or it is held no more. */
void hole_closed(struct hole *h);
/* Asks now rather than at the next keepalive. */
void hole_recheck(struct hole *h, uint64_t now_ms);
/*
 * No NAT stands before the socket: its own endpoint is the outer one, the hole is open and
 * asks nobody. NULL: there is a NAT again, ask; what was told stands until it answers.
 */
void hole_own(struct hole *h, const struct endpoint *own, uint64_t now_ms);
/*
 * Asks at once, also where a question is on its way: its socket is gone, or much time is. What
 * was learned stays until an answer deviates; past failures no longer slow it down.
 */
void hole_restart(struct hole *h, uint64_t now_ms);
/*
 * Likewise, where it is known from elsewhere that the NAT forgot its mappings: one answer is then enough,
 * also one that came already and waits for a second.
 */
void hole_anew(struct hole *h, uint64_t now_ms);
/* Another keepalive_ms: shorter, it counts for the rest that is under way as well. */
void hole_keepalive(struct hole *h, uint32_t keepalive_ms, uint64_t now_ms);
/*
 * Whether the next hole_step begins a question; then its server may be chosen (index into
 * the list) or the question put off. *retry: it follows on a failure or a deviating answer,
 * and the hole is at the next server by itself.
 */
bool hole_begins(const struct hole *h, uint64_t now_ms, bool *retry);
uint32_t hole_server(const struct hole *h);
void hole_choose(struct hole *h, uint32_t server);
void hole_defer(struct hole *h, uint64_t until_ms);
/* Open, and nothing speaks against it: no failure, no recheck that is not answered yet, no broken connection, no old answer. */
bool hole_sure(const struct hole *h, uint64_t now_ms);
uint64_t hole_wake_ms(const struct hole *h);

#endif
