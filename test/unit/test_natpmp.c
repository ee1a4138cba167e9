/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/natpmp.h"

/* Decodes a copy of exactly len bytes, so that a sanitizer sees one byte too many. */
static int decode(struct natpmp_request *out, const void *bytes, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);
	int err;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	err = natpmp_request_decode(out, exact, len);
	free(exact);
	return err;
}

static void an_address_request_is_two_bytes_rfc6886_section_3_2(void **state)
{
	static const uint8_t packet[] = { 0, 0 };
	struct natpmp_request q = { .opcode = 9 };

	(void)state;
	assert_int_equal(decode(&q, packet, sizeof(packet)), 0);
	assert_int_equal(q.opcode, NATPMP_ADDRESS);
}

static void a_mapping_request_is_twelve_bytes_and_its_reserved_ones_are_ignored_rfc6886_section_3_3(void **state)
{
	static const uint8_t packet[] = {
		0, 1, 0xff, 0xff,	/* version, opcode, reserved */
		0x1a, 0xe1, 0x9c, 0x41, /* internal port, suggested external port */
		0, 0, 0x1c, 0x20,	/* lifetime in seconds */
	};
	uint8_t tcp[12];
	struct natpmp_request q;

	(void)state;
	assert_int_equal(decode(&q, packet, sizeof(packet)), 0);
	assert_int_equal(q.opcode, NATPMP_MAP_UDP);
	assert_int_equal(q.internal_port, 6881);
	assert_int_equal(q.suggested_port, 40001);
	assert_int_equal(q.lifetime_s, 7200);
	memcpy(tcp, packet, sizeof(tcp));
	tcp[1] = NATPMP_MAP_TCP;
	assert_int_equal(decode(&q, tcp, sizeof(tcp)), 0);
	assert_int_equal(q.opcode, NATPMP_MAP_TCP);
}

static void every_length_and_opcode_is_judged_and_a_refusal_writes_nothing(void **state)
{
	(void)state;
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		for (size_t len = 0; len <= 20; len++) {
			uint8_t packet[20] = { 0, (uint8_t)opcode };
			struct natpmp_request q = { .opcode = 77, .lifetime_s = 77 };
			const int got = decode(&q, packet, len);
			int want = -EBADMSG;

			if (len >= 2 && opcode < 128 && opcode > 2)
				want = -EOPNOTSUPP;
			else if ((opcode == 0 && len == 2) || ((opcode == 1 || opcode == 2) && len == 12))
				want = 0;
			assert_int_equal(got, want);
			if (got < 0)
				assert_true(q.opcode == 77 && q.lifetime_s == 77);
		}
	}
}

static void a_response_is_never_answered_rfc6886_section_3_5(void **state)
{
	static const uint8_t mapped[16] = { 0, 129 };
	struct natpmp_request q;

	(void)state;
	for (unsigned version = 0; version < 4; version++) {
		for (unsigned opcode = 128; opcode < 256; opcode++) {
			const uint8_t packet[12] = { (uint8_t)version, (uint8_t)opcode };

			assert_int_equal(decode(&q, packet, 2), -EBADMSG);
			assert_int_equal(decode(&q, packet, 12), -EBADMSG);
		}
	}
	assert_int_equal(decode(&q, mapped, sizeof(mapped)), -EBADMSG);
}

static void a_datagram_of_16_bytes_is_dropped(void **state) /* one killed the original's thread */
{
	uint8_t packet[16];
	struct natpmp_request q;

	(void)state;
	for (uint8_t opcode = 0; opcode < 3; opcode++) {
		memset(packet, 0xa5, sizeof(packet));
		packet[0] = 0;
		packet[1] = opcode;
		assert_int_equal(decode(&q, packet, sizeof(packet)), -EBADMSG);
	}
}

static void a_datagram_longer_than_1100_bytes_is_dropped(void **state)
{
	uint8_t packet[NATPMP_REQUEST_MAX + 1] = { 2, 1 };
	struct natpmp_request q;

	(void)state;
	assert_int_equal(decode(&q, packet, NATPMP_REQUEST_MAX), -EPROTONOSUPPORT);
	assert_int_equal(decode(&q, packet, sizeof(packet)), -EBADMSG);
	packet[0] = 0;
	packet[1] = 3;
	assert_int_equal(decode(&q, packet, NATPMP_REQUEST_MAX), -EOPNOTSUPP);
	assert_int_equal(decode(&q, packet, sizeof(packet)), -EBADMSG);
}

static void another_version_gets_result_1_and_opcode_128_rfc6886_section_3_5_erratum_3618(void **state)
{
	static const uint8_t want[8] = { 0, 128, 0, 1, 0x01, 0x02, 0x03, 0x04 };
	uint8_t buf[NATPMP_ANSWER_MAX];
	struct natpmp_request q;

	(void)state;
	for (unsigned version = 1; version < 256; version++) {
		const uint8_t packet[60] = { (uint8_t)version, 1 };

		assert_int_equal(decode(&q, packet, 60), -EPROTONOSUPPORT);
		assert_int_equal(decode(&q, packet, 2), -EPROTONOSUPPORT);
		assert_int_equal(decode(&q, packet, 1), -EBADMSG);
	}
	assert_int_equal(natpmp_encode_version_error(buf, 0x01020304), 8);
	assert_memory_equal(buf, want, 8);
}

static void an_address_answer_is_12_bytes_whatever_the_result_rfc6886_section_3_2(void **state)
{
	static const uint8_t success[12] = { 0, 128, 0, 0, 0, 1, 0x51, 0x80, 203, 0, 113, 9 };
	uint8_t buf[NATPMP_ANSWER_MAX];

	(void)state;
	assert_int_equal(natpmp_encode_address(buf, NATPMP_SUCCESS, 86400, 0xcb007109u), 12);
	assert_memory_equal(buf, success, 12);
	for (unsigned result = 1; result <= 5; result++) {
		const uint8_t failure[12] = { 0, 128, 0, (uint8_t)result, 0, 1, 0x51, 0x80, 0, 0, 0, 0 };

		assert_int_equal(natpmp_encode_address(buf, (enum natpmp_result)result, 86400, 0xcb007109u), 12);
		assert_memory_equal(buf, failure, 12);
	}
}

static void a_mapping_answer_is_16_bytes_and_always_echoes_the_internal_port_rfc6886_section_3_3(void **state)
{
	uint8_t buf[NATPMP_ANSWER_MAX];

	(void)state;
	for (uint8_t opcode = 1; opcode <= 2; opcode++) {
		const struct natpmp_request q = { .opcode = opcode, .internal_port = 6881, .suggested_port = 7, .lifetime_s = 9 };
		const uint8_t success[16] = {
			0, (uint8_t)(128 + opcode), 0, 0, /* version, opcode, result */
			0xff, 0xff, 0xff, 0xff,		  /* seconds since start of epoch */
			0x1a, 0xe1, 0x9c, 0x41,		  /* internal port, mapped external port */
			0, 0, 0, 120,			  /* lifetime */
		};

		assert_int_equal(natpmp_encode_map(buf, &q, NATPMP_SUCCESS, UINT32_MAX, 40001, 120), 16);
		assert_memory_equal(buf, success, 16);
		for (unsigned result = 1; result <= 5; result++) {
			const uint8_t failure[16] = { 0, (uint8_t)(128 + opcode), 0, (uint8_t)result, 0, 0, 0, 5, 0x1a, 0xe1 };

			assert_int_equal(natpmp_encode_map(buf, &q, (enum natpmp_result)result, 5, 40001, 120), 16);
			assert_memory_equal(buf, failure, 16);
		}
	}
}

static void a_deletion_is_answered_with_port_0_and_lifetime_0_rfc6886_section_3_4(void **state)
{
	static const uint8_t want[16] = { 0, 129, 0, 0, 0, 0, 0, 1, 0x1a, 0xe1, 0, 0, 0, 0, 0, 0 };
	const struct natpmp_request q = { .opcode = NATPMP_MAP_UDP, .internal_port = 6881 };
	uint8_t buf[NATPMP_ANSWER_MAX];

	(void)state;
	assert_int_equal(natpmp_encode_map(buf, &q, NATPMP_SUCCESS, 1, 0, 0), 16);
	assert_memory_equal(buf, want, 16);
}

static void an_unsupported_opcode_gets_its_whole_request_back_rfc6886_section_3_5(void **state)
{
	uint8_t request[NATPMP_REQUEST_MAX], buf[NATPMP_ANSWER_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(request); i++)
		request[i] = (uint8_t)(i * 7);
	request[0] = 0;
	for (unsigned opcode = 3; opcode < 128; opcode++) {
		request[1] = (uint8_t)opcode;
		for (size_t len = 2; len <= sizeof(request); len += len < 40 ? 1 : 212) {
			uint8_t *exact = malloc(len);

			memcpy(exact, request, len);
			memset(buf, 0xee, sizeof(buf));
			assert_int_equal(natpmp_encode_echo(buf, exact, len, 0x0a0b0c0d), len < 8 ? 8 : len);
			assert_int_equal(buf[1], 128 + opcode);
			assert_memory_equal(buf + 2, "\0\5\x0a\x0b\x0c\x0d", 6);
			if (len > 8)
				assert_memory_equal(buf + 8, request + 8, len - 8);
			free(exact);
		}
	}
}

static void every_result_has_a_text(void **state)
{
	(void)state;
	for (unsigned result = 0; result <= 5; result++)
		assert_true(strlen(natpmp_result_text((enum natpmp_result)result)) > 1);
	assert_string_equal(natpmp_result_text((enum natpmp_result)6), "?");
	assert_string_equal(natpmp_result_text((enum natpmp_result)-1), "?");
}

static void announcements_go_out_ten_times_at_doubling_intervals_rfc6886_section_3_2_1(void **state)
{
	static const uint64_t at_ms[] = { 0, 250, 750, 1750, 3750, 7750, 15750, 31750, 63750, 127750 };
	struct natpmp_announcer a;
	size_t told = 0;

	(void)state;
	natpmp_announcer_start(&a, 5000);
	for (uint64_t ms = 0; ms < 300000; ms += 50) {
		if (!natpmp_announcer_step(&a, 5000 + ms))
			continue;
		assert_true(told < 10);
		assert_int_equal(ms, at_ms[told]);
		assert_int_equal(natpmp_announcer_step(&a, 5000 + ms), 0);
		told++;
	}
	assert_int_equal(told, 10);
	assert_true(a.wake_ms == UINT64_MAX);
}

static void a_new_change_begins_the_announcements_anew(void **state)
{
	struct natpmp_announcer a = { 0 };

	(void)state;
	assert_int_equal(natpmp_announcer_step(&a, 1), 0); /* idle */
	assert_true(a.wake_ms == UINT64_MAX);
	natpmp_announcer_start(&a, 100);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(natpmp_announcer_step(&a, a.wake_ms), 1);
	natpmp_announcer_start(&a, 9000);
	assert_int_equal(natpmp_announcer_step(&a, 9000), 1);
	assert_int_equal(a.wake_ms, 9250);
	assert_int_equal(a.left, 9);
}

static void a_machine_that_slept_does_not_announce_in_a_burst(void **state)
{
	struct natpmp_announcer a;

	(void)state;
	natpmp_announcer_start(&a, 0);
	assert_int_equal(natpmp_announcer_step(&a, 0), 1);
	assert_int_equal(natpmp_announcer_step(&a, 3600000), 1);
	assert_int_equal(natpmp_announcer_step(&a, 3600000), 0);
	assert_int_equal(a.wake_ms, 3600500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_address_request_is_two_bytes_rfc6886_section_3_2),
		T(a_mapping_request_is_twelve_bytes_and_its_reserved_ones_are_ignored_rfc6886_section_3_3),
		T(every_length_and_opcode_is_judged_and_a_refusal_writes_nothing),
		T(a_response_is_never_answered_rfc6886_section_3_5),
		T(a_datagram_of_16_bytes_is_dropped),
		T(a_datagram_longer_than_1100_bytes_is_dropped),
		T(another_version_gets_result_1_and_opcode_128_rfc6886_section_3_5_erratum_3618),
		T(an_address_answer_is_12_bytes_whatever_the_result_rfc6886_section_3_2),
		T(a_mapping_answer_is_16_bytes_and_always_echoes_the_internal_port_rfc6886_section_3_3),
		T(a_deletion_is_answered_with_port_0_and_lifetime_0_rfc6886_section_3_4),
		T(an_unsupported_opcode_gets_its_whole_request_back_rfc6886_section_3_5),
		T(every_result_has_a_text),
		T(announcements_go_out_ten_times_at_doubling_intervals_rfc6886_section_3_2_1),
		T(a_new_change_begins_the_announcements_anew),
		T(a_machine_that_slept_does_not_announce_in_a_burst),
	};

	return RUN(tests);
}
