/* SPDX-License-Identifier: MIT */
/*
 * hairpin - does the NAT loop back what is sent from inside to one of its outer endpoints
 * (RFC 4787 section 6, RFC 5780 section 4.5)?
 *
 *	slot A ──→ server: A's outer endpoint      slot A ──→ B's outer endpoint: arrives at B?
 *	slot B ──→ server: B's outer endpoint      slot B ──→ A's outer endpoint: arrives at A?
 *
 * Binding requests with ids of their own, known again where they arrive; they are not
 * answered. Each slot writes to the other's outer endpoint, so that each one's filter
 * expects what comes from there (behind a NAT that maps endpoint-dependently it may still
 * keep it out: there nothing is looped back that could be used). Where nothing arrives,
 * plain questions to the server, asked at the same time, tell whether loss explains it
 * (lib/evidence.h).
 *
 * Ask for it only on request: a packet from a host's outer address to itself looks like a
 * LAND attack to some firewalls.
 *
 * A machine without I/O, run as lib/inquiry.h says, with slots 0 and 1. Done after about
 * two round trips when the NAT loops back, two seconds and more when it does not.
 */
#ifndef LIB_HAIRPIN_H
#define LIB_HAIRPIN_H

#include "lib/inquiry.h"

#define HAIRPIN_SLOTS 2

struct hairpin_config {
	struct endpoint server;
	void (*random)(void *buf, size_t len); /* cryptographically strong */
};

enum hairpin_answer {
	HAIRPIN_UNKNOWN, /* not yet, or too much was lost */
	HAIRPIN_NO,
	HAIRPIN_YES,
	HAIRPIN_NO_NAT, /* the outer endpoint is the local one: there is nothing to loop back, and nothing was sent */
};

/* Where what was looped back seemed to come from; RFC 4787 REQ-9 wants it external. */
enum hairpin_source {
	HAIRPIN_SOURCE_UNKNOWN, /* nothing came, or from neither */
	HAIRPIN_EXTERNAL,	/* the sender's outer address */
	HAIRPIN_INTERNAL,	/* the sender's local address: the other side drops it as it wrote elsewhere */
};

struct hairpin_result {
	bool done;
	enum hairpin_answer answer;
	enum hairpin_source source;
	struct endpoint outer[HAIRPIN_SLOTS]; /* family NONE: unknown */
};

struct hairpin;

/* NULL when there is no memory. */
struct hairpin *hairpin_new(const struct hairpin_config *config, uint64_t now_ms);
void hairpin_free(struct hairpin *h); /* NULL is fine */

enum inquiry_action hairpin_step(struct hairpin *h, uint64_t now_ms, struct inquiry_step *step);
bool hairpin_receive(struct hairpin *h, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms);
uint64_t hairpin_wake_ms(const struct hairpin *h);
void hairpin_bound(struct hairpin *h, unsigned slot, const struct endpoint *local);

/* At any time. */
void hairpin_result(const struct hairpin *h, struct hairpin_result *out);

extern const struct inquiry hairpin_inquiry;

#endif
