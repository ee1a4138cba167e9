/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keeper on a disk that is slow, or fails: fsync is ours. */
#include "test/unit/test.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/state/keeper.h"
#include "gateway/state/statefile.h"
#include "sys/clock.h"

static atomic_uint slow_ms, broken, synced; /* how long a sync takes, which error it gives, how many there were */

int fsync(int fd)
{
	(void)fd;
	usleep(slow_ms * 1000);
	synced++;
	if (broken)
		errno = (int)broken;
	return broken ? -1 : 0;
}

static const struct state_limits limits = { 0 };
static char directory[64], path[96];
static uv_loop_t loop;
static struct keeper *keeper;
static unsigned saves;
static uint64_t version, until; /* what the next snapshot says as its epoch; until when the last was to last */

static int snapshot(void *owner, struct state *out, uint64_t until_ms)
{
	(void)owner;
	until = until_ms;
	*out = (struct state){ .epoch_ms = version, .mappings = malloc(1) };
	return 0;
}

static void saved(void *owner)
{
	(void)owner;
	saves++;
}

static uint64_t on_disk(void)
{
	struct state s;
	bool whole;
	uint64_t epoch;

	statefile_read(path, &limits, &s, &whole);
	epoch = s.epoch_ms;
	state_clear(&s);
	return epoch;
}

/* Two syncs, of the file and of its directory, are a write. */
static unsigned writes(void)
{
	return synced / 2;
}

static void open_keeper(uint32_t lazy_ms)
{
	const struct keeper_config config = { .loop = &loop, .path = path, .lazy_ms = lazy_ms, .snapshot = snapshot, .saved = saved };

	assert_int_equal(keeper_open(&keeper, &config), 0);
}

static int begin(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/stunway-keeper-XXXXXX");
	snprintf(path, sizeof(path), "%s/gateway.json", mkdtemp(directory));
	slow_ms = broken = synced = 0;
	saves = 0;
	version = 1;
	return uv_loop_init(&loop);
}

static int end(void **state)
{
	char command[128];

	(void)state;
	keeper_close(keeper);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

static void run_until_saved(unsigned count)
{
	while (saves < count)
		uv_run(&loop, UV_RUN_ONCE);
}

static void a_promise_is_kept_when_it_is_on_disk(void **state)
{
	uint64_t promise;

	(void)state;
	open_keeper(60000);
	assert_true(keeper_kept(keeper, keeper_last(keeper)));
	promise = keeper_promise(keeper);
	assert_false(keeper_kept(keeper, promise));
	assert_int_equal(keeper_last(keeper), promise);
	run_until_saved(1);
	assert_true(keeper_kept(keeper, promise));
	assert_int_equal(on_disk(), 1);
	assert_in_range(until, clock_ms() + 50000, clock_ms() + 60000);
}

static void promises_during_a_write_share_the_next(void **state)
{
	uint64_t first, last = 0;

	(void)state;
	open_keeper(60000);
	slow_ms = 50;
	first = keeper_promise(keeper);
	while (synced == 0)
		uv_run(&loop, UV_RUN_NOWAIT);
	version = 2;
	for (int i = 0; i < 100; i++)
		last = keeper_promise(keeper);
	run_until_saved(1);
	assert_true(keeper_kept(keeper, first));
	assert_false(keeper_kept(keeper, last));
	run_until_saved(2);
	assert_true(keeper_kept(keeper, last));
	assert_int_equal(writes(), 2);
	assert_int_equal(on_disk(), 2);
}

static void a_note_waits_and_goes_with_a_promise(void **state)
{
	uint64_t began_ms;

	(void)state;
	open_keeper(300);
	keeper_note(keeper);
	run_until_saved(1);
	began_ms = clock_ms();
	keeper_note(keeper);
	keeper_note(keeper);
	run_until_saved(2);
	assert_true(clock_ms() - began_ms >= 290);
	keeper_note(keeper);
	keeper_promise(keeper);
	run_until_saved(3);
	uv_run(&loop, UV_RUN_DEFAULT); /* until nothing is to be done */
	assert_int_equal(writes(), 3);
}

/* What was there before may have been written long ago, by one who ended: it vouches for nothing that is renewed now. */
static void the_first_note_does_not_wait(void **state)
{
	(void)state;
	open_keeper(3600000);
	keeper_note(keeper);
	run_until_saved(1);
	assert_int_equal(writes(), 1);
}

static void a_disk_that_fails_keeps_nobody_waiting_and_is_tried_again(void **state)
{
	uint64_t promise;

	(void)state;
	open_keeper(60000);
	broken = EIO;
	promise = keeper_promise(keeper);
	run_until_saved(1);
	assert_true(keeper_kept(keeper, promise));
	assert_true(keeper_kept(keeper, keeper_promise(keeper)));
	assert_int_equal(synced, 1); /* and not once more for each promise */
	assert_int_equal(access(path, F_OK), -1);
	broken = 0;
	run_until_saved(2);
	assert_int_equal(on_disk(), 1);
	assert_false(keeper_kept(keeper, keeper_promise(keeper)));
	run_until_saved(3);
}

static void a_note_that_failed_is_written_later(void **state)
{
	(void)state;
	open_keeper(10);
	broken = ENOSPC;
	keeper_note(keeper);
	run_until_saved(1);
	broken = 0;
	run_until_saved(2);
	assert_int_equal(on_disk(), 1);
}

static void a_disk_that_hangs_keeps_nobody_waiting(void **state)
{
	uint64_t promise;

	(void)state;
	open_keeper(60000);
	slow_ms = 6000;
	promise = keeper_promise(keeper);
	run_until_saved(1);
	assert_int_equal(synced, 0); /* it hangs yet */
	assert_true(keeper_kept(keeper, promise));
	slow_ms = 0;
	run_until_saved(2);
	assert_int_equal(on_disk(), 1);
	assert_true(keeper_kept(keeper, promise));
}

static void closing_writes_what_is_left(void **state)
{
	(void)state;
	open_keeper(60000);
	keeper_close(keeper);
	keeper = NULL;
	assert_int_equal(synced, 0); /* nothing was */
	open_keeper(60000);
	keeper_note(keeper);
	version = 2;
	keeper_close(keeper);
	keeper = NULL;
	assert_int_equal(on_disk(), 2);
	assert_int_equal(until, 0);
}

/* Neither a write that runs nor one that waits for its thread comes after the last word. */
static void the_last_word_is_the_last(void **state)
{
	(void)state;
	for (unsigned running = 0; running < 2; running++) {
		open_keeper(60000);
		synced = 0;
		slow_ms = 50;
		version = 3;
		keeper_promise(keeper);
		uv_run(&loop, UV_RUN_NOWAIT);
		while (running && synced == 0)
			usleep(1000);
		version = 4;
		keeper_close(keeper);
		keeper = NULL;
		assert_int_equal(on_disk(), 4);
		uv_run(&loop, UV_RUN_DEFAULT);
		assert_int_equal(on_disk(), 4);
		assert_int_equal(saves, 0);
	}
}

static void without_a_file_everything_is_kept(void **state)
{
	const struct keeper_config config = { .loop = &loop, .lazy_ms = 1, .snapshot = snapshot, .saved = saved };

	(void)state;
	assert_int_equal(keeper_open(&keeper, &config), 0);
	keeper_note(keeper);
	assert_true(keeper_kept(keeper, keeper_promise(keeper)));
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
}

#define K(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		K(a_promise_is_kept_when_it_is_on_disk),
		K(promises_during_a_write_share_the_next),
		K(a_note_waits_and_goes_with_a_promise),
		K(the_first_note_does_not_wait),
		K(a_disk_that_fails_keeps_nobody_waiting_and_is_tried_again),
		K(a_note_that_failed_is_written_later),
		K(a_disk_that_hangs_keeps_nobody_waiting),
		K(closing_writes_what_is_left),
		K(the_last_word_is_the_last),
		K(without_a_file_everything_is_kept),
	};

	return RUN(tests);
}
