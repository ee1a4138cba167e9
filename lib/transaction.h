/* SPDX-License-Identifier: MIT */
/*
 * transaction - one STUN question: when to send it again, and when to give up.
 *
 * RFC 8489 section 6.2.1 over UDP: the request goes out at 0, RTO, 3 RTO, 7 RTO, …
 * until it was sent Rc times, and fails Rm × RTO after the last. Over a stream
 * (section 6.2.2) it goes out once and fails after Ti. Pure state: time is an
 * argument, the caller sends.
 */
#ifndef LIB_TRANSACTION_H
#define LIB_TRANSACTION_H

#include "lib/stun.h"

struct transaction_timing {
	uint32_t rto_ms;    /* first wait, doubled after each sending */
	uint8_t rc;	    /* how often it is sent, at least 1 */
	uint8_t rm;	    /* how many RTO it waits after the last */
	uint32_t stream_ms; /* Ti */
};

/* What the RFC recommends: 500 ms, 7, 16 and 39.5 s. */
extern const struct transaction_timing transaction_rfc8489;

struct transaction {
	uint8_t id[STUN_ID_LEN];
	uint64_t started_ms;
	uint64_t wake_ms; /* when transaction_step has something to say */
	uint32_t wait_ms;
	struct transaction_timing timing;
	uint8_t sent;
	bool stream;
};

enum transaction_step { TRANSACTION_WAIT, TRANSACTION_SEND, TRANSACTION_FAILED };

/* chosen: 12 random bytes, cryptographically strong (section 5). */
void transaction_start(struct transaction *t, const uint8_t chosen[12], const struct transaction_timing *timing,
	bool stream, uint64_t now_ms);
/* SEND: send the request now (again). FAILED: nobody answered. WAIT: until wake_ms. */
enum transaction_step transaction_step(struct transaction *t, uint64_t now_ms);
/* The next step is FAILED: the server refused, or the connection to it broke. */
void transaction_abort(struct transaction *t, uint64_t now_ms);
/* Whether a decoded message is the response to this question: its class and its id. */
bool transaction_answers(const struct transaction *t, const struct stun_message *m);
/* Round trip of an answer that came now, at least 1; 0 when it is not known: it was sent more than once (Karn), or its time is over. */
uint32_t transaction_rtt_ms(const struct transaction *t, uint64_t now_ms);

#endif
