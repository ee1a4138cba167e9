/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/firewall/rules.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/firewall/steps.h"
#include "sys/clock.h"

#define CONFIRM_MS 1000

/* --- one change at a time --- */

static void begin(uv_timer_t *timer);

/* Of a timer of 0 ms: at the end of the loop's turn, so that what the turn brings is done together. */
static void begin_in(struct rules *r, uint64_t ms)
{
	if (!r->working && !r->closed)
		uv_timer_start(&r->timer, begin, ms, 0);
}

/* They take turns; without a table there is nothing else. */
static bool take(struct rules *r)
{
	const size_t last = r->job.step ? (size_t)(r->job.step - steps) : 0;

	r->job.count = 0;
	r->job.generation = r->generation;
	memset(r->job.rules, 0, sizeof(r->job.rules));
	memset(r->job.ghosts, 0, sizeof(r->job.ghosts));
	for (size_t i = 1; i <= steps_count; i++) {
		r->job.step = r->tableless ? &steps[0] : &steps[(last + i) % steps_count];
		if (r->job.step->take(r, &r->job))
			return true;
	}
	return false;
}

static void work(uv_work_t *req)
{
	struct rules *r = req->data;
	struct job *j = &r->job;

	uv_mutex_lock(&r->lock);
	if (!r->stopped) {
		j->result = j->step->work(&r->config, j);
		if (j->result < 0)
			snprintf(j->error, sizeof(j->error), "%s", r->config.backend->error(r->config.firewall));
	}
	uv_mutex_unlock(&r->lock);
}

static void release(struct rules *r)
{
	uv_mutex_destroy(&r->lock);
	free(r);
}

static void worked(uv_work_t *req, int status)
{
	struct rules *r = req->data;

	(void)status;
	r->working = false;
	if (r->closed) {
		if (!r->timer.data) /* the timer is closed as well */
			release(r);
		return;
	}
	if (r->stopped)
		return;
	r->job.step->done(r, &r->job);
	begin_in(r, 0);
	if (scrub_is_done(r->scrub, scrub_run(r->scrub)) && r->config.walked)
		r->config.walked(r->config.owner); /* where there is nothing to walk for */
}

/* What was refused is left. Libnftables' parser leaves much behind. */
static void rest(struct rules *r)
{
	if (r->tableless || !place_is_empty(&r->places[WANTED])) {
		begin_in(r, RULES_RETRY_MS);
	} else if (r->loading_since_ms) {
		log_debug("firewall complete ms=%llu", (unsigned long long)(clock_ms() - r->loading_since_ms));
		r->loading_since_ms = 0;
		r->trim = true;
		rules_look(r);
	}
}

static void begin(uv_timer_t *timer)
{
	struct rules *r = timer->data;

	if (r->stopped)
		return;
	r->working = take(r);
	if (!r->working) {
		rest(r);
	} else if (uv_queue_work(timer->loop, &r->work, work, worked) < 0) {
		work(&r->work);
		worked(&r->work, 0);
	}
}

/* --- what is asked --- */

bool rules_stands(const struct rules *r, const struct rule *rule)
{
	return rule->generation == r->generation;
}

bool rules_scrubbed(const struct rules *r, const struct rule *rule)
{
	return scrub_is_done(r->scrub, rule->walk);
}

/* The number of the removal of what has one of its keys still; 0: there is none. */
static uint64_t in_the_way(const struct rules *r, const struct firewall_mapping *m)
{
	uint64_t number = 0;

	for (const struct removal *q = r->removals; q; q = q->next) {
		const struct firewall_mapping *old = &q->mapping;

		if (old->protocol == m->protocol &&
			(old->relay_port == m->relay_port || (old->client_ip == m->client_ip && old->internal_port == m->internal_port)))
			number = q->number;
	}
	return number;
}

static void want(struct rules *r, struct rule *rule, void (*put)(struct rule_link *place, struct rule *rule))
{
	if (!rule->link.next)
		rule->after = in_the_way(r, &rule->mapping);
	put(&r->places[WANTED], rule);
	begin_in(r, 0);
}

void rules_want(struct rules *r, struct rule *rule)
{
	if (rules_stands(r, rule))
		return;
	if (r->loading_since_ms == 0)
		r->loading_since_ms = clock_ms();
	want(r, rule, place_append);
}

bool rules_add(struct rules *r, struct rule *rule)
{
	if (rules_stands(r, rule))
		return true;
	want(r, rule, place_prepend);
	return false;
}

bool rules_confirm(struct rules *r, struct rule *rule)
{
	if (!rules_stands(r, rule))
		return false;
	if (clock_ms() < r->confirm_ms)
		return true;
	r->confirm_ms = clock_ms() + CONFIRM_MS;
	if (endpoint_equal(&rule->mapping.outer, &rule->outer))
		place_prepend(&r->places[STANDING], rule); /* the sample */
	rules_look(r);
	return true;
}

void rules_reach(struct rules *r, struct rule *rule, const struct endpoint *outer)
{
	if (endpoint_equal(&rule->outer, outer))
		return; /* a hole says so at each keepalive */
	rule->outer = *outer;
	if (!rules_stands(r, rule))
		return; /* it gets it when it is put up */
	steps_put_up(r, rule);
	begin_in(r, 0);
}

void rules_exempt(struct rules *r, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	const size_t which = protocol == LEASE_TCP;

	r->exempt[which].due = true;
	r->exempt[which].count = count < FIREWALL_SERVERS ? count : FIREWALL_SERVERS;
	if (count)
		memcpy(r->exempt[which].servers, servers, r->exempt[which].count * sizeof(*servers));
	begin_in(r, 0);
}

static struct removal *queue_removal(struct rules *r, const struct rule *rule, uint32_t generation)
{
	struct removal *q = malloc(sizeof(*q));

	if (!q) {
		steps_scrub(r, &rule->mapping, false);
		steps_rebuild(r); /* without it */
		begin_in(r, 0);
		return NULL;
	}
	*q = (struct removal){ .mapping = rule->mapping, .generation = generation, .number = ++r->removed };
	*r->removals_end = q;
	r->removals_end = &q->next;
	begin_in(r, 0);
	return q;
}

/* Where it is in the job that runs; its count when it is not. */
static size_t find_in_job(const struct rules *r, const struct rule *rule)
{
	size_t i = 0;

	if (!r->working)
		return r->job.count;
	while (i < r->job.count && r->job.rules[i] != rule)
		i++;
	return i;
}

void rules_remove(struct rules *r, struct rule *rule)
{
	const size_t i = find_in_job(r, rule);
	const bool under_way = i < r->job.count;
	struct removal *q = NULL;

	place_leave(rule);
	if (under_way || rule->generation)
		q = queue_removal(r, rule, under_way ? r->job.generation : rule->generation);
	if (under_way) {
		r->job.rules[i] = NULL;
		r->job.ghosts[i] = q;
	}
	rule->generation = 0;
	rule->again_ms = 0;
}

uint64_t rules_removed(const struct rules *r)
{
	return r->removed;
}

bool rules_gone(struct rules *r, uint64_t number)
{
	for (size_t i = 0; i < 2; i++)
		if (r->walks[i].number > r->gone && scrub_is_done(r->scrub, r->walks[i].walk))
			r->gone = r->walks[i].number;
	return r->gone >= number;
}

void rules_look(struct rules *r)
{
	r->look = true;
	begin_in(r, 0);
}

void rules_move(struct rules *r, const char *wan, uint32_t wan_ip)
{
	if (wan_ip != r->config.wan_ip) {
		steps_scrub_all(r); /* of the address that is gone */
		scrub_run(r->scrub);
		r->config.wan_ip = wan_ip;
	}
	if (strcmp(wan, r->wan) != 0) {
		snprintf(r->wan, sizeof(r->wan), "%s", wan);
		steps_rebuild(r);
		begin_in(r, 0);
	}
}

/* --- begin and end --- */

int rules_open(struct rules **out, const struct rules_config *config)
{
	struct rules *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->config = *config;
	snprintf(r->wan, sizeof(r->wan), "%s", config->wan);
	for (size_t i = 0; i < PLACES; i++)
		r->places[i].next = r->places[i].prev = &r->places[i];
	r->removals_end = &r->removals;
	r->generation = 1;
	err = uv_mutex_init(&r->lock);
	if (err < 0) {
		free(r);
		return err;
	}
	err = scrub_open(&r->scrub, config->loop, config->walked, config->owner);
	if (err < 0) {
		release(r);
		return err;
	}
	uv_timer_init(config->loop, &r->timer);
	r->timer.data = r->work.data = r;
	malloc_trim(0); /* of what the building of the table left */
	*out = r;
	return 0;
}

static void timer_closed(uv_handle_t *handle)
{
	struct rules *r = handle->data;

	handle->data = NULL;
	if (!r->working)
		release(r);
}

void rules_stop(struct rules *r)
{
	uv_mutex_lock(&r->lock); /* a change that runs comes before, one that has not begun never */
	r->stopped = true;
	uv_mutex_unlock(&r->lock);
}

void rules_close(struct rules *r)
{
	if (!r)
		return;
	rules_stop(r);
	r->closed = true;
	steps_scrub_all(r);
	while (r->removals) {
		struct removal *q = r->removals;

		r->removals = q->next;
		free(q);
	}
	scrub_close(r->scrub);
	uv_close((uv_handle_t *)&r->timer, timer_closed);
}
