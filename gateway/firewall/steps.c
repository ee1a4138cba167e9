/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/firewall/steps.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"

#define COMPLAINT_MS	 10000
#define COMPLAINTS_BURST 10
#define NEWS_BURST	 30

/* --- places --- */

void place_leave(struct rule *rule)
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
	place_leave(rule);
	rule->link = (struct rule_link){ .next = at, .prev = at->prev };
	at->prev->next = &rule->link;
	at->prev = &rule->link;
}

static struct rule *rule_of(struct rule_link *l)
{
	return (struct rule *)l;
}

bool place_is_empty(const struct rule_link *place)
{
	return place->next == place;
}

void place_append(struct rule_link *place, struct rule *rule)
{
	put_before(place, rule);
}

void place_prepend(struct rule_link *place, struct rule *rule)
{
	place_leave(rule);
	put_before(place->next, rule);
}

/* All of one place are the last of another. */
static void move_all(struct rule_link *from, struct rule_link *to)
{
	if (place_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	from->next = from->prev = from;
}

void steps_put_up(struct rules *r, struct rule *rule)
{
	if (!r->config.backend->reach)
		rule->mapping.outer = rule->outer;
	place_append(&r->places[endpoint_equal(&rule->mapping.outer, &rule->outer) ? STANDING : TURNED], rule);
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

uint64_t steps_scrub(struct rules *r, const struct firewall_mapping *m, bool leads)
{
	const struct conntrack_port port = port_of(r, m, leads);

	scrub_outer(r, m, &m->outer, leads);
	return scrub_port(r, &port);
}

void steps_scrub_all(struct rules *r)
{
	for (size_t i = 0; i < PLACES; i++)
		for (struct rule_link *l = r->places[i].next; l != &r->places[i]; l = l->next)
			steps_scrub(r, &rule_of(l)->mapping, false);
	for (const struct removal *q = r->removals; q; q = q->next)
		steps_scrub(r, &q->mapping, false);
}

/* --- the steps --- */

void steps_rebuild(struct rules *r)
{
	r->generation++;
	r->tableless = true;
	r->build_ms = 0;
	r->singly = 0;
	move_all(&r->places[TURNED], &r->places[WANTED]);
	move_all(&r->places[STANDING], &r->places[WANTED]);
	if (r->loading_since_ms == 0)
		r->loading_since_ms = clock_ms();
}

/* What it refused to change may be there still, and would be for good: nothing else asks again. */
static void refused(struct rules *r, const char *what, const struct firewall_mapping *m)
{
	complain(r, what, m);
	steps_rebuild(r);
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
	r->build_ms = clock_ms() + RULES_RETRY_MS;
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
	steps_rebuild(r);
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
	if (j->result < 0) { /* they are gone when their table is */
		refused(r, j->count > 1 ? "firewall had not all mappings that ended, the first of them" : "firewall did not have a mapping that ended", j->m);
		return;
	}
	while (r->removals && r->removals->number <= r->taken) {
		struct removal *q = r->removals;

		note_walk(r, steps_scrub(r, &q->mapping, false), q->number);
		r->removals = q->next;
		free(q);
	}
	if (!r->removals)
		r->removals_end = &r->removals;
}

/* The ports of a job's outer endpoints, a bit each: of 10,000 rules nearly none has one of them. */
struct ports {
	uint8_t bits[65536 / 8];
};

static void find_ports(struct ports *p, const struct job *j)
{
	memset(p, 0, sizeof(*p));
	for (size_t i = 0; i < j->count; i++)
		p->bits[j->rules[i]->mapping.outer.port / 8] |= (uint8_t)(1 << j->rules[i]->mapping.outer.port % 8);
}

/* The last of the job's that is to have this mapping's outer endpoint. */
static const struct rule *taker_of(const struct job *j, const struct ports *p, const struct firewall_mapping *m)
{
	const struct rule *last = NULL;

	if (m->outer.family == ENDPOINT_NONE || !(p->bits[m->outer.port / 8] & 1 << m->outer.port % 8))
		return NULL;
	for (size_t i = 0; i < j->count; i++) {
		const struct firewall_mapping *other = &j->rules[i]->mapping;

		if (other->protocol == m->protocol && endpoint_equal(&other->outer, &m->outer))
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
	struct ports ports;

	if (j->count == 0)
		return;
	find_ports(&ports, j);
	for (size_t i = 0; i < PLACES; i++) {
		for (struct rule_link *l = r->places[i].next; l != &r->places[i]; l = l->next) {
			struct rule *rule = rule_of(l);
			const struct rule *taker = taker_of(j, &ports, &rule->mapping);

			if (!taker || taker == rule)
				continue;
			if (endpoint_equal(&rule->outer, &rule->mapping.outer))
				rule->outer = none;
			rule->mapping.outer = none;
		}
	}
	for (struct removal *q = r->removals; q; q = q->next)
		if (taker_of(j, &ports, &q->mapping))
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
			steps_put_up(r, j->rules[i]);
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
	if (!j->rules[0])
		return;
	j->rules[0]->again_ms = clock_ms() + RULES_RETRY_MS;
	place_append(&r->places[WANTED], j->rules[0]); /* after those that were not tried yet */
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
		rule->walk = steps_scrub(r, &rule->mapping, true);
		if (rules_stands(r, rule))
			steps_put_up(r, rule);
	}
}

/* One that stands is the sample. */
static bool take_look(struct rules *r, struct job *j)
{
	const enum place place = place_is_empty(&r->places[STANDING]) ? TURNED : STANDING;

	if (!r->look)
		return false;
	r->look = false;
	if (!place_is_empty(&r->places[place]))
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
		steps_rebuild(r);
}

const struct step steps[] = {
	{ take_table, build_table, table_built },
	{ take_servers, exempt, exempted },
	{ take_removals, take_down, taken_down },
	{ take_turned, turn, turned },
	{ take_wanted, add, added },
	{ take_look, look, looked },
};
const size_t steps_count = sizeof(steps) / sizeof(steps[0]);
