/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "sys/log.h"

static void one_line_per_interval_and_the_next_says_how_many_were_kept_back(void **state)
{
	struct log_limit limit = { 0 };
	uint64_t skipped = 99;

	(void)state;
	assert_true(log_allowed(&limit, 1000, 5000, &skipped));
	assert_int_equal(skipped, 0);
	assert_false(log_allowed(&limit, 1000, 5000, &skipped));
	assert_false(log_allowed(&limit, 1000, 5999, &skipped));
	assert_true(log_allowed(&limit, 1000, 6000, &skipped));
	assert_int_equal(skipped, 2);
	assert_true(log_allowed(&limit, 1000, 60000, &skipped));
	assert_int_equal(skipped, 0);
}

static void a_burst_at_once_then_one_per_interval_and_a_rest_gives_no_more_than_the_burst_back(void **state)
{
	struct log_limit limit = { 0 };
	uint64_t skipped;
	unsigned said;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		const uint64_t now_ms = 5000 + round * 600000;

		said = 0;
		for (unsigned i = 0; i < 100; i++)
			said += (unsigned)log_allowed_burst(&limit, 100, 20, now_ms, &skipped);
		assert_int_equal(said, 20);
		assert_false(log_allowed_burst(&limit, 100, 20, now_ms + 99, &skipped));
		assert_true(log_allowed_burst(&limit, 100, 20, now_ms + 100, &skipped));
		assert_int_equal(skipped, 81);
		assert_false(log_allowed_burst(&limit, 100, 20, now_ms + 100, &skipped));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_line_per_interval_and_the_next_says_how_many_were_kept_back),
		T(a_burst_at_once_then_one_per_interval_and_a_rest_gives_no_more_than_the_burst_back),
	};

	return RUN(tests);
}
