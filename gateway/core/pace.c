/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/pace.h"

#include <errno.h>
#include <stdlib.h>

struct pace {
	uv_timer_t timer;
	pace_due_fn *due;
	void *owner;
	struct pace_item *first, **end;
};

static void turn(uv_timer_t *timer)
{
	struct pace *p = timer->data;

	for (int i = 0; i < PACE_BATCH && p->first; i++) {
		struct pace_item *item = p->first;

		pace_drop(p, item);
		p->due(p->owner, item, item->what);
	}
	if (!p->first)
		uv_timer_stop(timer);
}

void pace_add(struct pace *p, struct pace_item *item, unsigned what)
{
	if (item->at) {
		if (what > item->what)
			item->what = what;
		return;
	}
	*item = (struct pace_item){ .at = p->end, .what = what };
	*p->end = item;
	p->end = &item->next;
	if (!uv_is_active((const uv_handle_t *)&p->timer))
		uv_timer_start(&p->timer, turn, 0, PACE_MS);
}

void pace_drop(struct pace *p, struct pace_item *item)
{
	if (!item->at)
		return;
	*item->at = item->next;
	if (item->next)
		item->next->at = item->at;
	else
		p->end = item->at;
	item->next = NULL;
	item->at = NULL;
}

int pace_open(struct pace **out, uv_loop_t *loop, pace_due_fn *due, void *owner)
{
	struct pace *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct pace){ .due = due, .owner = owner, .end = &p->first };
	uv_timer_init(loop, &p->timer);
	p->timer.data = p;
	*out = p;
	return 0;
}

static void free_pace(uv_handle_t *handle)
{
	free(handle->data);
}

void pace_close(struct pace *p)
{
	if (p)
		uv_close((uv_handle_t *)&p->timer, free_pace);
}
