/* SPDX-License-Identifier: MIT */
#include "test/unit/test.h"

#include "lib/health.h"

#define NOW 1000000u

static void name(struct health *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		list[i].key = (uint32_t)i + 77;
}

static unsigned shares(struct health *list, size_t count, unsigned of[], uint64_t now_ms)
{
	unsigned most = 0;

	memset(of, 0, count * sizeof(of[0]));
	for (uint32_t seed = 0; seed < 1000; seed++)
		of[health_choose(list, count, seed * 2654435761u, false, now_ms)]++;
	for (size_t i = 0; i < count; i++)
		most = of[i] > most ? of[i] : most;
	return most;
}

static void load_is_spread_over_servers_that_are_alike(void **state)
{
	struct health list[10] = { 0 };
	unsigned of[10];

	(void)state;
	name(list, 10);
	assert_true(shares(list, 10, of, NOW) < 150);
	for (size_t i = 0; i < 10; i++)
		assert_true(of[i] > 50);
}

static void a_fast_server_is_preferred_and_a_slow_one_still_asked(void **state)
{
	struct health list[3] = { 0 };
	unsigned of[3];

	(void)state;
	name(list, 3);
	for (unsigned i = 0; i < 50; i++) {
		health_answered(&list[0], 20, NOW);
		health_answered(&list[1], 20, NOW);
		health_answered(&list[2], 300, NOW);
	}
	assert_in_range(list[2].rtt_ms, 295, 300);
	shares(list, 3, of, NOW);
	assert_in_range(of[0], 380, 560);
	assert_in_range(of[1], 380, 560);
	assert_in_range(of[2], 20, 120);
}

static void failures_weigh_and_are_forgotten(void **state)
{
	struct health list[2] = { 0 };
	unsigned of[2], blamed;

	(void)state;
	name(list, 2);
	for (unsigned i = 0; i < 20; i++) {
		health_failed(&list[0], NOW);
		health_answered(&list[0], 0, NOW);
	}
	shares(list, 2, of, NOW);
	blamed = of[0];
	assert_in_range(blamed, 50, 250);
	shares(list, 2, of, NOW + 3600000);
	assert_true(of[0] > blamed + 150);
	shares(list, 2, of, NOW + 24ull * 3600000);
	assert_in_range(of[0], 440, 560);
}

static void who_asked_a_sick_server_goes_elsewhere_each_his_own_way_and_the_others_stay(void **state)
{
	struct health list[5] = { 0 };
	unsigned moved_to[5] = { 0 };

	(void)state;
	name(list, 5);
	for (uint32_t seed = 0; seed < 1000; seed++) {
		size_t before, sick, after;

		list[2] = (struct health){ .key = list[2].key };
		before = health_choose(list, 5, seed * 2654435761u, false, NOW);
		health_failed(&list[2], NOW);
		sick = health_choose(list, 5, seed * 2654435761u, false, NOW);
		assert_int_not_equal(sick, 2);
		if (before != 2)
			assert_int_equal(sick, before);
		else
			moved_to[sick]++;
		health_answered(&list[2], 0, NOW);
		list[2].blame = 0;
		after = health_choose(list, 5, seed * 2654435761u, false, NOW);
		assert_int_equal(after, before);
	}
	for (size_t i = 0; i < 5; i++)
		assert_true(i == 2 || moved_to[i] > 20);
}

static void a_sick_server_is_tried_seldom_ever_more_seldom_and_by_one(void **state)
{
	struct health list[2] = { 0 };
	unsigned tried = 0;

	(void)state;
	name(list, 2);
	health_failed(&list[0], NOW);
	for (uint64_t ms = NOW; ms < NOW + 3600000; ms += 100) {
		if (health_choose(list, 2, 7, true, ms) != 0)
			continue;
		assert_int_equal(health_choose(list, 2, 7, true, ms), 1); /* only who asks next */
		tried++;
		health_failed(&list[0], list[0].trial_ms); /* 2.5 s later, or when it was tried again */
	}
	assert_in_range(tried, 6, 12);
	assert_int_equal(health_choose(list, 2, 7, false, NOW + 7200000), 1); /* who may not try does not */
}

static void questions_that_fail_together_are_one_failure(void **state)
{
	struct health h = { 0 };

	(void)state;
	for (unsigned i = 0; i < 500; i++)
		health_failed(&h, NOW + i);
	assert_in_range(h.trial_ms, NOW + 1, NOW + 20000);
	assert_int_equal(h.failed, 500);
}

static void servers_that_hang_up_come_last_until_they_stay(void **state)
{
	struct health list[2] = { 0 };
	unsigned of[2];

	(void)state;
	name(list, 2);
	for (unsigned i = 0; i < 50; i++)
		health_hung_up(&list[0], NOW + i);
	assert_false(list[0].hangs_up); /* once is chance, and many at once is once */
	health_stayed(&list[0]);
	health_hung_up(&list[0], NOW + 1000);
	assert_false(list[0].hangs_up);
	health_hung_up(&list[0], NOW + 2000);
	assert_true(list[0].hangs_up);
	shares(list, 2, of, NOW);
	assert_int_equal(of[0], 0);
	health_failed(&list[1], NOW);
	shares(list, 2, of, NOW);
	assert_int_equal(of[0], 1000); /* better than silence */
	health_stayed(&list[0]);
	assert_false(list[0].hangs_up);
}

static void the_next_well_one_follows_and_where_all_are_sick_each_has_its_turn(void **state)
{
	struct health list[4] = { 0 };

	(void)state;
	name(list, 4);
	assert_int_equal(health_next(list, 4, 1), 1);
	health_failed(&list[1], NOW);
	health_failed(&list[2], NOW);
	assert_int_equal(health_next(list, 4, 1), 3);
	health_failed(&list[3], NOW);
	assert_int_equal(health_next(list, 4, 1), 0);
	health_failed(&list[0], NOW);
	assert_int_equal(health_next(list, 4, 1), 1);
	assert_int_equal(health_next(list, 4, 2), 2);
	health_forgive(&list[3], NOW);
	assert_int_equal(health_choose(list, 4, 0, true, NOW), 3);
}

static void questions_are_paced_after_a_short_burst(void **state)
{
	struct health h = { 0 };
	unsigned at_once = 0;
	uint64_t last = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		last = health_reserve(&h, 100, NOW);
		at_once += last == NOW;
	}
	assert_int_equal(at_once, HEALTH_BURST);
	assert_int_equal(last, NOW + (1000 - HEALTH_BURST) * 10);
	assert_int_equal(health_reserve(&h, 100, last + 60000), last + 60000); /* rest gives back a burst, no more */
	for (at_once = 0; health_reserve(&h, 100, last + 60000) == last + 60000; at_once++)
		;
	assert_int_equal(at_once, HEALTH_BURST - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(load_is_spread_over_servers_that_are_alike),
		T(a_fast_server_is_preferred_and_a_slow_one_still_asked),
		T(failures_weigh_and_are_forgotten),
		T(who_asked_a_sick_server_goes_elsewhere_each_his_own_way_and_the_others_stay),
		T(a_sick_server_is_tried_seldom_ever_more_seldom_and_by_one),
		T(questions_that_fail_together_are_one_failure),
		T(servers_that_hang_up_come_last_until_they_stay),
		T(the_next_well_one_follows_and_where_all_are_sick_each_has_its_turn),
		T(questions_are_paced_after_a_short_burst),
	};

	return RUN(tests);
}
