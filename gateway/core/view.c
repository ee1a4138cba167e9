/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/core.h"

#include <string.h>

#define SILENT_MS 5000 /* a hole that punches for so long has no server that answers */
#define STATUS_MS 5000

/* From the host outwards: the first place where the path breaks. */
static const char *trouble_of(const struct mapping *m)
{
	const struct gateway *g = m->gateway;
	const struct line *line = line_of(g, m->lease->key.protocol);
	const struct line_nat nat = line_nat(line);
	const struct hole *hole = mapping_hole(m);

	if (!g->wan.ip)
		return "no-line";
	if (m->astray || (!m->punch && g->skipped))
		return "relay-port";
	if (m->told && !m->waiters && !rules_stands(g->rules, &m->rule))
		return "firewall";
	if (line_verdict(line) == LINE_UNSUITED)
		return "nat-unsuited";
	if (hole->state == HOLE_LOST || (hole->state == HOLE_PUNCHING && clock_ms() - m->since_ms >= SILENT_MS))
		return "stun-silent";
	if (!nat.direct && (nat.filtering == STUNWAY_ADDRESS_DEPENDENT || nat.filtering == STUNWAY_ADDRESS_AND_PORT_DEPENDENT))
		return "filtered";
	return "";
}

void view_mapping(const struct mapping *m, struct gateway_mapping *out)
{
	const struct hole *hole = mapping_hole(m);

	*out = (struct gateway_mapping){ .key = m->lease->key, .relay_port = m->lease->relay_port, .outer = m->outer, .origin = m->origin,
		.state = hole->state, .lifetime_s = m->lifetime_s, .expires_ms = m->lease->expires_ms, .since_ms = m->since_ms,
		.rtt_ms = hole->rtt_ms, .description = m->description, .trouble = trouble_of(m) };
}

void gateway_each(const struct gateway *g, void (*visit)(void *owner, const struct gateway_mapping *m), void *owner)
{
	struct gateway_mapping view;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		view_mapping(l->owner, &view);
		visit(owner, &view);
	}
}

void gateway_each_key(const struct gateway *g, void (*visit)(void *owner, const struct lease_key *key), void *owner)
{
	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		visit(owner, &l->key);
}

bool gateway_find(const struct gateway *g, const struct lease_key *key, struct gateway_mapping *out)
{
	const struct lease *l = leases_find(g->leases, key);

	if (l)
		view_mapping(l->owner, out);
	return l != NULL;
}

void gateway_status(const struct gateway *g, struct gateway_status *out)
{
	*out = (struct gateway_status){ .wan = g->wan, .public_ip = g->wan.ip ? g->public_ip : 0, .public_since_ms = g->public_since_ms,
		.epoch_s = gateway_epoch_s(g), .mappings = leases_count(g->leases), .counts = g->counts };
	for (size_t i = 0; i < 2; i++) {
		const enum lease_protocol protocol = i ? LEASE_TCP : LEASE_UDP;

		out->nat[i] = line_nat(line_of(g, protocol));
		out->verdict[i] = line_verdict(line_of(g, protocol));
		out->pool[i] = pool_ready(g->pool, protocol);
		out->keepalive_ms[i] = scout_keepalive_ms(scout_of(g, protocol));
	}
	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		const enum hole_state state = mapping_hole(l->owner)->state;

		out->punching += state == HOLE_PUNCHING;
		out->open += state == HOLE_OPEN;
		out->lost += state == HOLE_LOST;
	}
}

bool gateway_server(const struct gateway *g, enum lease_protocol protocol, size_t index, struct server_health *out)
{
	return servers_health(g->servers, protocol, index, out);
}

void gateway_observe(struct gateway *g, const struct gateway_observer *observer)
{
	if (g->observer_count < GATEWAY_OBSERVERS)
		g->observers[g->observer_count++] = observer;
}

static void tell(const struct gateway *g, const struct gateway_mapping *view, bool gone)
{
	for (size_t i = 0; i < g->observer_count; i++)
		if (g->observers[i]->mapping)
			g->observers[i]->mapping(g->observers[i]->owner, view, gone);
}

void view_tell(struct mapping *m)
{
	struct gateway_mapping view;

	view_mapping(m, &view);
	m->trouble = view.trouble;
	tell(m->gateway, &view, false);
}

void view_tell_gone(const struct mapping *m)
{
	struct gateway_mapping view;

	view_mapping(m, &view);
	tell(m->gateway, &view, true);
}

void view_tell_status(struct gateway *g)
{
	g->status_ms = clock_ms() + STATUS_MS;
	for (size_t i = 0; i < g->observer_count; i++)
		if (g->observers[i]->status)
			g->observers[i]->status(g->observers[i]->owner);
}

void view_announce(struct gateway *g)
{
	for (size_t i = 0; i < g->observer_count; i++)
		if (g->observers[i]->announce)
			g->observers[i]->announce(g->observers[i]->owner);
}

void view_sweep(struct gateway *g)
{
	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		struct mapping *m = l->owner;

		if (trouble_of(m) != m->trouble)
			view_tell(m);
	}
	if (clock_ms() >= g->status_ms)
		view_tell_status(g);
}
