/* SPDX-License-Identifier: MIT */
/*
 * lifetime - how long the NAT keeps a UDP mapping that nobody uses (RFC 5780 section 4.6).
 *
 *	idle slot X ──→ server, once: X's outer port; then X is silent for its time
 *	ASKER       ──→ server "answer to X's outer port" (RESPONSE-PORT): arrives at X while its mapping lives
 *	ASKER       ──→ server "answer to the WITNESS's outer port", at the same time: a mapping kept alive
 *
 * An answer at X proves its mapping alive. Silence is weighed against the witness: had the
 * mapping lived, would chance have given all the answers to the witness (lib/evidence.h)?
 * Where both are silent, nothing is decided.
 *
 * Two passes, each a ladder of idle slots side by side, so that the whole takes about twice
 * the lifetime: first 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600 … seconds,
 * then evenly between the longest known alive and the shortest known dead. A slot is asked
 * for once and never again, as what came in may have refreshed it. Its mapping was made by
 * exactly one question and one answer: Linux, for one, keeps those that carry more for
 * longer, so for a mapping in use the result is the cautious one.
 *
 * All goes to one address of the server, so it does not matter how the NAT maps and
 * filters. But a NAT that gives each slot another outer address gets slots until enough
 * share the asker's: the server can answer to another port only, not to another address.
 *
 * A machine without I/O, run as lib/inquiry.h says. Slots are opened one by one, and all
 * must stay open until the end; nothing else may send from them.
 */
#ifndef LIB_LIFETIME_H
#define LIB_LIFETIME_H

#include "lib/inquiry.h"

#define LIFETIME_SLOTS 160 /* at most; without loss about 30 are used */

#define LIFETIME_MAX_S_MIN 10
#define LIFETIME_MAX_S_MAX 7200

struct lifetime_config {
	struct endpoint server;
	uint32_t max_s; /* longer lifetimes are not told apart: LIFETIME_MAX_S_MIN to LIFETIME_MAX_S_MAX */
	void (*random)(void *buf, size_t len); /* cryptographically strong */
};

enum lifetime_phase { LIFETIME_STARTING, LIFETIME_LADDER, LIFETIME_CLOSER, LIFETIME_DONE };

/* Why there is no upper bound, or a wider one than there could be. */
enum lifetime_reason {
	LIFETIME_OK,
	LIFETIME_LONGER,	/* than max_s: every mapping lived */
	LIFETIME_NO_ANSWER,	/* the server does not answer plain questions */
	LIFETIME_REFUSED,	/* it answers with an error: `code`; 420 where it does not know RESPONSE-PORT */
	LIFETIME_IGNORED,	/* it passes RESPONSE-PORT over, and answers to the port that asked */
	LIFETIME_NEVER_ARRIVED, /* plain questions are answered, those with RESPONSE-PORT nowhere */
	LIFETIME_POOL,		/* too few slots share an outer address */
	LIFETIME_UNSTEADY,	/* too much was lost, or the outer address changed, or lifetimes contradict each other */
};

struct lifetime_progress {
	enum lifetime_phase phase;
	enum lifetime_reason reason; /* once done */
	uint16_t code;		     /* with LIFETIME_REFUSED */
	uint32_t alive_s;	     /* a mapping lives at least as long; 0: not known */
	uint32_t dead_s;	     /* and at most so long; 0: no bound */
	uint32_t estimate_s;	     /* the roundest number of seconds between the bounds; 0 without an upper bound */
	uint32_t next_s;	     /* the idle time tested now or next, 0: none */
	uint32_t wait_ms;	     /* until that test begins; 0: it is running */
	unsigned open;		     /* slots that idle now */
};

struct lifetime;

/* NULL when there is no memory. max_s is clamped to its bounds. */
struct lifetime *lifetime_new(const struct lifetime_config *config, uint64_t now_ms);
void lifetime_free(struct lifetime *l); /* NULL is fine */

enum inquiry_action lifetime_step(struct lifetime *l, uint64_t now_ms, struct inquiry_step *step);
bool lifetime_receive(struct lifetime *l, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms);
uint64_t lifetime_wake_ms(const struct lifetime *l);
/* Not needed, and ignored: a slot's local endpoint does not matter. */
void lifetime_bound(struct lifetime *l, unsigned slot, const struct endpoint *local);

/* At any time: what is known so far. */
void lifetime_progress(const struct lifetime *l, uint64_t now_ms, struct lifetime_progress *out);

extern const struct inquiry lifetime_inquiry;

#endif
