/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/firewall/rules.h"

#include <errno.h>
#include <malloc.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/log.h"

#define CONFIRM_MS	 1000
#define COMPLAINT_MS	 10000
#define COMPLAINTS_BURST 10
#define NEWS_BURST	 30
#define REACH_MAX	 64 /* outer endpoints at once */
#define RETRY_MS	 1000

/* A rule that is to be taken down, or was and has flows still. */
struct removed {
	struct firewall_mapping mapping;
	uint32_t generation;
	uint64_t walk;
};

/* In their order: from `first` on they wait for their walk, from `up` on they stand. The array begins with number `base`. */
struct removals {
	struct removed *at;
	size_t first, up, count, room;
	uint64_t base;
};

struct rules {
	struct rules_config config;
	char wan[IF_NAMESIZE];
	struct scrub *scrub;
	struct rule *unreached[REACH_MAX];
	size_t unreached_count;
	struct removals removals;
	uv_timer_t removing; /* runs while more are to be taken down than one turn may */
	unsigned closing; /* timers that are not closed yet */
	struct rule *all;
	uint32_t generation;
	uint64_t confirm_ms; /* when the firewall is to be asked again */
	uv_timer_t loading;  /* runs while rules are to be put up … */
	bool tableless;	     /* … or even their table is missing */
	uint64_t loading_since_ms; /* 0: not loading */
	int health; /* what mend said last */
	struct log_limit complaint, news;
};

static const char *error_of(const struct rules *r)
{
	return r->config.backend->error(r->config.firewall);
}

static void complain(struct rules *r, const char *what, const struct firewall_mapping *m)
{
	const struct endpoint client = endpoint_ipv4(m->client_ip, m->internal_port);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&r->complaint, COMPLAINT_MS, COMPLAINTS_BURST, clock_ms(), &skipped))
		log_error("%s protocol=%s client=%s relay=%u error=\"%s\"%s", what, m->protocol == LEASE_TCP ? "TCP" : "UDP",
			endpoint_text(&client, text), m->relay_port, error_of(r), log_more(more, skipped));
}

/* What others do to the firewall, they may do all day. */
static bool is_news(struct rules *r, char more[LOG_MORE_MAX])
{
	uint64_t skipped;

	if (!log_allowed_burst(&r->news, COMPLAINT_MS, NEWS_BURST, clock_ms(), &skipped))
		return false;
	log_more(more, skipped);
	return true;
}

bool rules_stands(const struct rules *r, const struct rule *rule)
{
	return rule->stands && rule->generation == r->generation;
}

static void note_up(const struct rules *r, struct rule *rule)
{
	rule->stands = true;
	rule->generation = r->generation;
}

static void enlist(struct rules *r, struct rule *rule)
{
	if (rule->at)
		return;
	rule->next = r->all;
	rule->at = &r->all;
	if (r->all)
		r->all->at = &rule->next;
	r->all = rule;
}

static void delist(struct rule *rule)
{
	if (!rule->at)
		return;
	*rule->at = rule->next;
	if (rule->next)
		rule->next->at = rule->at;
	rule->at = NULL;
}

bool rules_scrubbed(const struct rules *r, const struct rule *rule)
{
	return scrub_is_done(r->scrub, rule->walk);
}

static uint64_t scrub_port(struct rules *r, const struct conntrack_port *port)
{
	return port->ip ? scrub_add(r->scrub, port) : 0;
}

/* The port of a rule that stands leads to its client; that of one that is gone, to nobody. */
static struct conntrack_port port_of(const struct rules *r, const struct firewall_mapping *m, bool leads)
{
	return (struct conntrack_port){ .ip = r->config.wan_ip, .protocol = (uint8_t)m->protocol, .port = m->relay_port,
		.host_ip = leads ? m->client_ip : 0, .host_port = leads ? m->internal_port : 0 };
}

/* Where the line has no NAT the outer endpoint is the relay port's own, and scrubbed with it. */
static void scrub_outer(struct rules *r, const struct firewall_mapping *m, const struct endpoint *outer, bool leads)
{
	struct conntrack_port port = port_of(r, m, leads);

	if (endpoint_ip32(outer) == port.ip)
		return;
	port.ip = endpoint_ip32(outer);
	port.port = outer->port;
	scrub_port(r, &port);
}

/* The number of the walk that does it. */
static uint64_t scrub_later(struct rules *r, const struct firewall_mapping *m, bool leads)
{
	const struct conntrack_port port = port_of(r, m, leads);

	scrub_outer(r, m, &m->outer, leads);
	return scrub_port(r, &port);
}

/* All rules' flows: but those that go where they should, or all of them. */
static void scrub_all(struct rules *r, bool lead)
{
	for (const struct rule *rule = r->all; rule; rule = rule->next) {
		const struct conntrack_port port = port_of(r, &rule->mapping, lead);

		scrub_port(r, &port);
	}
	scrub_run(r->scrub);
}

/*
 * What the carrier gives us now is nobody else's of ours any more, whether or not he has heard: a key of the firewall's is one
 * mapping's, and who had it last must not take it along when he goes.
 */
static void take_outer(struct rules *r, const struct rule *from)
{
	static const struct endpoint none;
	const struct firewall_mapping *m = &from->mapping;
	struct removals *q = &r->removals;

	if (m->outer.family == ENDPOINT_NONE)
		return;
	for (struct rule *other = r->all; other; other = other->next) {
		if (other == from || other->mapping.protocol != m->protocol || !endpoint_equal(&other->mapping.outer, &m->outer))
			continue;
		if (endpoint_equal(&other->outer, &m->outer))
			other->outer = none;
		other->mapping.outer = none;
	}
	for (size_t i = q->up; i < q->count; i++)
		if (q->at[i].mapping.protocol == m->protocol && endpoint_equal(&q->at[i].mapping.outer, &m->outer))
			q->at[i].mapping.outer = none;
}

/* --- putting up many: something each turn. Of a timer of 0 ms libuv would make one turn. --- */

static void load(uv_timer_t *timer);

static void load_in(struct rules *r, uint64_t ms)
{
	if (r->loading_since_ms == 0)
		r->loading_since_ms = clock_ms();
	uv_timer_start(&r->loading, load, ms, 0);
}

/* The next that do not stand. */
static size_t take(struct rules *r, struct rule *taken[FIREWALL_BATCH], struct firewall_mapping m[FIREWALL_BATCH])
{
	size_t n = 0;

	for (struct rule *rule = r->all; rule && n < FIREWALL_BATCH; rule = rule->next) {
		if (rules_stands(r, rule))
			continue;
		rule->mapping.outer = rule->outer;
		take_outer(r, rule);
		taken[n++] = rule;
	}
	for (size_t i = 0; i < n; i++)
		m[i] = taken[i]->mapping;
	return n;
}

static int build_table(struct rules *r)
{
	int err = r->config.backend->rebuild(r->config.firewall, r->wan);
	char more[LOG_MORE_MAX];

	r->tableless = err < 0;
	if (err < 0 && is_news(r, more))
		log_error("cannot build the firewall's table anew error=\"%s\": tried again%s", error_of(r), more);
	return err;
}

/* Libnftables' parser leaves much behind. The flows of the time without rules went past the clients. */
static void loaded(struct rules *r)
{
	malloc_trim(0);
	scrub_all(r, true);
	log_debug("firewall complete ms=%llu", (unsigned long long)(clock_ms() - r->loading_since_ms));
	r->loading_since_ms = 0;
	rules_look(r);
}

static void load(uv_timer_t *timer)
{
	struct rules *r = timer->data;
	struct rule *taken[FIREWALL_BATCH];
	struct firewall_mapping m[FIREWALL_BATCH];
	size_t n;

	if (r->tableless) {
		load_in(r, build_table(r) < 0 ? RETRY_MS : 1);
		return;
	}
	n = take(r, taken, m);
	if (n > 0 && r->config.backend->add(r->config.firewall, m, n) < 0) {
		complain(r, "firewall refused mappings, the first of them", m);
		load_in(r, RETRY_MS);
		return;
	}
	for (size_t i = 0; i < n; i++)
		note_up(r, taken[i]);
	if (n < FIREWALL_BATCH)
		loaded(r);
	else
		load_in(r, 1);
}

static void rebuild(struct rules *r)
{
	r->tableless = true;
	r->generation++;
	load_in(r, 0);
}

/* What it refused to change may be there still, and would be for good: nothing else asks again. */
static void refused(struct rules *r, const char *what, const struct firewall_mapping *m)
{
	complain(r, what, m);
	rebuild(r);
}

/* --- taking down: together, but so many a turn --- */

static void take_some_down(struct rules *r)
{
	struct removals *q = &r->removals;
	const size_t from = q->up;
	struct firewall_mapping m[RULES_REMOVED];
	size_t n = 0;

	for (; q->up < q->count && n < RULES_REMOVED; q->up++)
		if (q->at[q->up].generation == r->generation) /* else it went with the table */
			m[n++] = q->at[q->up].mapping;
	if (n > 0 && r->config.backend->remove(r->config.firewall, m, n) < 0)
		refused(r, n > 1 ? "firewall had not all mappings that ended, the first of them" : "firewall did not have a mapping that ended", m);
	for (size_t i = from; i < q->up; i++)
		q->at[i].walk = scrub_later(r, &q->at[i].mapping, false);
}

static void take_down(uv_timer_t *timer)
{
	struct rules *r = timer->data;

	take_some_down(r);
	scrub_run(r->scrub);
	if (r->removals.up < r->removals.count)
		uv_timer_start(timer, take_down, 1, 0);
	if (r->config.walked)
		r->config.walked(r->config.owner); /* where there is nothing to walk for */
}

uint64_t rules_scrub(struct rules *r)
{
	struct removals *q = &r->removals;

	if (!uv_is_active((const uv_handle_t *)&r->removing))
		take_some_down(r);
	if (q->up < q->count && !uv_is_active((const uv_handle_t *)&r->removing))
		uv_timer_start(&r->removing, take_down, 1, 0);
	scrub_run(r->scrub);
	return q->base + q->count;
}

bool rules_gone(struct rules *r, uint64_t number)
{
	struct removals *q = &r->removals;

	while (q->first < q->up && scrub_is_done(r->scrub, q->at[q->first].walk))
		q->first++;
	return q->base + q->first >= number;
}

/* What is done for makes room, where it is half of the array. */
static void tidy(struct removals *q)
{
	if (q->first == 0 || q->first * 2 < q->count)
		return;
	memmove(q->at, q->at + q->first, (q->count - q->first) * sizeof(*q->at));
	q->base += q->first;
	q->count -= q->first;
	q->up -= q->first;
	q->first = 0;
}

static int queue_removal(struct rules *r, const struct rule *rule)
{
	struct removals *q = &r->removals;

	rules_gone(r, 0);
	if (q->count == q->room) {
		struct removed *at;

		tidy(q);
		if (q->count == q->room) {
			at = realloc(q->at, (2 * q->room + 16) * sizeof(*at));
			if (!at)
				return -ENOMEM;
			q->at = at;
			q->room = 2 * q->room + 16;
		}
	}
	q->at[q->count++] = (struct removed){ .mapping = rule->mapping, .generation = rule->generation };
	return 0;
}

/* A mapping that comes where one is about to be taken down must come after. */
static void make_way(struct rules *r, const struct firewall_mapping *m)
{
	struct removals *q = &r->removals;

	for (size_t i = q->up; i < q->count; i++) {
		const struct firewall_mapping *old = &q->at[i].mapping;

		if (old->protocol == m->protocol &&
			(old->relay_port == m->relay_port || (old->client_ip == m->client_ip && old->internal_port == m->internal_port)))
			while (q->up <= i)
				take_some_down(r);
	}
}

void rules_want(struct rules *r, struct rule *rule)
{
	make_way(r, &rule->mapping);
	enlist(r, rule);
	load_in(r, 0);
}

static void say_health(struct rules *r, int health)
{
	const bool known = health < 0 && health == r->health; /* a chain that is gone is said once, not at each change elsewhere */
	char more[LOG_MORE_MAX];

	r->health = health;
	if (health == FIREWALL_WELL || known || !is_news(r, more))
		return;
	if (health == FIREWALL_LOST)
		log_warn("somebody took our mappings from the firewall: built anew%s", more);
	else if (health == FIREWALL_MENDED)
		log_warn("somebody took our rule from an --accept-chain: put back%s", more);
	else
		log_error("somebody took our rule from an --accept-chain, and it cannot be put back error=\"%s\": "
			  "strangers may not pass; tried again when the ruleset changes%s",
			error_of(r), more);
}

void rules_look(struct rules *r)
{
	const struct rule *sample = r->all;
	int health;

	if (r->tableless) {
		load_in(r, 0);
		return;
	}
	while (sample && !rules_stands(r, sample))
		sample = sample->next;
	health = r->config.backend->mend(r->config.firewall, sample ? &sample->mapping : NULL);
	say_health(r, health);
	if (health == FIREWALL_LOST)
		rebuild(r);
}

/* --- one by one --- */

bool rules_add(struct rules *r, struct rule *rule)
{
	if (rules_stands(r, rule))
		return true;
	make_way(r, &rule->mapping);
	enlist(r, rule);
	rule->mapping.outer = rule->outer;
	take_outer(r, rule);
	if (r->tableless)
		return false; /* it comes with the others */
	if (r->config.backend->add(r->config.firewall, &rule->mapping, 1) < 0) {
		complain(r, "firewall refused a mapping", &rule->mapping);
		rules_look(r);
		return false;
	}
	note_up(r, rule);
	rule->walk = scrub_later(r, &rule->mapping, true);
	return true;
}

bool rules_confirm(struct rules *r, struct rule *rule)
{
	if (!rules_stands(r, rule))
		return false;
	if (clock_ms() < r->confirm_ms)
		return true;
	r->confirm_ms = clock_ms() + CONFIRM_MS;
	if (r->config.backend->add(r->config.firewall, &rule->mapping, 1) == 0) /* adding what is there changes nothing */
		return true;
	say_health(r, FIREWALL_LOST);
	rebuild(r);
	return false;
}

/* NULL takes all of them. */
static void unqueue(struct rules *r, const struct rule *rule)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->unreached_count; i++)
		if (rule && r->unreached[i] != rule)
			r->unreached[kept++] = r->unreached[i];
	r->unreached_count = kept;
}

void rules_reach(struct rules *r, struct rule *rule, const struct endpoint *outer)
{
	rule->outer = *outer;
	unqueue(r, rule);
	if (!rule->stands || endpoint_equal(&rule->mapping.outer, outer))
		return;
	if (r->unreached_count == REACH_MAX)
		rules_reach_now(r);
	r->unreached[r->unreached_count++] = rule;
}

/* Those that do not stand get theirs when they are put up. */
static void tell_reach(struct rules *r, const struct firewall_reach *changes, size_t count)
{
	if (count > 0 && r->config.backend->reach && r->config.backend->reach(r->config.firewall, changes, count) < 0)
		refused(r, "firewall refused the outer endpoint to the LAN", changes[0].mapping);
}

void rules_reach_now(struct rules *r)
{
	struct firewall_reach changes[REACH_MAX];
	const struct rule *told[REACH_MAX];
	size_t count = 0;

	for (size_t i = 0; i < r->unreached_count; i++) {
		struct rule *rule = r->unreached[i];

		if (!rules_stands(r, rule))
			continue;
		changes[count] = (struct firewall_reach){ &rule->mapping, rule->mapping.outer };
		told[count++] = rule;
		rule->mapping.outer = rule->outer;
	}
	unqueue(r, NULL);
	for (size_t i = 0; i < count; i++) /* where two change places, neither has lost anything */
		take_outer(r, told[i]);
	tell_reach(r, changes, count);
	for (size_t i = 0; i < count; i++) {
		const struct firewall_mapping *m = changes[i].mapping;

		scrub_outer(r, m, &changes[i].before, false);
		scrub_outer(r, m, &m->outer, true);
	}
}

void rules_exempt(struct rules *r, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	if (r->config.backend->exempt(r->config.firewall, protocol, servers, count) == 0)
		return;
	log_error("firewall did not exempt the STUN servers error=\"%s\": built anew", error_of(r));
	rebuild(r);
}

void rules_remove(struct rules *r, struct rule *rule)
{
	if (rule->stands && queue_removal(r, rule) < 0) {
		r->config.backend->remove(r->config.firewall, &rule->mapping, 1);
		rules_forget(r, rule);
	}
	rule->stands = false;
	rules_forget(r, rule);
}

void rules_forget(struct rules *r, struct rule *rule)
{
	unqueue(r, rule);
	if (rule->stands)
		scrub_later(r, &rule->mapping, false);
	rule->stands = false;
	delist(rule);
}

void rules_move(struct rules *r, const char *wan, uint32_t wan_ip)
{
	if (wan_ip != r->config.wan_ip) {
		while (r->removals.up < r->removals.count)
			take_some_down(r);
		scrub_all(r, false); /* of the address that is gone */
		r->config.wan_ip = wan_ip;
	}
	if (strcmp(wan, r->wan) != 0) {
		snprintf(r->wan, sizeof(r->wan), "%s", wan);
		rebuild(r);
	}
}

int rules_open(struct rules **out, const struct rules_config *config)
{
	struct rules *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->config = *config;
	snprintf(r->wan, sizeof(r->wan), "%s", config->wan);
	err = scrub_open(&r->scrub, config->loop, config->walked, config->owner);
	if (err < 0) {
		free(r);
		return err;
	}
	uv_timer_init(config->loop, &r->loading);
	uv_timer_init(config->loop, &r->removing);
	r->loading.data = r->removing.data = r;
	malloc_trim(0); /* as loaded() does, of what the building of the table left */
	*out = r;
	return 0;
}

static void free_rules(uv_handle_t *handle)
{
	struct rules *r = handle->data;

	if (--r->closing > 0)
		return;
	free(r->removals.at);
	free(r);
}

void rules_close(struct rules *r)
{
	struct removals *q;

	if (!r)
		return;
	for (q = &r->removals; q->up < q->count; q->up++)
		scrub_later(r, &q->at[q->up].mapping, false);
	scrub_close(r->scrub);
	r->closing = 2;
	uv_close((uv_handle_t *)&r->loading, free_rules);
	uv_close((uv_handle_t *)&r->removing, free_rules);
}
