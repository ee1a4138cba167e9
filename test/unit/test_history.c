/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <stdlib.h>

#include "gateway/face/history.h"

#define BEGIN 7000000u
#define STEP  (HISTORY_STEP_S * 1000u)

static struct history *begun(void)
{
	struct history *h;

	assert_int_equal(history_new(&h, BEGIN), 0);
	return h;
}

static void a_point_is_what_happened_in_its_five_minutes(void **state)
{
	struct history *h = begun();
	struct history_point done;

	(void)state;
	assert_false(history_note(h, &(struct history_facts){ .in_bytes = 100, .mappings = 3, .answers = 2, .rtt_sum_ms = 30 }, BEGIN, &done));
	assert_false(history_note(h, &(struct history_facts){ .in_bytes = 150, .mappings = 1, .answers = 1, .rtt_sum_ms = 15, .outer_changes = 2 },
		BEGIN + STEP - 1, &done));
	assert_true(history_note(h, &(struct history_facts){ .in_bytes = 400, .mappings = 2, .outer_changes = 2 }, BEGIN + STEP, &done));
	assert_int_equal(done.begin_ms, BEGIN);
	assert_int_equal(done.in_bytes, 150);
	assert_int_equal(done.mappings, 3); /* the most there were */
	assert_int_equal(done.answers, 3);
	assert_int_equal(done.rtt_sum_ms, 45);
	assert_int_equal(done.outer_changes, 2);
	assert_int_equal(history_count(h), 2);
	assert_int_equal(history_point(h, 1)->in_bytes, 250);
	assert_int_equal(history_point(h, 1)->outer_changes, 0);
	assert_int_equal(history_point(h, 1)->answers, 0);
	history_free(h);
}

static void a_day_is_kept_and_the_oldest_goes(void **state)
{
	struct history *h = begun();
	struct history_point done;

	(void)state;
	for (unsigned i = 1; i <= 1000; i++)
		assert_true(history_note(h, &(struct history_facts){ .mappings = i }, BEGIN + (uint64_t)i * STEP, &done));
	assert_int_equal(history_count(h), HISTORY_POINTS);
	assert_int_equal(history_point(h, 0)->mappings, 1000 - HISTORY_POINTS + 1);
	assert_int_equal(history_point(h, HISTORY_POINTS - 1)->mappings, 1000);
	for (size_t i = 1; i < HISTORY_POINTS; i++)
		assert_int_equal(history_point(h, i)->begin_ms - history_point(h, i - 1)->begin_ms, STEP);
	history_free(h);
}

static void what_was_slept_through_has_no_points(void **state)
{
	struct history *h = begun();
	struct history_point done;

	(void)state;
	assert_true(history_note(h, &(struct history_facts){ .mappings = 1 }, BEGIN + 100 * STEP + 17, &done));
	assert_int_equal(history_count(h), 2);
	assert_int_equal(history_point(h, 1)->begin_ms, BEGIN + 100 * STEP);
	history_free(h);
}

static void a_count_that_begins_anew_is_no_huge_number(void **state)
{
	struct history *h = begun();
	struct history_point done;

	(void)state;
	history_note(h, &(struct history_facts){ .in_bytes = 1000 }, BEGIN, &done);
	history_note(h, &(struct history_facts){ .in_bytes = 10 }, BEGIN + 1, &done);
	assert_int_equal(history_point(h, 0)->in_bytes, 1010);
	history_free(h);
}

static void the_text_has_the_mean_round_trip_or_null(void **state)
{
	struct history *h = begun();
	struct history_point done;
	struct text t = TEXT_GROWING;

	(void)state;
	history_note(h, &(struct history_facts){ .answers = 2, .rtt_sum_ms = 25 }, BEGIN, &done);
	history_note(h, &(struct history_facts){ .mappings = 4 }, BEGIN + STEP, &done);
	history_json(&t, h);
	assert_ptr_equal(strstr(t.at, "{\"step\":300,\"points\":[{\"time\":\""), t.at);
	assert_non_null(strstr(t.at, "\"rtt_ms\":12.5,\"in_bytes\":0,\"out_bytes\":0,\"connections\":0,\"mappings\":0,\"outer_changes\":0},{"));
	assert_non_null(strstr(t.at, "\"rtt_ms\":null,\"in_bytes\":0,\"out_bytes\":0,\"connections\":0,\"mappings\":4,\"outer_changes\":0}]}"));
	text_free(&t);
	history_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_point_is_what_happened_in_its_five_minutes),
		T(a_day_is_kept_and_the_oldest_goes),
		T(what_was_slept_through_has_no_points),
		T(a_count_that_begins_anew_is_no_huge_number),
		T(the_text_has_the_mean_round_trip_or_null),
	};

	return RUN(tests);
}
