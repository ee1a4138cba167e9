/* SPDX-License-Identifier: MIT */
/*
 * natcheck - does the NAT map and filter endpoint-independently (RFC 5780 section 4)?
 *
 * What a gateway must know before it promises a port: only a NAT that maps
 * endpoint-independently gives strangers the endpoint that the STUN server saw, and only
 * one that filters so lets them in unasked.
 *
 *	slot 0, mapping:   primary ──→ same outer endpoint at ──→ the other address? its port?
 *	slot 1, filtering: primary ──→ CHANGE-REQUEST: does an answer from the other address
 *	                               and port arrive? from the other port?
 *
 * No answer is a verdict on filtering only when the other address answers the mapping
 * slot. Where another server stands in for a second address, or the third question
 * stayed silent, a mapping called address-dependent may be the stricter kind as well.
 *
 * The slots are two local ports: a question to the other address from slot 1 would open
 * the filter that it is to test. Over TCP (stream) each question is a connection of its
 * own from slot 0's port, and filtering cannot be asked.
 *
 * No I/O, as hole: do what natcheck_step says, tell what arrives. Answers of the filtering
 * slot come from addresses that were never written to: a router that filters its own input
 * must hand them in from a packet tap.
 */
#ifndef LIB_NATCHECK_H
#define LIB_NATCHECK_H

#include <stunway/stunway.h>

#include "lib/inquiry.h"
#include "lib/transaction.h"

#define NATCHECK_SERVERS   4
#define NATCHECK_QUESTIONS 6

struct natcheck_question {
	struct transaction transaction;
	struct endpoint to, outer;
	uint8_t state;	/* private */
};

struct natcheck {
	enum stunway_behavior mapping;   /* meaningful once mapping_known */
	enum stunway_behavior filtering; /* meaningful once done: silence takes its time */
	bool mapping_known, done;
	bool alone; /* no second address to ask: neither can be known */

	/* private */
	bool stream;
	void (*random)(void *buf, size_t len);
	struct endpoint servers[NATCHECK_SERVERS], other;
	size_t server_count, primary, second; /* second: the next to be asked as another server */
	uint32_t rtt_ms; /* 0: not known */
	struct natcheck_question questions[NATCHECK_QUESTIONS];
	uint8_t message[STUN_HEADER_LEN + 8];
};

/* servers: the first NATCHECK_SERVERS count; at least one. */
void natcheck_init(struct natcheck *c, bool stream, const struct endpoint *servers, size_t count,
	void (*random)(void *buf, size_t len), uint64_t now_ms);
enum inquiry_action natcheck_step(struct natcheck *c, uint64_t now_ms, struct inquiry_step *step);
/* True when it was an answer to an open question. */
bool natcheck_receive(struct natcheck *c, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms);
/* The connection to a server cannot be made or broke (stream), or a send failed hard: no silence of the NAT's. */
void natcheck_break(struct natcheck *c, const struct endpoint *to, uint64_t now_ms);
uint64_t natcheck_wake_ms(const struct natcheck *c);

#endif
