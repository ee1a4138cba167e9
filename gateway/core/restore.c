/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/state/statefile.h"
#include "sys/holder.h"

#define PUNCH_EACH_MS	 10   /* between two holes punched at start */
#define RESTORE_AGAIN_MS 5000 /* until another look at the holes that could not be */

/* A mapping as the file is to have it: good until the next file at least, whatever clients renew before. */
static void write_down(const struct mapping *m, uint64_t until_ms, struct state_mapping *out)
{
	const struct gateway *g = m->gateway;
	const uint32_t lease_s = m->lifetime_s < g->config->lease_s ? m->lifetime_s : g->config->lease_s;
	const uint64_t least_ms = until_ms ? until_ms + (uint64_t)lease_s * 1000 : 0;

	*out = (struct state_mapping){ .key = m->lease->key, .relay_port = m->lease->relay_port, .origin = m->origin,
		.lifetime_s = m->lifetime_s, .outer = m->outer, .fixed = m->origin == ORIGIN_WEB && m->fixed,
		.expires_ms = m->lease->expires_ms > least_ms ? m->lease->expires_ms : least_ms };
	snprintf(out->description, sizeof(out->description), "%s", m->description ? m->description : "");
}

int restore_snapshot(void *owner, struct state *out, uint64_t until_ms)
{
	const struct gateway *g = owner;
	struct state s = { .epoch_ms = g->epoch_ms, .public_ip = g->epoch_ip };

	s.mappings = malloc((leases_count(g->leases) + 1) * sizeof(*s.mappings));
	if (!s.mappings)
		return -ENOMEM;
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		write_down(l->owner, until_ms, &s.mappings[s.count++]);
	*out = s;
	return 0;
}

/* A mapping that nobody asks for just now: from the file, or the configuration's. */
static int plant(struct gateway *g, const struct state_mapping *s, bool on_wan)
{
	struct mapping *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	*m = (struct mapping){ .gateway = g, .origin = s->origin, .fixed = s->fixed, .on_wan = on_wan, .since_ms = clock_ms(),
		.lifetime_s = s->lifetime_s, .outer = s->outer, .told = s->outer.port != 0, .description = s->description[0] ? strdup(s->description) : NULL,
		.rule.mapping = { .protocol = s->key.protocol, .relay_port = s->relay_port, .client_ip = s->key.client_ip,
			.internal_port = s->key.internal_port } };
	err = leases_add(g->leases, &s->key, s->relay_port, s->expires_ms, &m->lease);
	if (err < 0) {
		free(m->description);
		free(m);
		return err;
	}
	m->lease->owner = m;
	g->held[s->key.protocol == LEASE_TCP]++;
	return 0;
}

/* A relay port that no lease has, beginning at the preferred one; 0 when there is none. */
static uint16_t free_relay(const struct gateway *g, const struct lease_key *key)
{
	const uint16_t low = g->config->relay_low, high = g->config->relay_high;
	uint16_t port = leases_preferred_relay(key, low, high);

	for (uint32_t i = 0; i <= (uint32_t)(high - low); i++, port = port == high ? low : (uint16_t)(port + 1))
		if (!leases_find_relay(g->leases, key->protocol, port) && !pool_has(g->pool, key->protocol, port))
			return port;
	return 0;
}

/* A description is a section's name, cut. */
static bool is_named(const char *description, const struct permanent *p)
{
	return strncmp(description, p->name, STATE_DESCRIPTION - 1) == 0;
}

/* The line's own address may have been another. */
static const struct state_mapping *find_stored(const struct state *s, const struct permanent *p, const struct lease_key *key)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct state_mapping *m = &s->mappings[i];
		const struct lease_key there = { m->key.protocol, key->client_ip, m->key.internal_port };

		if (same_key(&m->key, key) || (p->on_wan && m->origin == ORIGIN_CONFIG && is_named(m->description, p) && same_key(&there, key)))
			return m;
	}
	return NULL;
}

/* Somebody else has its relay port now. Whoever was told of the old outer port has to hear. */
static int relocate(struct mapping *m)
{
	struct gateway *g = m->gateway;
	int err = mapping_punch_relay(g, m, &m->lease->key, 0, &m->punch);

	if (err < 0)
		return err;
	rules_remove(g->rules, &m->rule);
	leases_move(g->leases, m->lease, punch_port(m->punch));
	m->rule.mapping.relay_port = m->lease->relay_port;
	m->outer = (struct endpoint){ 0 };
	rules_add(g->rules, &m->rule);
	gateway_begin_epoch(g);
	m->promise = keeper_last(g->keeper);
	return 0;
}

/* What the file says of a permanent mapping is which relay port it had, and where that led. */
static void plant_permanent(struct gateway *g, const struct permanent *p, const struct state *stored)
{
	struct state_mapping m = { .key = { (enum lease_protocol)p->protocol, p->on_wan ? g->wan.ip : p->internal_ip, (uint16_t)p->internal_port },
		.origin = ORIGIN_CONFIG, .expires_ms = LEASES_FOREVER, .relay_port = (uint16_t)p->relay_port,
		.fixed = p->relay_port != 0 };
	const struct state_mapping *was = find_stored(stored, p, &m.key);
	int err = -EEXIST;

	snprintf(m.description, sizeof(m.description), "%s", p->name);
	if (was && (!p->relay_port || p->relay_port == was->relay_port)) {
		m.outer = was->outer;
		m.relay_port = was->relay_port;
	}
	if (m.relay_port)
		err = plant(g, &m, p->on_wan);
	if (err == -EEXIST && !p->relay_port) {
		m.relay_port = free_relay(g, &m.key);
		m.outer = (struct endpoint){ 0 };
		err = m.relay_port ? plant(g, &m, p->on_wan) : -EADDRINUSE;
	}
	if (err < 0)
		log_error("no permanent mapping %s reason=\"%s\"", p->name, err == -EEXIST ? "its host and port are another's" : gateway_why_not(err));
}

/* Whether a mapping is what a section asks for. */
static bool is_as_asked(const struct mapping *m, const struct permanent *p)
{
	const struct lease *l = m->lease;

	return m->origin == ORIGIN_CONFIG && is_named(m->description, p) && l->key.protocol == (enum lease_protocol)p->protocol &&
		l->key.internal_port == p->internal_port && m->on_wan == p->on_wan && (p->on_wan || l->key.client_ip == p->internal_ip) &&
		m->fixed == (p->relay_port != 0) && (!m->fixed || l->relay_port == p->relay_port);
}

static bool is_there(const struct gateway *g, const struct permanent *p)
{
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (is_as_asked(l->owner, p))
			return true;
	return false;
}

static bool is_asked(const struct gateway *g, const struct mapping *m)
{
	for (size_t i = 0; i < g->config->permanent_count; i++)
		if (is_as_asked(m, &g->config->permanents[i]))
			return true;
	return false;
}

/* A client's mapping of the same host and port becomes the permanent one; a relay port that is to be the permanent one's is left to it. */
static void make_way(struct gateway *g, const struct permanent *p)
{
	const struct lease_key key = { (enum lease_protocol)p->protocol, p->on_wan ? g->wan.ip : p->internal_ip, (uint16_t)p->internal_port };
	struct lease *l = leases_find(g->leases, &key);
	struct mapping *m = l ? l->owner : NULL;

	if (m && m->origin != ORIGIN_CONFIG)
		mapping_end(m, "mapping ended, it is a permanent one now");
	if (!p->relay_port)
		return;
	pool_yield(g->pool, key.protocol, (uint16_t)p->relay_port);
	l = leases_find_relay(g->leases, key.protocol, (uint16_t)p->relay_port);
	m = l ? l->owner : NULL;
	if (!m || (m->origin == ORIGIN_CONFIG && m->fixed))
		return;
	punch_close(m->punch);
	m->punch = NULL;
	m->fixed = false;
	if (relocate(m) < 0)
		mapping_end(m, "mapping ended, its relay port is a permanent one's now");
}

static bool is_served(const struct gateway *g, const struct state_limits *limits, uint32_t ip)
{
	bool served = netif_owns(&g->wan, ip);

	for (size_t i = 0; i < limits->lan_count; i++)
		served |= netif_is_neighbour(&limits->lans[i], ip);
	return served;
}

/* Those that are not there already; who has no choice of relay port comes first. */
static void plant_permanents(struct gateway *g, const struct state *stored, const struct state_limits *limits)
{
	for (size_t i = 0; i < g->config->permanent_count; i++) {
		const struct permanent *p = &g->config->permanents[i];
		const struct endpoint host = endpoint_ipv4(p->internal_ip, (uint16_t)p->internal_port);
		char text[ENDPOINT_TEXT_MAX];

		if (!p->on_wan && !is_served(g, limits, p->internal_ip))
			log_warn("permanent mapping %s: internal_ip=%s is on no LAN that is served", p->name, endpoint_ip_text(&host, text));
	}
	for (int fixed = 1; fixed >= 0; fixed--) {
		for (size_t i = 0; i < g->config->permanent_count; i++) {
			const struct permanent *p = &g->config->permanents[i];

			if ((p->relay_port != 0) != fixed || is_there(g, p))
				continue;
			make_way(g, p);
			plant_permanent(g, p, stored);
		}
	}
}

/* Rules for those who have no hole yet, and holes in their turn. The line's own address is taken along when it comes. */
static void begin_holes(struct gateway *g)
{
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		struct mapping *m = l->owner;

		if (m->punch)
			continue;
		if (l->key.client_ip)
			rules_want(g->rules, &m->rule);
		view_tell(m);
	}
	g->unpunched = leases_next(g->leases, NULL);
	uv_timer_start(&g->restore, restore_some, 0, 0);
}

void restore_permanents(struct gateway *g, const struct netif *lans, size_t lan_count)
{
	const struct state_limits limits = { .lans = lans, .lan_count = lan_count };
	struct state now = { 0 };
	struct lease *next;

	if (restore_snapshot(g, &now, 0) < 0)
		log_warn("no memory to remember relay ports: changed permanent mappings may get others");
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (m->origin == ORIGIN_CONFIG && !is_asked(g, m))
			mapping_end(m, "permanent mapping ended, the configuration has it no longer");
	}
	plant_permanents(g, &now, &limits);
	state_clear(&now);
	keeper_note(g->keeper);
	begin_holes(g);
}

/* What clients were granted. Returns how many could not be as they were. */
static size_t plant_stored(struct gateway *g, const struct state *s, bool same_boot)
{
	const uint64_t now_ms = clock_ms();
	size_t lost = 0, forbidden = 0;

	for (size_t i = 0; i < s->count; i++) {
		struct state_mapping m = s->mappings[i];
		const uint64_t full_ms = gateway_expiry_ms(g, m.lifetime_s);
		int err;

		if (m.origin == ORIGIN_CONFIG || (same_boot && m.expires_ms <= now_ms))
			continue;
		if (!access_next(&g->config->access, m.key.client_ip, m.key.internal_port, m.relay_port, m.relay_port)) {
			forbidden++;
			continue;
		}
		m.expires_ms = same_boot && m.expires_ms < full_ms ? m.expires_ms : full_ms;
		err = plant(g, &m, false);
		if (err == -EEXIST && !leases_find(g->leases, &m.key)) { /* its relay port is a permanent mapping's now */
			m.relay_port = free_relay(g, &m.key);
			m.outer = (struct endpoint){ 0 };
			m.fixed = false;
			if (m.relay_port)
				plant(g, &m, false);
		}
		lost += err < 0;
	}
	if (forbidden)
		log_warn("mappings left out because --access allows them no longer count=%zu", forbidden);
	return lost + forbidden;
}

void restore_all(struct gateway *g, const struct state_limits *limits)
{
	struct state s = { 0 };
	char boot_id[STATE_BOOT_ID];
	bool whole = false, same_boot;
	size_t lost;

	if (g->config->state)
		statefile_read(g->config->state, limits, &s, &whole);
	state_boot_id(boot_id);
	same_boot = boot_id[0] && strcmp(boot_id, s.boot_id) == 0;
	plant_permanents(g, &s, limits);
	lost = plant_stored(g, &s, same_boot);
	if (same_boot && whole && lost == 0 && s.epoch_ms <= clock_ms()) {
		g->epoch_ms = s.epoch_ms;
		g->epoch_ip = s.public_ip;
	}
	if (leases_count(g->leases))
		log_info("mappings restored=%zu permanent=%zu boot=%s", leases_count(g->leases), g->config->permanent_count,
			same_boot ? "same" : "another");
	state_clear(&s);
	begin_holes(g); /* where the carrier still has the old ones, strangers get in again at once */
}

void restore_hole(struct mapping *m)
{
	struct gateway *g = m->gateway;
	const struct punch_config c = mapping_punch_config(m, m->lease->key.protocol, m->lease->relay_port);
	int err = g->wan.ip ? punch_open(&m->punch, &c) : -EADDRNOTAVAIL;
	char holder[HOLDER_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (err == -EADDRINUSE && !m->fixed)
		err = relocate(m);
	if (err == 0)
		return;
	g->skipped = true;
	if (!uv_is_active((uv_handle_t *)&g->restore))
		uv_timer_start(&g->restore, restore_some, RESTORE_AGAIN_MS, 0);
	if (!log_allowed_burst(&g->refusal_log, REFUSAL_LOG_MS, REFUSAL_LOG_BURST, clock_ms(), &skipped))
		return;
	if (err == -EADDRINUSE)
		log_error("relay port %u of mapping %s is held by %s: stop it, or take another relay_port%s", m->lease->relay_port,
			m->description ? m->description : "", holder_name(holder, m->lease->key.protocol == LEASE_TCP ? SOCK_STREAM : SOCK_DGRAM,
			&c.local), log_more(more, skipped));
	else
		log_warn("no hole yet at relay port %u reason=\"%s\"%s", m->lease->relay_port, gateway_why_not(err), log_more(more, skipped));
}

static struct mapping *take(struct gateway *g, struct lease **walk)
{
	struct mapping *m = (*walk)->owner;

	*walk = leases_next(g->leases, *walk);
	return m;
}

void restore_some(uv_timer_t *timer)
{
	struct gateway *g = timer->data;
	struct mapping *m = NULL;

	while (g->unpunched && (!m || m->punch))
		m = take(g, &g->unpunched);
	if (m && !m->punch)
		restore_hole(m);
	if (g->unpunched) {
		uv_timer_start(timer, restore_some, PUNCH_EACH_MS, 0);
	} else if (g->skipped) {
		g->skipped = false;
		g->unpunched = leases_next(g->leases, NULL);
		uv_timer_start(timer, restore_some, RESTORE_AGAIN_MS, 0);
	}
}
