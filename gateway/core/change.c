/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/core.h"

#include <stddef.h>
#include <string.h>

#define SLEPT_MS	 2000 /* asleep for longer than this, the machine missed something */
#define EXPIRED_MAX	 1000 /* mappings that end in one turn; the others have a second more */
#define RECHECK_MS	 5000 /* a lossy line is suspect all the time: its holes are not all asked at each turn */

static void send_all(struct gateway *g, enum errand errand)
{
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		pace_add(g->pace, &((struct mapping *)l->owner)->turn, errand);
}

/* Spare holes are worth their questions only where holes are needed and work. */
static void suit(struct gateway *g, enum lease_protocol protocol)
{
	const struct line *line = line_of(g, protocol);
	const bool suited = g->wan.ip && line_verdict(line) == LINE_SUITED && !line_is_direct(line);

	pool_suited(g->pool, protocol, suited);
	scout_suited(scout_of(g, protocol), suited);
}

static void move_spares(struct gateway *g)
{
	pool_move(g->pool, g->wan.ip);
	for (size_t i = 0; i < 2; i++) {
		scout_move(g->scouts[i], g->wan.ip);
		suit(g, i ? LEASE_TCP : LEASE_UDP);
	}
}

/* What is handed to the line's own address goes where that goes. */
static void take_along(struct gateway *g)
{
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (!m->on_wan || l->key.client_ip == g->wan.ip)
			continue;
		rules_remove(g->rules, &m->rule);
		if (leases_follow(g->leases, l, g->wan.ip) < 0) {
			mapping_end(m, "permanent mapping ended, its host and port are another's now");
			continue;
		}
		m->rule.mapping.client_ip = g->wan.ip;
		rules_want(g->rules, &m->rule);
		keeper_note(g->keeper);
		view_tell(m);
	}
}

/* Also where it was before: whatever it is, it is asked anew. The firewall first, then those who may announce a change. */
static void line_here(struct gateway *g)
{
	take_along(g);
	rules_move(g->rules, g->wan.name, g->wan.ip);
	for (size_t i = 0; i < 2; i++) {
		const int err = line_move(g->lines[i], g->wan.ip, g->wan.index);

		if (err < 0)
			log_error("cannot watch the line from its address error=\"%s\"", strerror(-err));
	}
	move_spares(g);
	send_all(g, MOVE);
	g->unpunched = leases_next(g->leases, NULL);
	uv_timer_start(&g->restore, restore_some, 0, 0);
	servers_retry(g->servers);
}

/* All that was to be asked meanwhile was not: the line is as good as new. */
static void notice_sleep(struct gateway *g)
{
	const uint64_t slept_ms = clock_slept_ms(), was_ms = g->slept_ms;

	g->slept_ms = slept_ms;
	if (slept_ms < was_ms + SLEPT_MS)
		return;
	log_info("the machine slept for %llu s: the line and all holes are asked", (unsigned long long)(slept_ms - was_ms) / 1000);
	if (g->wan.ip)
		line_here(g);
}

static void send_protocol(struct gateway *g, enum lease_protocol protocol, enum errand errand)
{
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (l->key.protocol == protocol)
			pace_add(g->pace, &((struct mapping *)l->owner)->turn, errand);
}

/* What is too soon is done by the sweep. */
static void recheck_all(struct gateway *g, enum lease_protocol protocol)
{
	const size_t which = protocol == LEASE_TCP;

	g->recheck_due[which] = clock_ms() < g->recheck_ms[which];
	if (g->recheck_due[which])
		return;
	g->recheck_ms[which] = clock_ms() + RECHECK_MS;
	send_protocol(g, protocol, RECHECK);
	pool_recheck(g->pool, protocol);
}

/* No mapping of the NAT's lives on: each is learned anew. The other protocol's watch hole says what became of those. */
static void renew_all(struct gateway *g, enum lease_protocol protocol)
{
	g->recheck_due[protocol == LEASE_TCP] = false;
	send_protocol(g, protocol, RENEW);
	pool_renew(g->pool, protocol);
}

void gateway_sweep(uv_timer_t *timer)
{
	struct gateway *g = timer->data;
	const uint64_t now_ms = clock_ms();
	unsigned ended = 0;
	struct lease *next;

	notice_sleep(g);
	for (size_t i = 0; i < 2; i++)
		if (g->recheck_due[i])
			recheck_all(g, i ? LEASE_TCP : LEASE_UDP);
	if (g->config->firewall->unheard)
		rules_look(g->rules);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (m->astray)
			pace_add(g->pace, &m->turn, MOVE);
		if (now_ms >= l->expires_ms) {
			if (ended++ < EXPIRED_MAX)
				mapping_end(m, "mapping expired");
			continue;
		}
		if (m->waiters)
			mapping_settle(m); /* patience may be over, the firewall complete again */
		if (m->waiters && fault_lasts(g, m->waiters->since_ms)) {
			mapping_answer_waiting(m, NATPMP_NETWORK_FAILURE, now_ms - (uint64_t)g->config->fault_grace_s * 1000);
			if (!m->waiters && !mapping_promised(m) && !m->told && m->origin != ORIGIN_CONFIG)
				mapping_end(m, "mapping given up");
		}
	}
	pool_tend(g->pool);
	view_sweep(g);
}


static void move(struct mapping *m)
{
	struct gateway *g = m->gateway;
	char detail[128];
	int err;

	if (g->wan.ip == 0)
		return; /* gone again; the next address moves all */
	err = punch_move(m->punch, g->wan.ip);
	if (err < 0 && !m->astray) {
		snprintf(detail, sizeof(detail), " error=\"%s\": tried again each second", strerror(-err));
		mapping_say(m, LOG_LEVEL_ERROR, "cannot move to the line's address", detail);
	}
	m->astray = err < 0;
}

void gateway_mapping_turn(void *owner, struct pace_item *item, unsigned errand)
{
	struct mapping *m = (struct mapping *)((char *)item - offsetof(struct mapping, turn));

	(void)owner;
	switch (errand) {
	case RECHECK:
		punch_recheck(m->punch);
		break;
	case RENEW:
		punch_renew(m->punch);
		break;
	case MOVE:
		move(m);
		break;
	}
}

void gateway_begin_epoch(struct gateway *g)
{
	g->epoch_ms = clock_ms();
	keeper_promise(g->keeper);
}

void gateway_keepalive_changed(void *owner, enum lease_protocol protocol)
{
	struct gateway *g = owner;
	const uint32_t keepalive_ms = scout_keepalive_ms(scout_of(g, protocol));

	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (l->key.protocol == protocol)
			punch_keepalive(((struct mapping *)l->owner)->punch, keepalive_ms);
	pool_keepalive(g->pool, protocol, keepalive_ms);
}

/* A new public address: clients must renew (section 3.6). */
static void moved(struct gateway *g, uint32_t ip)
{
	g->public_ip = ip;
	g->public_since_ms = clock_ms();
	if (ip != g->epoch_ip) {
		g->epoch_ip = ip;
		gateway_begin_epoch(g);
	}
	view_announce(g);
}

/* What the line just learned of itself changes how its holes are held, and what the LAN may reach. */
static void follow_line(struct gateway *g, enum lease_protocol protocol)
{
	const bool direct = line_is_direct(line_of(g, protocol));

	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		struct mapping *m = l->owner;

		if (l->key.protocol != protocol)
			continue;
		punch_direct(m->punch, direct);
		mapping_settle(m);
		mapping_reach(m);
	}
}

static void verdict_came(struct gateway *g, enum lease_protocol protocol)
{
	const bool unsuited = line_verdict(line_of(g, protocol)) == LINE_UNSUITED;
	struct lease *next;

	suit(g, protocol);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (l->key.protocol != protocol)
			continue;
		if (!unsuited) {
			mapping_settle(m);
			continue;
		}
		mapping_answer_waiting(m, NATPMP_REFUSED, clock_ms());
		if (m->origin != ORIGIN_CONFIG)
			mapping_end(m, "mapping refused, the carrier's NAT is not suited");
	}
}

void gateway_line_event(void *owner, enum lease_protocol protocol, enum line_event event)
{
	struct gateway *g = owner;
	struct line *other = g->lines[protocol == LEASE_UDP];
	const uint32_t ip = line_public_ip(line_of(g, protocol));

	switch (event) {
	case LINE_UP:
	case LINE_MOVED:
		/* UDP's address is the one announced; TCP's only where UDP has none. */
		if (protocol == LEASE_UDP || line_public_ip(line_of(g, LEASE_UDP)) == 0)
			if (ip != g->public_ip)
				moved(g, ip);
		follow_line(g, protocol);
		suit(g, protocol);
		/* All mappings are new ones; but a watch hole that rests too long may only have lost its own. */
		if (event == LINE_MOVED || g->config->watch_s * 1000 <= scout_keepalive_ms(scout_of(g, protocol)))
			scout_moved(scout_of(g, protocol));
		break;
	case LINE_CHANGED:
		renew_all(g, protocol);
		line_doubt(other, ip != line_public_ip(other));
		break;
	case LINE_SUSPECT:
		recheck_all(g, protocol);
		break;
	case LINE_VERDICT:
		verdict_came(g, protocol);
		break;
	}
	view_tell_status(g);
}

static void line_gone(struct gateway *g)
{
	g->fault_ms = clock_ms();
	for (size_t i = 0; i < 2; i++)
		line_move(g->lines[i], 0, 0);
	move_spares(g);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		punch_pause(((struct mapping *)l->owner)->punch);
}

void gateway_follow(struct gateway *g, const struct netif *wan)
{
	g->wan = *wan;
	if (wan->ip)
		line_here(g);
	else
		line_gone(g);
	view_tell_status(g);
}
