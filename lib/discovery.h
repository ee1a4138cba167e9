/* SPDX-License-Identifier: MIT */
/*
 * discovery - the whole inquiry about a NAT: its type (RFC 3489 section 10.1), how it maps
 * and filters (RFC 5780 section 4), and how it chooses ports.
 *
 * The server has two addresses, a and b, with two ports each, 1 and 2. Independent
 * questions are asked at once, each over and over until it is answered, every time as a
 * transaction of its own, so that an answer tells which sending it belongs to:
 *
 *	MAPPING slot   ──→ a1 ──→ b2, a2, when a1's answer has named them: the same outer endpoint?
 *	               ──→ a1 "answer from b2": the witness. The filter is open for b2, which was
 *	                   written to; so the server is heard that way when only loss forbids it
 *	FILTERING slot ──→ a1, and nobody else, ever
 *	               ──→ a1 "answer from b2", "answer from a2": does the filter let them in?
 *	SAMPLE slots   ──→ a1, one after the other, a new slot each: the series of outer ports
 *
 * An answer settles a question for good. Silence is evidence, weighed by Bayes: how
 * probable is it that all of n answers got lost, given how many of the witness's and the
 * plain questions' did? Each verdict carries the probability that it is right. When that
 * is good enough the inquiry ends; at the deadline it says what it has, or Unknown. What
 * the type says follows from mapping and filtering, so they cannot contradict each other:
 *
 *	mapping is not endpoint-independent              SymmetricNAT, whatever the filter
 *	outer = local, filtering endpoint-independent    OpenInternet
 *	outer = local, else                              SymmetricUDPFirewall
 *	filtering endpoint-independent, by address, by port    FullCone, RestrictedCone, PortRestrictedCone
 *	nobody answers                                   Blocked
 *
 * A line whose outer address changes meanwhile is asked anew, once.
 */
#ifndef LIB_DISCOVERY_H
#define LIB_DISCOVERY_H

#include <stunway/stunway.h>

#include "lib/inquiry.h"
#include "lib/portmode.h"
#include "lib/stun.h"

#define DISCOVERY_MAPPING   0
#define DISCOVERY_FILTERING 1
#define DISCOVERY_SAMPLE    2 /* the first of the sample slots */
#define DISCOVERY_SAMPLES   40
#define DISCOVERY_SLOTS	    (DISCOVERY_SAMPLE + DISCOVERY_SAMPLES)

/* Why a verdict is less than it could be, or what else was noticed. */
enum discovery_note {
	DISCOVERY_NO_OTHER = 1u << 0,	     /* the server names no second address */
	DISCOVERY_NO_OTHER_PORT = 1u << 1,   /* its second address has the same port: two kinds of restriction look alike */
	DISCOVERY_OTHER_SILENT = 1u << 2,    /* its second address does not answer */
	DISCOVERY_NO_CHANGE = 1u << 3,	     /* it does not answer from its other address when asked to (CHANGE-REQUEST) */
	DISCOVERY_REFUSED = 1u << 4,	     /* it answers with an error: `code` */
	DISCOVERY_UNSTEADY = 1u << 5,	     /* the outer address changed during the inquiry, twice */
	DISCOVERY_SHORT_OF_TIME = 1u << 6,   /* the deadline came before the evidence */
	DISCOVERY_ALG = 1u << 7,	     /* something rewrites addresses in payloads: MAPPED-ADDRESS ≠ XOR-MAPPED-ADDRESS */
	DISCOVERY_POOL = 1u << 8,	     /* different local ports have different outer addresses */
	DISCOVERY_TCP_ANSWERS = 1u << 9,     /* nobody answers, but the server's host does (discovery_reachable) */
};

struct discovery_verdict {
	enum stunway_type type;
	double confidence; /* that the type is right, 0 to 1; for Unknown: of the likeliest type */
	enum stunway_behavior mapping, filtering; /* known ones only */
	enum stunway_port_mode port_mode;
	struct endpoint outer; /* of the mapping slot, as a1 sees it; family NONE: unknown */
	struct endpoint local; /* of the mapping slot */
	struct endpoint other; /* the server's b2; family NONE: none */
	uint32_t rtt_ms;       /* shortest round trip seen, 0: none */
	double loss;	       /* share of plain questions without an answer, 0 to 1 */
	unsigned notes;	       /* of enum discovery_note */
	uint16_t code;	       /* STUN error, with DISCOVERY_REFUSED */
};

struct discovery_config {
	struct endpoint server;
	uint32_t timeout_ms; /* bound on the verdict, 100 to 600000 */
	bool port_mode;
	void (*random)(void *buf, size_t len); /* cryptographically strong */
};

struct discovery;

/* NULL when there is no memory. */
struct discovery *discovery_new(const struct discovery_config *config, uint64_t now_ms);
void discovery_free(struct discovery *d);

enum inquiry_action discovery_step(struct discovery *d, uint64_t now_ms, struct inquiry_step *step);
bool discovery_receive(struct discovery *d, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms);
uint64_t discovery_wake_ms(const struct discovery *d);
void discovery_bound(struct discovery *d, unsigned slot, const struct endpoint *local);

/*
 * The server's host answers otherwise (a TCP handshake, an ICMP error), after so many ms. Without any answer
 * there is no round trip to measure silence by; with this, Blocked needs no waiting for the deadline.
 */
void discovery_reachable(struct discovery *d, uint32_t rtt_ms, uint64_t now_ms);

/* The verdict once done, before that what is known so far. */
void discovery_verdict(const struct discovery *d, uint64_t now_ms, struct discovery_verdict *out);

extern const struct inquiry discovery_inquiry;

#endif
