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
#define RETRY_MS	 1000
#define ERROR_MAX	 512

/* A rule that is to be taken down, in the order in which they were removed. */
struct removal {
	struct removal *next;
	struct firewall_mapping mapping;
	uint32_t generation; /* of the table that has it; what has gone with its table is scrubbed only */
	uint64_t number;
};

/* Where a rule is: to be put up; up, but its outer endpoint is another; up. */
enum place { WANTED, TURNED, STANDING, PLACES };

/* One change of the firewall: filled in the loop, done in a thread, which leaves `rules` and `ghosts` alone. */
struct job {
	const struct step *step;
	uint32_t generation; /* when it began */
	size_t count;
	struct firewall_mapping m[FIREWALL_BATCH];
	struct firewall_reach reaches[FIREWALL_BATCH];
	struct rule *rules[FIREWALL_BATCH];	/* NULL: removed meanwhile … */
	struct removal *ghosts[FIREWALL_BATCH]; /* … by this */
	char wan[IF_NAMESIZE];
	enum lease_protocol protocol;
	struct endpoint servers[FIREWALL_SERVERS];
	bool trim;
	int result;
	char error[ERROR_MAX];
};

struct rules {
	struct rules_config config;
	char wan[IF_NAMESIZE];
	struct scrub *scrub;
	struct rule_link places[PLACES];
	struct removal *removals, **removals_end;
	uint64_t removed, taken; /* the last removal's number: asked for, taken into a job */
	struct {
		uint64_t walk, number;
	} walks[2]; /* that end removals' flows: the one that runs and the next */
	uint64_t last_walk, gone;
	uint32_t generation;
	size_t singly; /* so many go up one by one, to find which was refused */
	bool tableless, look, trim;
	uint64_t build_ms; /* the table is not tried before */
	struct {
		bool due;
		size_t count;
		struct endpoint servers[FIREWALL_SERVERS];
	} exempt[2]; /* UDP, TCP */
	uint64_t confirm_ms;	   /* when the firewall is to be asked again */
	uint64_t loading_since_ms; /* 0: not many are to be put up */
	int health;		   /* what mend said last */
	struct log_limit complaint, news;

	uv_timer_t timer; /* until the next job */
	uv_work_t work;
	bool working, closed;
	struct job job;
	uv_mutex_t lock; /* against rules_stop: */
	bool stopped;
};

/* What the firewall can be told: what of it is to be done now (false: nothing), a thread's doing, and what follows. */
struct step {
	bool (*take)(struct rules *r, struct job *j);
	int (*work)(const struct rules_config *c, struct job *j);
	void (*done)(struct rules *r, struct job *j);
};

/* --- places --- */

static void take_out(struct rule *rule)
{
	struct rule_link *l = &rule->link;

	if (!l->next)
		return;
	l->prev->next = l->next;
	l->next->prev = l->prev;
	l->next = l->prev = NULL;
}

static void put_before(struct rule_link *at, struct rule *rule)
{
	take_out(rule);
	rule->link = (struct rule_link){ .next = at, .prev = at->prev };
	at->prev->next = &rule->link;
	at->prev = &rule->link;
}

static struct rule *rule_of(struct rule_link *l)
{
	return (struct rule *)l;
}

static bool is_empty(const struct rule_link *place)
{
	return place->next == place;
}

static void put_first(struct rule_link *place, struct rule *rule)
{
	take_out(rule);
	put_before(place->next, rule);
}

/* All of one place are the last of another. */
static void move_all(struct rule_link *from, struct rule_link *to)
{
	if (is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	from->next = from->prev = from;
}

bool rules_stands(const struct rules *r, const struct rule *rule)
{
	return rule->generation == r->generation;
}

/* One that stands, where it belongs. */
static void put_up(struct rules *r, struct rule *rule)
{
	if (!r->config.backend->reach)
		rule->mapping.outer = rule->outer;
	put_before(&r->places[endpoint_equal(&rule->mapping.outer, &rule->outer) ? STANDING : TURNED], rule);
}

/* --- the log --- */

static void complain(struct rules *r, const char *what, const struct firewall_mapping *m)
{
	const struct endpoint client = endpoint_ipv4(m->client_ip, m->internal_port);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&r->complaint, COMPLAINT_MS, COMPLAINTS_BURST, clock_ms(), &skipped))
		log_error("%s protocol=%s client=%s relay=%u error=\"%s\"%s", what, m->protocol == LEASE_TCP ? "TCP" : "UDP",
			endpoint_text(&client, text), m->relay_port, r->job.error, log_more(more, skipped));
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

/* --- conntrack --- */

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

/* No rule's flows go on, nor those of a rule that is to be taken down. */
static void scrub_all(struct rules *r)
{
	for (size_t i = 0; i < PLACES; i++)
		for (struct rule_link *l = r->places[i].next; l != &r->places[i]; l = l->next)
			scrub_later(r, &rule_of(l)->mapping, false);
	for (const struct removal *q = r->removals; q; q = q->next)
		scrub_later(r, &q->mapping, false);
}

/* --- jobs: one at a time --- */

static void begin(uv_timer_t *timer);

/* Of a timer of 0 ms: at the end of the loop's turn, so that what the turn brings is done together. */
static void begin_in(struct rules *r, uint64_t ms)
{
	if (!r->working && !r->closed)
		uv_timer_start(&r->timer, begin, ms, 0);
}

/* The table has gone, or is not to be trusted: another, with all that is wanted. */
static void rebuild(struct rules *r)
{
	r->generation++;
	r->tableless = true;
	r->build_ms = 0;
	r->singly = 0;
	move_all(&r->places[TURNED], &r->places[WANTED]);
	move_all(&r->places[STANDING], &r->places[WANTED]);
	if (r->loading_since_ms == 0)
		r->loading_since_ms = clock_ms();
	begin_in(r, 0);
}

/* What it refused to change may be there still, and would be for good: nothing else asks again. */
static void refused(struct rules *r, const char *what, const struct firewall_mapping *m)
{
	complain(r, what, m);
	rebuild(r);
}

static bool take_table(struct rules *r, struct job *j)
{
	if (!r->tableless || clock_ms() < r->build_ms)
		return false;
	memcpy(j->wan, r->wan, sizeof(j->wan));
	return true;
}

static int build_table(const struct rules_config *c, struct job *j)
{
	return c->backend->rebuild(c->firewall, j->wan);
}

static void table_built(struct rules *r, struct job *j)
{
	char more[LOG_MORE_MAX];

	r->tableless = j->result < 0 || j->generation != r->generation;
	if (j->result >= 0)
		return;
	r->build_ms = clock_ms() + RETRY_MS;
	if (is_news(r, more))
		log_error("cannot build the firewall's table anew error=\"%s\": tried again%s", j->error, more);
}

static bool take_servers(struct rules *r, struct job *j)
{
	const size_t which = r->exempt[0].due ? 0 : 1;

	if (!r->exempt[which].due)
		return false;
	r->exempt[which].due = false;
	j->protocol = which ? LEASE_TCP : LEASE_UDP;
	j->count = r->exempt[which].count;
	memcpy(j->servers, r->exempt[which].servers, sizeof(j->servers));
	return true;
}

static int exempt(const struct rules_config *c, struct job *j)
{
	return c->backend->exempt(c->firewall, j->protocol, j->servers, j->count);
}

static void exempted(struct rules *r, struct job *j)
{
	if (j->result >= 0)
		return;
	log_error("firewall did not exempt the STUN servers error=\"%s\": built anew", j->error);
	rebuild(r);
}

static bool take_removals(struct rules *r, struct job *j)
{
	const struct removal *q = r->removals;

	for (size_t i = 0; q && i < FIREWALL_BATCH; i++, q = q->next) {
		r->taken = q->number;
		if (q->generation == r->generation)
			j->m[j->count++] = q->mapping;
	}
	return r->removals != NULL;
}

static int take_down(const struct rules_config *c, struct job *j)
{
	return j->count ? c->backend->remove(c->firewall, j->m, j->count) : 0;
}

/* Walks end in their order, and never more than two have not: a place is free again when its turn comes. */
static void note_walk(struct rules *r, uint64_t walk, uint64_t number)
{
	rules_gone(r, 0);
	if (walk > r->last_walk)
		r->last_walk = walk;
	r->walks[r->last_walk % 2].walk = r->last_walk;
	r->walks[r->last_walk % 2].number = number;
}

static void taken_down(struct rules *r, struct job *j)
{
	if (j->result < 0)
		refused(r, j->count > 1 ? "firewall had not all mappings that ended, the first of them" : "firewall did not have a mapping that ended", j->m);
	while (r->removals && r->removals->number <= r->taken) {
		struct removal *q = r->removals;

		note_walk(r, scrub_later(r, &q->mapping, false), q->number);
		r->removals = q->next;
		free(q);
	}
	if (!r->removals)
		r->removals_end = &r->removals;
}

/* The last of the job's that is to have this mapping's outer endpoint. */
static const struct rule *taker_of(const struct job *j, const struct firewall_mapping *m)
{
	const struct rule *last = NULL;

	for (size_t i = 0; i < j->count && m->outer.family != ENDPOINT_NONE; i++) {
		const struct firewall_mapping *other = &j->rules[i]->mapping;

		if (other->outer.port == m->outer.port && other->protocol == m->protocol && endpoint_equal(&other->outer, &m->outer))
			last = j->rules[i];
	}
	return last;
}

/*
 * What the carrier gives us now is nobody else's of ours any more, whether or not he has heard: a key of the firewall's is one
 * mapping's, and who had it last must not take it along when he goes. Where two change places, neither loses anything.
 */
static void take_outers(struct rules *r, struct job *j)
{
	static const struct endpoint none;

	for (size_t i = 0; i < PLACES; i++) {
		for (struct rule_link *l = r->places[i].next; l != &r->places[i]; l = l->next) {
			struct rule *rule = rule_of(l);
			const struct rule *taker = taker_of(j, &rule->mapping);

			if (!taker || taker == rule)
				continue;
			if (endpoint_equal(&rule->outer, &rule->mapping.outer))
				rule->outer = none;
			rule->mapping.outer = none;
		}
	}
	for (struct removal *q = r->removals; q; q = q->next)
		if (taker_of(j, &q->mapping))
			q->mapping.outer = none;
	for (size_t i = 0; i < j->count; i++)
		j->m[i] = j->rules[i]->mapping;
}

static bool take_turned(struct rules *r, struct job *j)
{
	for (struct rule_link *l = r->places[TURNED].next; l != &r->places[TURNED] && j->count < FIREWALL_BATCH; l = l->next) {
		struct rule *rule = rule_of(l);

		j->reaches[j->count] = (struct firewall_reach){ &j->m[j->count], rule->mapping.outer };
		rule->mapping.outer = rule->outer;
		j->rules[j->count++] = rule;
	}
	take_outers(r, j);
	return j->count > 0;
}

static int turn(const struct rules_config *c, struct job *j)
{
	return c->backend->reach(c->firewall, j->reaches, j->count);
}

static void turned(struct rules *r, struct job *j)
{
	if (j->result < 0)
		refused(r, "firewall refused the outer endpoint to the LAN", j->m);
	for (size_t i = 0; i < j->count; i++) {
		if (j->rules[i] && rules_stands(r, j->rules[i]))
			put_up(r, j->rules[i]);
		scrub_outer(r, &j->m[i], &j->reaches[i].before, false);
		scrub_outer(r, &j->m[i], &j->m[i].outer, true);
	}
}

static bool take_wanted(struct rules *r, struct job *j)
{
	const size_t max = r->singly ? 1 : FIREWALL_BATCH;
	const uint64_t now_ms = clock_ms();

	for (struct rule_link *l = r->places[WANTED].next; l != &r->places[WANTED] && j->count < max; l = l->next) {
		struct rule *rule = rule_of(l);

		if (rule->after > r->taken || rule->again_ms > now_ms)
			continue;
		rule->mapping.outer = rule->outer;
		j->rules[j->count++] = rule;
	}
	take_outers(r, j);
	return j->count > 0;
}

static int add(const struct rules_config *c, struct job *j)
{
	return c->backend->add(c->firewall, j->m, j->count);
}

/* One that cannot stand must not keep the others, and what is missing may be the table. */
static void not_added(struct rules *r, struct job *j)
{
	r->look = true;
	if (j->count > 1) {
		r->singly = j->count;
		return;
	}
	complain(r, "firewall refused a mapping", j->m);
	if (j->rules[0])
		j->rules[0]->again_ms = clock_ms() + RETRY_MS;
}

static void added(struct rules *r, struct job *j)
{
	r->singly -= r->singly > 0;
	if (j->result < 0)
		not_added(r, j);
	for (size_t i = 0; i < j->count; i++) {
		struct rule *rule = j->rules[i];

		if (j->result < 0) {
			if (j->ghosts[i])
				j->ghosts[i]->generation = 0;
			continue;
		}
		if (!rule)
			continue;
		rule->generation = j->generation;
		rule->walk = scrub_later(r, &rule->mapping, true);
		if (rules_stands(r, rule))
			put_up(r, rule);
	}
}

/* One that stands is the sample. */
static bool take_look(struct rules *r, struct job *j)
{
	const enum place place = is_empty(&r->places[STANDING]) ? TURNED : STANDING;

	if (!r->look)
		return false;
	r->look = false;
	if (!is_empty(&r->places[place]))
		j->m[j->count++] = rule_of(r->places[place].next)->mapping;
	j->trim = r->trim;
	r->trim = false;
	return true;
}

static int look(const struct rules_config *c, struct job *j)
{
	if (j->trim)
		malloc_trim(0);
	return c->backend->mend(c->firewall, j->count ? j->m : NULL);
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
			r->job.error, more);
}

static void looked(struct rules *r, struct job *j)
{
	say_health(r, j->result);
	if (j->result == FIREWALL_LOST)
		rebuild(r);
}

static const struct step steps[] = {
	{ take_table, build_table, table_built },
	{ take_servers, exempt, exempted },
	{ take_removals, take_down, taken_down },
	{ take_turned, turn, turned },
	{ take_wanted, add, added },
	{ take_look, look, looked },
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* They take turns; without a table there is nothing else. */
static bool take(struct rules *r)
{
	const size_t last = r->job.step ? (size_t)(r->job.step - steps) : 0;

	r->job.count = 0;
	r->job.generation = r->generation;
	memset(r->job.ghosts, 0, sizeof(r->job.ghosts));
	for (size_t i = 1; i <= STEPS; i++) {
		r->job.step = r->tableless ? &steps[0] : &steps[(last + i) % STEPS];
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
	if (r->tableless || !is_empty(&r->places[WANTED])) {
		begin_in(r, RETRY_MS);
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
	want(r, rule, put_before);
}

bool rules_add(struct rules *r, struct rule *rule)
{
	if (rules_stands(r, rule))
		return true;
	want(r, rule, put_first);
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
		put_first(&r->places[STANDING], rule); /* the sample */
	rules_look(r);
	return true;
}

void rules_reach(struct rules *r, struct rule *rule, const struct endpoint *outer)
{
	rule->outer = *outer;
	if (!rules_stands(r, rule))
		return; /* it gets it when it is put up */
	put_up(r, rule);
	begin_in(r, 0);
}

void rules_exempt(struct rules *r, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	const size_t which = protocol == LEASE_TCP;

	r->exempt[which].due = true;
	r->exempt[which].count = count < FIREWALL_SERVERS ? count : FIREWALL_SERVERS;
	memcpy(r->exempt[which].servers, servers, r->exempt[which].count * sizeof(*servers));
	begin_in(r, 0);
}

static struct removal *queue_removal(struct rules *r, const struct rule *rule, uint32_t generation)
{
	struct removal *q = malloc(sizeof(*q));

	if (!q) {
		scrub_later(r, &rule->mapping, false);
		rebuild(r); /* without it */
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

	if (!r->working || (r->job.step->take != take_wanted && r->job.step->take != take_turned))
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

	take_out(rule);
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
		scrub_all(r); /* of the address that is gone */
		scrub_run(r->scrub);
		r->config.wan_ip = wan_ip;
	}
	if (strcmp(wan, r->wan) != 0) {
		snprintf(r->wan, sizeof(r->wan), "%s", wan);
		rebuild(r);
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
	if (err == 0)
		err = scrub_open(&r->scrub, config->loop, config->walked, config->owner);
	if (err < 0) {
		free(r);
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
	scrub_all(r);
	while (r->removals) {
		struct removal *q = r->removals;

		r->removals = q->next;
		free(q);
	}
	scrub_close(r->scrub);
	uv_close((uv_handle_t *)&r->timer, timer_closed);
}
