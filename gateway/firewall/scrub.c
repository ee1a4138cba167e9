/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/firewall/scrub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/log.h"

#define COMPLAINT_MS 10000

/* Ports to be scrubbed; it grows and is taken whole. */
struct ports {
	struct conntrack_port *at;
	size_t count, room;
};

struct scrub {
	uv_timer_t timer;
	uv_work_t work;
	struct conntrack *conntrack; /* the walk's, while one runs */
	struct ports added, walked;
	int result;
	bool walking, closed;
	uint64_t begun, done; /* walks */
	uint64_t next_ms; /* when the next may begin */
	struct log_limit complaint;
	scrub_walked_fn *walked_fn;
	void *owner;
};

static void walk(uv_work_t *work)
{
	struct scrub *s = work->data;

	s->result = conntrack_scrub(s->conntrack, s->walked.at, s->walked.count);
}

/* What was added is the walk's from now on. */
static void take(struct scrub *s)
{
	s->walked = s->added;
	s->added = (struct ports){ NULL, 0, 0 };
	s->begun++;
	s->next_ms = clock_ms() + SCRUB_PACE_MS;
}

static void say(struct scrub *s)
{
	char more[LOG_MORE_MAX];
	uint64_t skipped;

	if (s->result < 0 && log_allowed_burst(&s->complaint, COMPLAINT_MS, 1, clock_ms(), &skipped))
		log_warn("cannot scrub conntrack ports=%zu error=\"%s\"%s", s->walked.count, strerror(-s->result), log_more(more, skipped));
	else if (s->result > 0)
		log_debug("scrubbed conntrack ports=%zu flows=%d", s->walked.count, s->result);
	free(s->walked.at);
	s->walked = (struct ports){ NULL, 0, 0 };
}

static void free_scrub(uv_handle_t *handle)
{
	free(handle->data);
}

/* The last walk is not off the loop: nobody waits for anything else any more. */
static void finish(struct scrub *s)
{
	if (s->added.count) {
		take(s);
		walk(&s->work);
		say(s);
	}
	conntrack_close(s->conntrack);
	uv_close((uv_handle_t *)&s->timer, free_scrub);
}

static void walked(uv_work_t *work, int status)
{
	struct scrub *s = work->data;

	(void)status;
	s->walking = false;
	s->done = s->begun;
	say(s);
	if (s->closed) {
		finish(s);
		return;
	}
	scrub_run(s);
	if (s->walked_fn)
		s->walked_fn(s->owner);
}

static void due(uv_timer_t *timer)
{
	scrub_run(timer->data);
}

uint64_t scrub_add(struct scrub *s, const struct conntrack_port *port)
{
	struct ports *p = &s->added;

	if (p->count == p->room) {
		const size_t room = p->room ? 2 * p->room : 16;
		struct conntrack_port *at = realloc(p->at, room * sizeof(*at));

		if (!at) {
			log_error("no memory to scrub conntrack of port=%u: an older flow may live on there", port->port);
			return s->begun;
		}
		p->at = at;
		p->room = room;
	}
	p->at[p->count++] = *port;
	return s->begun + 1;
}

static void begin(struct scrub *s)
{
	take(s);
	s->walking = true;
	if (uv_queue_work(s->timer.loop, &s->work, walk, walked) < 0) {
		walk(&s->work);
		walked(&s->work, 0);
	}
}

uint64_t scrub_run(struct scrub *s)
{
	const uint64_t now_ms = clock_ms(), number = s->begun + (s->added.count > 0);

	if (s->walking || s->added.count == 0)
		return number;
	if (now_ms >= s->next_ms)
		begin(s);
	else if (!uv_is_active((uv_handle_t *)&s->timer))
		uv_timer_start(&s->timer, due, s->next_ms - now_ms, 0);
	return number;
}

bool scrub_is_done(const struct scrub *s, uint64_t number)
{
	return s->done >= number;
}

int scrub_open(struct scrub **out, uv_loop_t *loop, scrub_walked_fn *walked_fn, void *owner)
{
	struct scrub *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	err = conntrack_open(&s->conntrack);
	if (err < 0) {
		free(s);
		return err;
	}
	s->walked_fn = walked_fn;
	s->owner = owner;
	uv_timer_init(loop, &s->timer);
	s->timer.data = s->work.data = s;
	*out = s;
	return 0;
}

void scrub_close(struct scrub *s)
{
	if (!s)
		return;
	s->closed = true;
	uv_timer_stop(&s->timer);
	if (!s->walking)
		finish(s);
}
