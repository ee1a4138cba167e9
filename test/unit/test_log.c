/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <pthread.h>
#include <stdio.h>

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

struct heard {
	unsigned lines;
	char last[64];
	enum log_level level;
};

static void hear(void *owner, enum log_level level, const char *words)
{
	struct heard *h = owner;

	h->lines++;
	h->level = level;
	snprintf(h->last, sizeof(h->last), "%s", words);
	log_error("a listener's own line");
}

static void a_listener_hears_info_and_above_whatever_is_logged_and_not_himself(void **state)
{
	struct heard h = { 0 };

	(void)state;
	log_up_to_level((enum log_level)-1); /* nothing on stderr */
	log_listen(hear, &h);
	log_debug("too fine");
	assert_int_equal(h.lines, 0);
	log_info("words n=%d", 7);
	assert_int_equal(h.lines, 1);
	assert_string_equal(h.last, "words n=7");
	assert_int_equal(h.level, LOG_LEVEL_INFO);
	log_error("worse");
	assert_int_equal(h.lines, 2);
	log_listen(NULL, NULL);
	log_error("nobody hears");
	assert_int_equal(h.lines, 2);
	log_up_to_level(LOG_LEVEL_INFO);
}

static void *say_much(void *unused)
{
	for (int i = 0; i < 1000; i++)
		log_info("line");
	return unused;
}

static void threads_tell_one_line_at_a_time(void **state)
{
	struct heard h = { 0 };
	pthread_t threads[4];

	(void)state;
	log_up_to_level((enum log_level)-1);
	log_listen(hear, &h);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, say_much, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	log_listen(NULL, NULL);
	assert_int_equal(h.lines, 4000);
	log_up_to_level(LOG_LEVEL_INFO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_line_per_interval_and_the_next_says_how_many_were_kept_back),
		T(a_burst_at_once_then_one_per_interval_and_a_rest_gives_no_more_than_the_burst_back),
		T(a_listener_hears_info_and_above_whatever_is_logged_and_not_himself),
		T(threads_tell_one_line_at_a_time),
	};

	return RUN(tests);
}
