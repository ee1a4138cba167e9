/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/loop.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/sim/sim.h"

#define EVENTS_MAX 16384
#define UPTIME_MS  1000 /* at boot */
#define LOOKUP_MS  100
#define WALL_MS	   1767225600000ull

uint32_t loop_work_ms = 20;
bool (*loop_resolve)(const char *host, uint32_t *ip);

static struct loop_event *agenda[EVENTS_MAX]; /* a heap, the next first */
static size_t planned;
static uint64_t now_ms, turn, slept_ms, boot_ms, boot_slept_ms;
static int64_t wall_ms;
static unsigned boots;
static size_t handles;

/* --- the agenda --- */

static bool before(const struct loop_event *a, const struct loop_event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->turn < b->turn;
}

static void put(struct loop_event *e, size_t i)
{
	agenda[i] = e;
	e->place = i + 1;
}

static void rise(struct loop_event *e, size_t i)
{
	for (; i > 0 && before(e, agenda[(i - 1) / 2]); i = (i - 1) / 2)
		put(agenda[(i - 1) / 2], i);
	put(e, i);
}

static void sink(struct loop_event *e, size_t i)
{
	for (size_t child = 2 * i + 1; child < planned; child = 2 * i + 1) {
		child += child + 1 < planned && before(agenda[child + 1], agenda[child]);
		if (!before(agenda[child], e))
			break;
		put(agenda[child], i);
		i = child;
	}
	put(e, i);
}

bool loop_planned(const struct loop_event *e)
{
	return e->place != 0;
}

void loop_drop(struct loop_event *e)
{
	const size_t i = e->place - 1;
	struct loop_event *last;

	if (!loop_planned(e))
		return;
	e->place = 0;
	last = agenda[--planned];
	if (last == e)
		return;
	if (i > 0 && before(last, agenda[(i - 1) / 2]))
		rise(last, i);
	else
		sink(last, i);
}

void loop_in(struct loop_event *e, uint64_t ms, void (*happens)(struct loop_event *e))
{
	loop_drop(e);
	if (planned == EVENTS_MAX)
		abort();
	*e = (struct loop_event){ .at_ms = ms < UINT64_MAX - now_ms ? now_ms + ms : UINT64_MAX, .turn = turn++, .happens = happens };
	rise(e, planned++);
}

void loop_run(uint64_t until_ms)
{
	while (planned > 0 && agenda[0]->at_ms <= until_ms) {
		struct loop_event *e = agenda[0];

		now_ms = e->at_ms;
		loop_drop(e);
		e->happens(e);
	}
	if (now_ms < until_ms)
		now_ms = until_ms;
}

/* --- clocks and chance --- */

uint64_t loop_ms(void)
{
	return now_ms;
}

uint64_t loop_true_ms(void)
{
	return now_ms + slept_ms;
}

void loop_sleep(uint64_t ms)
{
	slept_ms += ms;
}

void loop_boot(void)
{
	boot_ms = now_ms;
	boot_slept_ms = slept_ms;
	boots++;
}

unsigned loop_boots(void)
{
	return boots;
}

void loop_step_wall(int64_t ms)
{
	wall_ms += ms;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	uint64_t ms = now_ms - boot_ms + UPTIME_MS;

	if (clock == CLOCK_BOOTTIME)
		ms += slept_ms - boot_slept_ms;
	else if (clock == CLOCK_REALTIME)
		ms = WALL_MS + loop_true_ms() + (uint64_t)wall_ms;
	t->tv_sec = (time_t)(ms / 1000);
	t->tv_nsec = (long)(ms % 1000) * 1000000;
	return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	(void)flags;
	sim_random(buf, len);
	return (ssize_t)len;
}

/* --- libuv's timers and handles --- */

struct timer {
	struct loop_event event;
	uv_timer_t *handle;
	struct timer *next; /* free */
};

static struct timer *spare_timers;

static struct timer *timer_of(const uv_handle_t *handle)
{
	return handle->u.reserved[0];
}

size_t loop_handles(void)
{
	return handles;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
	static struct timer all[EVENTS_MAX];
	static size_t used;
	struct timer *t = spare_timers;

	if (t)
		spare_timers = t->next;
	else if (used < EVENTS_MAX)
		t = &all[used++];
	else
		abort();
	*t = (struct timer){ .handle = handle };
	*handle = (uv_timer_t){ .loop = loop, .type = UV_TIMER };
	handle->u.reserved[0] = t;
	handles++;
	return 0;
}

static void timer_due(struct loop_event *e)
{
	uv_timer_t *handle = ((struct timer *)e)->handle;

	if (handle->repeat)
		loop_in(e, handle->repeat, timer_due);
	handle->timer_cb(handle);
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
	if (handle->close_cb)
		return UV_EINVAL;
	handle->timer_cb = cb;
	handle->repeat = repeat;
	loop_in(&timer_of((uv_handle_t *)handle)->event, timeout, timer_due);
	return 0;
}

int uv_timer_stop(uv_timer_t *handle)
{
	if (!handle->close_cb)
		loop_drop(&timer_of((uv_handle_t *)handle)->event);
	return 0;
}

int uv_is_active(const uv_handle_t *handle)
{
	return loop_planned(&timer_of(handle)->event) && !handle->close_cb;
}

static void handle_closed(struct loop_event *e)
{
	struct timer *t = (struct timer *)e;
	uv_handle_t *handle = (uv_handle_t *)t->handle;

	t->next = spare_timers;
	spare_timers = t;
	handles--;
	handle->close_cb(handle);
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
	if (handle->close_cb || !cb)
		abort(); /* closed twice; and the core closes nothing without hearing of it */
	handle->close_cb = cb;
	loop_in(&timer_of(handle)->event, 0, handle_closed);
}

/* --- its threads --- */

enum { JOBS_MAX = 64 };

static struct job {
	struct loop_event event;
	uv_work_t *work;
	uv_work_cb does;
	uv_after_work_cb after;
	uv_getaddrinfo_t *lookup;
	uv_getaddrinfo_cb found;
	bool canceled;
} jobs[JOBS_MAX];

static struct job *free_job(void)
{
	struct job *j = jobs;

	while (j < jobs + JOBS_MAX && (j->work || j->lookup))
		j++;
	if (j == jobs + JOBS_MAX)
		abort();
	handles++;
	return j;
}

static void work_done(struct loop_event *e)
{
	struct job j = *(struct job *)e;

	((struct job *)e)->work = NULL;
	handles--;
	if (j.does)
		j.does(j.work);
	j.after(j.work, 0);
}

int uv_queue_work(uv_loop_t *loop, uv_work_t *req, uv_work_cb work, uv_after_work_cb after)
{
	struct job *j = free_job();

	(void)loop;
	*j = (struct job){ .work = req, .does = work, .after = after };
	loop_in(&j->event, 1 + sim_below(loop_work_ms), work_done);
	return 0;
}

void loop_interrupt_work(bool by_force)
{
	for (struct job *j = jobs; j < jobs + JOBS_MAX; j++) {
		if (!j->work && !j->lookup)
			continue;
		if (j->work && (!by_force || sim_below(2)))
			j->does(j->work);
		j->does = NULL;
		loop_in(&j->event, 0, j->event.happens);
	}
}

static void lookup_done(struct loop_event *e)
{
	static struct sockaddr_in address;
	static struct addrinfo answer;
	struct job *j = (struct job *)e;
	uv_getaddrinfo_t *lookup = j->lookup;
	const uv_getaddrinfo_cb found = j->found;
	const bool canceled = j->canceled;
	uint32_t ip;

	j->lookup = NULL;
	handles--;
	if (canceled || !loop_resolve(lookup->hostname, &ip)) {
		found(lookup, canceled ? UV_ECANCELED : UV_EAI_AGAIN, NULL);
		return;
	}
	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip) };
	answer = (struct addrinfo){ .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&address, .ai_addrlen = sizeof(address) };
	found(lookup, 0, &answer);
}

/* The name is borrowed: the core's names live as long as their lookups. */
int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, const char *node, const char *service,
	const struct addrinfo *hints)
{
	struct job *j = free_job();

	(void)loop, (void)service, (void)hints;
	*j = (struct job){ .lookup = req, .found = cb };
	req->hostname = (char *)node;
	loop_in(&j->event, 1 + sim_below(LOOKUP_MS), lookup_done);
	return 0;
}

void uv_freeaddrinfo(struct addrinfo *ai)
{
	(void)ai;
}

int uv_cancel(uv_req_t *req)
{
	for (struct job *j = jobs; j < jobs + JOBS_MAX; j++)
		if (j->lookup == (uv_getaddrinfo_t *)req)
			j->canceled = true;
	return 0;
}

/* --- and what needs no simulation --- */

int uv_mutex_init(uv_mutex_t *mutex)
{
	(void)mutex;
	return 0;
}

void uv_mutex_lock(uv_mutex_t *mutex)
{
	(void)mutex;
}

void uv_mutex_unlock(uv_mutex_t *mutex)
{
	(void)mutex;
}

void uv_mutex_destroy(uv_mutex_t *mutex)
{
	(void)mutex;
}

const char *uv_strerror(int err)
{
	return err == UV_EAI_AGAIN ? "temporary failure" : "error";
}
