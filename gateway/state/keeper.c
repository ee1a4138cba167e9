/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/state/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/state/statefile.h"
#include "sys/clock.h"
#include "sys/log.h"

#define STALL_MS      2000 /* a write that takes longer is a disk that fails */
#define RETRY_MS      1000 /* doubling … */
#define RETRY_MAX_MS  300000
#define BURST	      1000 /* writes for promises at once, then one per … : who maps and unmaps all day wears out no flash */
#define BURST_EACH_MS 100

struct keeper {
	struct keeper_config config;
	uv_timer_t timer; /* until the next write, or while one runs until it takes too long */
	uv_work_t work;
	bool writing, closed;
	uint64_t promised, written, in_work; /* promises: the last, the last on disk, the last in the write that runs */
	bool noted, noted_in_work;
	uint64_t last_ms; /* when the last write ended, 0: none yet. What is on disk is not ours to rely on, so the first note is written at once */
	uint64_t pace_ms; /* of promises: when the bucket is full */
	bool failing;
	uint64_t retry_ms, retry_after_ms;

	/* What a thread has: the lock is against keeper_close only. */
	uv_mutex_t lock;
	bool final; /* the last word is written */
	struct state snapshot;
	int err;
};

static void schedule(struct keeper *k);

static void work(uv_work_t *req)
{
	struct keeper *k = req->data;

	uv_mutex_lock(&k->lock);
	k->err = k->final ? 0 : statefile_write(k->config.path, &k->snapshot);
	uv_mutex_unlock(&k->lock);
}

static void fail(struct keeper *k, const char *why)
{
	if (!k->failing)
		log_error("state file %s cannot be written error=\"%s\": serving on, but a restart now would forget what is new; tried again",
			k->config.path, why);
	k->retry_ms = !k->failing ? RETRY_MS : k->retry_ms * 2 < RETRY_MAX_MS ? k->retry_ms * 2 : RETRY_MAX_MS;
	k->failing = true;
	k->retry_after_ms = clock_ms() + k->retry_ms;
}

static void succeed(struct keeper *k)
{
	if (k->failing)
		log_info("state file %s is written again", k->config.path);
	k->failing = false;
	k->written = k->in_work;
}

static void release(struct keeper *k)
{
	state_clear(&k->snapshot);
	uv_mutex_destroy(&k->lock);
	free(k);
}

static void written(uv_work_t *req, int status)
{
	struct keeper *k = req->data;

	(void)status;
	state_clear(&k->snapshot);
	k->writing = false;
	if (k->closed) {
		if (!k->timer.data) /* the timer is closed as well */
			release(k);
		return;
	}
	k->last_ms = clock_ms();
	if (k->err < 0) {
		k->noted |= k->noted_in_work;
		fail(k, strerror(-k->err));
	} else {
		succeed(k);
	}
	schedule(k);
	k->config.saved(k->config.owner);
}

/* A disk that does not answer keeps nobody waiting; its write still runs. */
static void stalled(uv_timer_t *timer)
{
	struct keeper *k = timer->data;

	fail(k, "it takes too long");
	k->config.saved(k->config.owner);
}

static void begin(uv_timer_t *timer)
{
	struct keeper *k = timer->data;
	const uint64_t now_ms = clock_ms(), full_ms = now_ms + BURST * BURST_EACH_MS;
	const int err = k->config.snapshot(k->config.owner, &k->snapshot, now_ms + k->config.lazy_ms);

	if (err < 0) {
		fail(k, strerror(-err));
		schedule(k);
		k->config.saved(k->config.owner);
		return;
	}
	state_boot_id(k->snapshot.boot_id);
	k->in_work = k->promised;
	k->noted_in_work = k->noted;
	k->noted = false;
	k->pace_ms = (k->pace_ms > now_ms ? k->pace_ms : now_ms) + BURST_EACH_MS;
	k->pace_ms = k->pace_ms < full_ms ? k->pace_ms : full_ms;
	k->writing = true;
	uv_timer_start(&k->timer, stalled, STALL_MS, 0);
	uv_queue_work(k->config.loop, &k->work, work, written);
}

static uint64_t due_ms(const struct keeper *k, uint64_t now_ms)
{
	if (k->failing)
		return k->retry_after_ms;
	if (k->promised == k->written)
		return k->last_ms + k->config.lazy_ms;
	return k->pace_ms > now_ms + (BURST - 1) * BURST_EACH_MS ? k->pace_ms - (BURST - 1) * BURST_EACH_MS : now_ms;
}

static void schedule(struct keeper *k)
{
	const uint64_t now_ms = clock_ms();
	uint64_t at_ms;

	if (k->writing || k->closed || !k->config.path)
		return;
	uv_timer_stop(&k->timer);
	if (k->promised == k->written && !k->noted)
		return;
	at_ms = due_ms(k, now_ms);
	uv_timer_start(&k->timer, begin, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

uint64_t keeper_promise(struct keeper *k)
{
	k->promised++;
	schedule(k);
	return k->promised;
}

bool keeper_kept(const struct keeper *k, uint64_t promise)
{
	return promise <= k->written || k->failing || !k->config.path;
}

uint64_t keeper_last(const struct keeper *k)
{
	return k->promised;
}

void keeper_note(struct keeper *k)
{
	if (k->noted)
		return;
	k->noted = true;
	schedule(k);
}

int keeper_open(struct keeper **out, const struct keeper_config *config)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	k->config = *config;
	k->work.data = k->timer.data = k;
	err = uv_mutex_init(&k->lock);
	if (err < 0) {
		free(k);
		return err;
	}
	uv_timer_init(config->loop, &k->timer);
	k->timer.data = k;
	*out = k;
	return 0;
}

static void write_last(struct keeper *k)
{
	struct state s = { 0 };
	int err = k->config.snapshot(k->config.owner, &s, 0);

	state_boot_id(s.boot_id);
	uv_mutex_lock(&k->lock); /* a write that runs comes before, one that has not begun never */
	if (err == 0)
		err = statefile_write(k->config.path, &s);
	k->final = true;
	uv_mutex_unlock(&k->lock);
	if (err < 0)
		log_error("state file %s cannot be written error=\"%s\": what changed lately is forgotten", k->config.path, strerror(-err));
	state_clear(&s);
}

static void timer_closed(uv_handle_t *handle)
{
	struct keeper *k = handle->data;

	handle->data = NULL;
	if (!k->writing)
		release(k);
}

void keeper_close(struct keeper *k)
{
	if (!k || k->closed)
		return;
	k->closed = true;
	if (k->config.path && (k->promised != k->written || k->noted || k->writing))
		write_last(k);
	uv_close((uv_handle_t *)&k->timer, timer_closed);
}
