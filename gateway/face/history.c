/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/history.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/face/view_json.h"

#define STEP_MS (HISTORY_STEP_S * 1000u)

struct history {
	uint64_t begun_ms;
	struct history_facts last;
	size_t newest, count;
	struct history_point points[HISTORY_POINTS];
};

int history_new(struct history **out, uint64_t now_ms)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->begun_ms = now_ms;
	h->count = 1;
	h->points[0].begin_ms = now_ms;
	*out = h;
	return 0;
}

void history_free(struct history *h)
{
	free(h);
}

/* What grows may begin anew, as when who counts it does. */
static uint64_t grown(uint64_t before, uint64_t now)
{
	return now >= before ? now - before : now;
}

bool history_note(struct history *h, const struct history_facts *f, uint64_t now_ms, struct history_point *complete)
{
	const uint64_t begin_ms = now_ms - (now_ms - h->begun_ms) % STEP_MS;
	const bool begins = begin_ms != h->points[h->newest].begin_ms;
	struct history_point *p;

	if (begins) {
		*complete = h->points[h->newest];
		h->newest = (h->newest + 1) % HISTORY_POINTS;
		h->count += h->count < HISTORY_POINTS;
		h->points[h->newest] = (struct history_point){ .begin_ms = begin_ms };
	}
	p = &h->points[h->newest];
	p->answers += f->answers;
	p->rtt_sum_ms += f->rtt_sum_ms;
	p->in_bytes += grown(h->last.in_bytes, f->in_bytes);
	p->out_bytes += grown(h->last.out_bytes, f->out_bytes);
	p->connections += grown(h->last.connections, f->connections);
	p->outer_changes += grown(h->last.outer_changes, f->outer_changes);
	p->mappings = f->mappings > p->mappings ? f->mappings : p->mappings;
	h->last = *f;
	return begins;
}

size_t history_count(const struct history *h)
{
	return h->count;
}

const struct history_point *history_point(const struct history *h, size_t index)
{
	return &h->points[(h->newest + HISTORY_POINTS - h->count + 1 + index) % HISTORY_POINTS];
}

void history_point_json(struct json *j, const struct history_point *p)
{
	char at[VIEW_TIME_MAX];

	json_text(j, "time", view_time(p->begin_ms, at));
	if (p->answers)
		json_number(j, "rtt_ms", (double)(p->rtt_sum_ms * 10 / p->answers) / 10);
	else
		json_none(j, "rtt_ms");
	json_count(j, "in_bytes", p->in_bytes);
	json_count(j, "out_bytes", p->out_bytes);
	json_count(j, "connections", p->connections);
	json_count(j, "mappings", p->mappings);
	json_count(j, "outer_changes", p->outer_changes);
}

void history_json(struct text *out, const struct history *h)
{
	struct json j;

	json_append(&j, out);
	json_count(&j, "step", HISTORY_STEP_S);
	json_list(&j, "points");
	for (size_t i = 0; i < h->count; i++) {
		json_open(&j, NULL);
		history_point_json(&j, history_point(h, i));
		json_close(&j);
	}
	json_list_end(&j);
	json_end(&j);
}
