/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/firewall/traffic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/firewall/firewall.h"
#include "gateway/firewall/tally.h"
#include "sys/clock.h"
#include "sys/log.h"

#define COMPLAINT_MS 600000
#define NAMES_MAX    400

/* One look: the thread's while it runs. */
struct look {
	struct tally_sample *samples;
	size_t count, room;
	uint64_t life;
	char offloads[NAMES_MAX];
	struct tally tally;
	int err;
};

struct traffic {
	uv_timer_t timer;
	uv_work_t work;
	const struct firewall_backend *backend;
	struct tally tally; /* nobody changes it while a look runs */
	struct look look;
	bool looking, closed;
	uint64_t next_ms; /* when the next look may begin */
	char why_not[NAMES_MAX + 100];
	struct {
		traffic_changed_fn *changed;
		void *owner;
	} watchers[TRAFFIC_WATCHERS];
	size_t watcher_count;
	struct log_limit complaint;
};

static void counted(void *owner, const struct lease_key *key, enum firewall_counted what, uint64_t packets, uint64_t bytes)
{
	struct look *l = owner;

	if (l->count == l->room) {
		const size_t room = l->room ? 2 * l->room : 64;
		struct tally_sample *samples = realloc(l->samples, room * sizeof(*samples));

		if (!samples) {
			l->err = -ENOMEM;
			return;
		}
		l->samples = samples;
		l->room = room;
	}
	l->samples[l->count++] = (struct tally_sample){ *key, what, packets, bytes };
}

/* The thread's. */
static void walk(uv_work_t *work)
{
	struct traffic *t = work->data;
	struct look *l = &t->look;
	const int err = t->backend->count(counted, l, &l->life, l->offloads, sizeof(l->offloads));

	if (err < 0)
		l->err = err;
	if (l->err == 0)
		l->err = tally_look(&l->tally, &t->tally, l->samples, l->count, l->life, clock_ms());
	free(l->samples);
}

/* A table that is being built anew at this moment is no fault. */
static void complain(struct traffic *t)
{
	char more[LOG_MORE_MAX];
	uint64_t skipped;

	if (t->look.err == -EAGAIN || t->look.err == -ENOENT)
		return;
	snprintf(t->why_not, sizeof(t->why_not), "the kernel does not tell its counters: %s", strerror(-t->look.err));
	if (log_allowed_burst(&t->complaint, COMPLAINT_MS, 1, clock_ms(), &skipped))
		log_warn("cannot read what was counted of mappings error=\"%s\"%s", strerror(-t->look.err), log_more(more, skipped));
}

static void say_offloads(struct traffic *t)
{
	const char *offloads = t->look.offloads;

	if (offloads[0])
		snprintf(t->why_not, sizeof(t->why_not), "part of the flows is offloaded past the counters: %s", offloads);
	else
		t->why_not[0] = '\0';
}

static void free_traffic(uv_handle_t *handle)
{
	struct traffic *t = handle->data;

	tally_free(&t->tally);
	free(t);
}

static void walked(uv_work_t *work, int status)
{
	struct traffic *t = work->data;

	(void)status;
	t->looking = false;
	if (t->look.err < 0) {
		complain(t);
	} else {
		tally_free(&t->tally);
		t->tally = t->look.tally;
		say_offloads(t);
	}
	if (t->closed) {
		uv_close((uv_handle_t *)&t->timer, free_traffic);
		return;
	}
	for (size_t i = 0; i < t->watcher_count; i++)
		t->watchers[i].changed(t->watchers[i].owner);
}

static void due(uv_timer_t *timer)
{
	struct traffic *t = timer->data;

	t->look = (struct look){ .err = 0 };
	t->next_ms = clock_ms() + TRAFFIC_PACE_MS;
	t->looking = uv_queue_work(timer->loop, &t->work, walk, walked) == 0;
}

bool traffic_look(struct traffic *t)
{
	const uint64_t now_ms = clock_ms();

	if (!t->backend->count)
		return false;
	if (!t->looking && !uv_is_active((uv_handle_t *)&t->timer))
		uv_timer_start(&t->timer, due, now_ms < t->next_ms ? t->next_ms - now_ms : 0, 0);
	return true;
}

int traffic_open(struct traffic **out, uv_loop_t *loop, const struct firewall_backend *backend)
{
	struct traffic *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->backend = backend;
	uv_timer_init(loop, &t->timer);
	t->timer.data = t->work.data = t;
	if (!traffic_look(t))
		snprintf(t->why_not, sizeof(t->why_not), "--firewall %s does not count per mapping", backend->name);
	*out = t;
	return 0;
}

int traffic_watch(struct traffic *t, traffic_changed_fn *changed, void *owner)
{
	if (t->watcher_count == TRAFFIC_WATCHERS)
		return -ENOSPC;
	t->watchers[t->watcher_count].changed = changed;
	t->watchers[t->watcher_count++].owner = owner;
	return 0;
}

const char *traffic_why_not(const struct traffic *t)
{
	return t->why_not;
}

bool traffic_of(const struct traffic *t, const struct lease_key *key, struct traffic_counts *out)
{
	return tally_find(&t->tally, key, out);
}

struct traffic_counts traffic_total(const struct traffic *t)
{
	return tally_total(&t->tally);
}

void traffic_close(struct traffic *t)
{
	if (!t)
		return;
	t->closed = true;
	uv_timer_stop(&t->timer);
	if (!t->looking)
		uv_close((uv_handle_t *)&t->timer, free_traffic);
}
