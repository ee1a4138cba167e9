/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gateway/scrub on a conntrack that remembers its walks, and waits in them when it is told to. */
#include "test/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#include "gateway/firewall/scrub.h"
#include "sys/clock.h"
#include "sys/log.h"

#define WALKS_MAX 16
#define MANY	  1000

struct conntrack {
	int opened;
};

static struct conntrack conntrack;
static struct {
	size_t count;
	uint16_t first, last; /* ports */
	bool off_loop;
	uint64_t at_ms;
} walks[WALKS_MAX];
static atomic_size_t walk_count;
static atomic_bool hold;   /* a walk waits until it is false */
static atomic_int outcome; /* of open and of walks */
static pthread_t loop_thread;
static uv_loop_t loop;
static struct scrub *scrub;
static unsigned walked_calls;

int conntrack_open(struct conntrack **out)
{
	if (outcome < 0)
		return outcome;
	conntrack.opened++;
	*out = &conntrack;
	return 0;
}

int conntrack_scrub(struct conntrack *ct, const struct conntrack_port *ports, size_t count)
{
	const size_t n = walk_count;

	if (ct != &conntrack || n == WALKS_MAX || count == 0)
		abort(); /* cmocka's asserts are for the main thread */
	walks[n].count = count;
	walks[n].first = ports[0].port;
	walks[n].last = ports[count - 1].port;
	walks[n].off_loop = !pthread_equal(pthread_self(), loop_thread);
	walks[n].at_ms = clock_ms();
	walk_count++;
	while (hold)
		sched_yield();
	return outcome;
}

void conntrack_close(struct conntrack *ct)
{
	ct->opened--;
}

static void on_walked(void *owner)
{
	assert_ptr_equal(owner, &loop);
	walked_calls++;
}

static int begin(void **state)
{
	(void)state;
	log_up_to_level(LOG_LEVEL_ERROR);
	walk_count = 0;
	walked_calls = 0;
	hold = false;
	outcome = 0;
	loop_thread = pthread_self();
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(scrub_open(&scrub, &loop, on_walked, &loop), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	hold = false;
	scrub_close(scrub);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(conntrack.opened, 0);
	return 0;
}

static uint64_t add(uint16_t port)
{
	return scrub_add(scrub, &(struct conntrack_port){ .protocol = 17, .port = port });
}

static void run_until_done(uint64_t number)
{
	while (!scrub_is_done(scrub, number))
		uv_run(&loop, UV_RUN_ONCE);
}

static void await_walk(size_t number)
{
	while (walk_count < number)
		sched_yield();
}

static void ports_wait_for_one_walk_off_the_loop(void **state)
{
	uint64_t number = 0;

	(void)state;
	for (uint16_t port = 1; port <= MANY; port++)
		number = add(port);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(walk_count, 0); /* nobody said run */
	assert_int_equal(scrub_run(scrub), number);
	assert_false(scrub_is_done(scrub, number));
	run_until_done(number);
	assert_int_equal(walk_count, 1);
	assert_int_equal(walks[0].count, MANY);
	assert_int_equal(walks[0].first, 1);
	assert_int_equal(walks[0].last, MANY);
	assert_true(walks[0].off_loop);
	assert_int_equal(walked_calls, 1);
}

static void nothing_to_scrub_is_done(void **state)
{
	(void)state;
	assert_true(scrub_is_done(scrub, scrub_run(scrub)));
	add(1);
	run_until_done(scrub_run(scrub));
	assert_true(scrub_is_done(scrub, scrub_run(scrub)));
	assert_int_equal(walk_count, 1);
}

static void what_comes_during_a_walk_is_the_next_ones(void **state)
{
	uint64_t first, second;

	(void)state;
	hold = true;
	add(1);
	first = scrub_run(scrub);
	await_walk(1);
	add(2);
	second = scrub_run(scrub);
	assert_true(second > first);
	add(3);
	assert_int_equal(scrub_run(scrub), second); /* it has not begun: one more port is in it */
	hold = false;
	run_until_done(first);
	assert_false(scrub_is_done(scrub, second));
	run_until_done(second);
	assert_int_equal(walk_count, 2);
	assert_int_equal(walks[1].first, 2);
	assert_int_equal(walks[1].count, 2);
	assert_int_equal(walked_calls, 2);
}

static void walks_keep_their_pace(void **state)
{
	const uint64_t began_ms = clock_ms();

	(void)state;
	for (uint16_t port = 1; port <= 4; port++) {
		add(port);
		run_until_done(scrub_run(scrub));
	}
	assert_int_equal(walk_count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_in_range(walks[i].at_ms, began_ms + i * SCRUB_PACE_MS, UINT64_MAX);
}

static void a_walk_that_fails_is_done_too(void **state)
{
	uint64_t number;

	(void)state;
	outcome = -ENOBUFS;
	add(1);
	number = scrub_run(scrub);
	run_until_done(number); /* who waits for it would wait for ever */
	outcome = 0;
	add(2);
	run_until_done(scrub_run(scrub));
	assert_int_equal(walks[1].first, 2);
	assert_int_equal(walks[1].count, 1);
}

static void close_scrubs_what_is_left(void **state)
{
	(void)state;
	add(1);
	scrub_close(scrub);
	scrub = NULL;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(walk_count, 1);
	assert_int_equal(conntrack.opened, 0);
}

static void close_during_a_walk_waits_for_it_and_scrubs_the_rest(void **state)
{
	(void)state;
	hold = true;
	add(1);
	scrub_run(scrub);
	await_walk(1);
	add(2);
	scrub_close(scrub);
	scrub = NULL;
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(conntrack.opened, 1);
	hold = false;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(walk_count, 2);
	assert_int_equal(walks[1].first, 2);
	assert_int_equal(conntrack.opened, 0);
	assert_int_equal(walked_calls, 0); /* its owner may be gone */
}

static void without_conntrack_there_is_none(void **state)
{
	struct scrub *none = NULL;

	(void)state;
	outcome = -EPERM;
	assert_int_equal(scrub_open(&none, &loop, NULL, NULL), -EPERM);
	assert_null(none);
	scrub_close(none);
}

static void nobody_needs_to_be_told(void **state)
{
	(void)state;
	scrub_close(scrub);
	assert_int_equal(scrub_open(&scrub, &loop, NULL, NULL), 0);
	add(1);
	run_until_done(scrub_run(scrub));
	assert_int_equal(walk_count, 1);
	assert_int_equal(walked_calls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ports_wait_for_one_walk_off_the_loop),
		TEST(nothing_to_scrub_is_done),
		TEST(what_comes_during_a_walk_is_the_next_ones),
		TEST(walks_keep_their_pace),
		TEST(a_walk_that_fails_is_done_too),
		TEST(close_scrubs_what_is_left),
		TEST(close_during_a_walk_waits_for_it_and_scrubs_the_rest),
		TEST(without_conntrack_there_is_none),
		TEST(nobody_needs_to_be_told),
	};

	return RUN(tests);
}
