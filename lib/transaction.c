/* SPDX-License-Identifier: MIT */
#include "lib/transaction.h"

const struct transaction_timing transaction_rfc8489 = { .rto_ms = 500, .rc = 7, .rm = 16, .stream_ms = 39500 };

void transaction_start(struct transaction *t, const uint8_t chosen[12], const struct transaction_timing *timing,
	bool stream, uint64_t now_ms)
{
	*t = (struct transaction){
		.started_ms = now_ms, .wake_ms = now_ms, .wait_ms = timing->rto_ms, .timing = *timing, .stream = stream
	};
	stun_id(t->id, chosen);
}

enum transaction_step transaction_step(struct transaction *t, uint64_t now_ms)
{
	if (now_ms < t->wake_ms)
		return TRANSACTION_WAIT;
	if (t->sent >= (t->stream ? 1 : t->timing.rc))
		return TRANSACTION_FAILED;
	t->sent++;
	if (t->stream) {
		t->wake_ms = now_ms + t->timing.stream_ms;
	} else if (t->sent < t->timing.rc) {
		t->wake_ms = now_ms + t->wait_ms;
		t->wait_ms *= 2;
	} else {
		t->wake_ms = now_ms + (uint64_t)t->timing.rm * t->timing.rto_ms;
	}
	return TRANSACTION_SEND;
}

void transaction_abort(struct transaction *t, uint64_t now_ms)
{
	t->wake_ms = now_ms;
	t->sent = UINT8_MAX;
}

bool transaction_answers(const struct transaction *t, const struct stun_message *m)
{
	return (m->class == STUN_SUCCESS || m->class == STUN_ERROR) && m->method == STUN_BINDING &&
		memcmp(m->id, t->id, STUN_ID_LEN) == 0;
}

uint32_t transaction_rtt_ms(const struct transaction *t, uint64_t now_ms)
{
	if (t->sent != 1 || now_ms > t->wake_ms)
		return 0;
	return now_ms > t->started_ms ? (uint32_t)(now_ms - t->started_ms) : 1;
}
