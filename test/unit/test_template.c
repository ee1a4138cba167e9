/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every answer from a template is, byte for byte, what answer_to says; random questions of each kind, at every socket. */
#include "test/unit/test.h"

#include <stdlib.h>

#include "lib/stun.h"
#include "server/template.h"

#define ROUNDS 20000

/* Any site: one or two addresses and ports, either family. */
static struct site site_of(unsigned pick)
{
	struct site s = { 0 };

	for (unsigned i = 0; i < 4; i++)
		if ((i < 2 || pick & 1) && (i % 2 == 0 || pick & 2))
			s.origin[i / 2][i % 2] = (struct endpoint){ .family = pick & 4 ? ENDPOINT_IPV6 : ENDPOINT_IPV4,
				.port = (uint16_t)(3478 + i % 2), .ip = { 198, 51, 100, (uint8_t)(1 + i / 2) } };
	return s;
}

static void fill(void *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)at)[i] = (uint8_t)(rand() >> 4);
}

/* A header, modern or not, and often a CHANGE-REQUEST; sometimes with something wrong. */
static size_t question_write(uint8_t *bytes)
{
	size_t len = STUN_HEADER_LEN;

	fill(bytes, 64);
	memcpy(bytes, "\0\1\0", 3);
	if (rand() & 64)
		memcpy(bytes + 4, "\x21\x12\xa4\x42", 4);
	if (rand() & 64) {
		memcpy(bytes + len, "\0\3\0\4", 4);
		if (rand() & 64)
			memset(bytes + len + 4, 0, 3);
		len += 8;
	}
	bytes[3] = (uint8_t)(len - STUN_HEADER_LEN);
	if (rand() % 4 == 0)
		bytes[(size_t)rand() % len] ^= (uint8_t)(1 << rand() % 8);
	return rand() % 8 ? len : (size_t)rand() % 64;
}

static void templates_say_what_answer_to_says(void **state)
{
	static uint8_t said[ANSWER_MAX];
	unsigned answered = 0;

	(void)state;
	for (unsigned i = 0; i < 8 * ROUNDS; i++) {
		const struct site site = site_of(i % 8);
		const bool ipv6 = i & 4;
		uint8_t bytes[64], from_template[TEMPLATE_MAX];
		struct templates t;
		struct answer a, b;
		struct question q = { .bytes = bytes, .len = question_write(bytes), .site = &site, .address = i & 1 && rand() & 64,
			.port = i & 2 && rand() & 64, .from = { .family = site.origin[0][0].family, .port = (uint16_t)rand() } };

		memset(&t, 0xee, sizeof(t)); /* nothing must depend on what was there */
		templates_make(&t, &site);
		fill(q.from.ip, ipv6 ? 16 : 4);
		if (!template_answer(&t, &q, from_template, &a))
			continue;
		answered++;
		assert_int_equal(answer_to(&q, said, sizeof(said), &b), COUNT_ANSWERED);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(from_template, said, b.len);
		assert_int_equal(a.address, b.address);
		assert_int_equal(a.port, b.port);
		assert_true(endpoint_equal(&a.to, &b.to));
	}
	assert_true(answered > 2 * ROUNDS);
}

/* So that the common questions do not fall back to answer_to unnoticed. */
static void the_common_questions_have_a_template(void **state)
{
	const char *const asked[] = { "\0\1\0\0\x21\x12\xa4\x42____________", "\0\1\0\0________________",
		"\0\1\0\10\x21\x12\xa4\x42____________\0\3\0\4\0\0\0\6", "\0\1\0\10________________\0\3\0\4\0\0\0\0" };

	(void)state;
	for (unsigned i = 0; i < 4 * sizeof(asked) / sizeof(asked[0]); i++) {
		const struct site site = site_of(i % 2 ? 7 : 3);
		struct question q = { .bytes = asked[i / 4], .len = i / 4 < 2 ? 20 : 28, .site = &site, .address = i & 1,
			.port = i >> 1 & 1, .from = { .family = site.origin[0][0].family, .port = 40000 } };
		struct templates t;
		uint8_t said[TEMPLATE_MAX];
		struct answer a;

		templates_make(&t, &site);
		assert_true(template_answer(&t, &q, said, &a));
		assert_true(a.len >= 56);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(templates_say_what_answer_to_says),
		T(the_common_questions_have_a_template),
	};

	return RUN(tests);
}
