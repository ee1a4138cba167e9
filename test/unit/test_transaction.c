/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "lib/transaction.h"

static const uint8_t chosen[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

static void a_request_goes_out_seven_times_and_fails_at_39500_ms_rfc8489_section_6_2_1(void **state)
{
	static const uint64_t sendings[] = { 0, 500, 1500, 3500, 7500, 15500, 31500 };
	const uint64_t begin_ms = 1000;
	struct transaction t;
	size_t sent = 0;

	(void)state;
	transaction_start(&t, chosen, &transaction_rfc8489, false, begin_ms);
	for (uint64_t at_ms = 0; at_ms < 39500; at_ms++) {
		const enum transaction_step step = transaction_step(&t, begin_ms + at_ms);

		if (sent < 7 && at_ms == sendings[sent]) {
			assert_int_equal(step, TRANSACTION_SEND);
			sent++;
		} else {
			assert_int_equal(step, TRANSACTION_WAIT);
		}
		assert_true(t.wake_ms > begin_ms + at_ms);
	}
	assert_int_equal(sent, 7);
	assert_int_equal(t.wake_ms, begin_ms + 39500);
	assert_int_equal(transaction_step(&t, begin_ms + 39500), TRANSACTION_FAILED);
	assert_int_equal(transaction_step(&t, begin_ms + 39501), TRANSACTION_FAILED);
}

static void a_stream_sends_once_and_fails_after_ti_rfc8489_section_6_2_2(void **state)
{
	struct transaction t;

	(void)state;
	transaction_start(&t, chosen, &transaction_rfc8489, true, 7);
	assert_int_equal(transaction_step(&t, 7), TRANSACTION_SEND);
	assert_int_equal(transaction_step(&t, 7), TRANSACTION_WAIT);
	assert_int_equal(transaction_step(&t, 7 + 39499), TRANSACTION_WAIT);
	assert_int_equal(transaction_step(&t, 7 + 39500), TRANSACTION_FAILED);
}

static void a_late_wake_up_sends_once_and_keeps_the_distance(void **state)
{
	struct transaction t;

	(void)state;
	transaction_start(&t, chosen, &transaction_rfc8489, false, 0);
	assert_int_equal(transaction_step(&t, 0), TRANSACTION_SEND);
	assert_int_equal(transaction_step(&t, 6 * 3600000), TRANSACTION_SEND); /* the machine slept */
	assert_int_equal(transaction_step(&t, 6 * 3600000), TRANSACTION_WAIT);
	assert_int_equal(t.wake_ms, 6 * 3600000 + 1000);
}

static void an_answer_has_time_after_a_late_last_sending(void **state)
{
	const struct transaction_timing once = { .rto_ms = 500, .rc = 1, .rm = 2, .stream_ms = 1 };
	struct transaction t;

	(void)state;
	transaction_start(&t, chosen, &once, false, 0);
	assert_int_equal(transaction_step(&t, 5000), TRANSACTION_SEND);
	assert_int_equal(transaction_step(&t, 5999), TRANSACTION_WAIT);
	assert_int_equal(transaction_step(&t, 6000), TRANSACTION_FAILED);
}

static void an_aborted_question_fails_at_once(void **state)
{
	struct transaction t;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		transaction_start(&t, chosen, &transaction_rfc8489, stream, 100);
		assert_int_equal(transaction_step(&t, 100), TRANSACTION_SEND);
		transaction_abort(&t, 120);
		assert_int_equal(t.wake_ms, 120);
		assert_int_equal(transaction_step(&t, 120), TRANSACTION_FAILED);
		assert_int_equal(transaction_rtt_ms(&t, 120), 0);
	}
}

static struct stun_message response(enum stun_class class, uint16_t method, const uint8_t id[STUN_ID_LEN])
{
	struct stun_message m = { .class = class, .method = method };

	memcpy(m.id, id, STUN_ID_LEN);
	return m;
}

static void only_a_binding_response_with_all_16_bytes_of_the_id_answers_rfc8489_section_6_3(void **state)
{
	struct transaction t;
	struct stun_message m;

	(void)state;
	transaction_start(&t, chosen, &transaction_rfc8489, false, 0);
	assert_memory_equal(t.id, "\x21\x12\xa4\x42\1\2\3\4\5\6\7\10\11\12\13\14", STUN_ID_LEN);
	m = response(STUN_SUCCESS, STUN_BINDING, t.id);
	assert_true(transaction_answers(&t, &m));
	m = response(STUN_ERROR, STUN_BINDING, t.id);
	assert_true(transaction_answers(&t, &m));
	m = response(STUN_REQUEST, STUN_BINDING, t.id);
	assert_false(transaction_answers(&t, &m));
	m = response(STUN_INDICATION, STUN_BINDING, t.id);
	assert_false(transaction_answers(&t, &m));
	m = response(STUN_SUCCESS, STUN_SHARED_SECRET, t.id);
	assert_false(transaction_answers(&t, &m));
	for (size_t i = 0; i < STUN_ID_LEN; i++) {
		m = response(STUN_SUCCESS, STUN_BINDING, t.id);
		m.id[i] ^= 1; /* of the cookie too: an old server must give back all 128 bits */
		assert_false(transaction_answers(&t, &m));
	}
}

static void a_round_trip_is_known_only_of_a_first_sending(void **state)
{
	struct transaction t;

	(void)state;
	transaction_start(&t, chosen, &transaction_rfc8489, false, 1000);
	transaction_step(&t, 1000);
	assert_int_equal(transaction_rtt_ms(&t, 1042), 42);
	transaction_step(&t, 1500);
	assert_int_equal(transaction_rtt_ms(&t, 1542), 0);
	transaction_start(&t, chosen, &transaction_rfc8489, true, 1000);
	transaction_step(&t, 1000);
	assert_int_equal(transaction_rtt_ms(&t, 1000 + 39500), 39500);
	assert_int_equal(transaction_rtt_ms(&t, 1000 + 39501), 0); /* who looks now has slept */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_goes_out_seven_times_and_fails_at_39500_ms_rfc8489_section_6_2_1),
		T(a_stream_sends_once_and_fails_after_ti_rfc8489_section_6_2_2),
		T(a_late_wake_up_sends_once_and_keeps_the_distance),
		T(an_answer_has_time_after_a_late_last_sending),
		T(an_aborted_question_fails_at_once),
		T(only_a_binding_response_with_all_16_bytes_of_the_id_answers_rfc8489_section_6_3),
		T(a_round_trip_is_known_only_of_a_first_sending),
	};

	return RUN(tests);
}
