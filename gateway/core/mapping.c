/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define RELAY_TRIES	 256 /* ports that others hold, before the range counts as used up */
#define LOG_BURST	 100  /* lines of mappings' events at once, then one per … */
#define LOG_MS		 250
#define WISH_MIN	 1024 /* lower ports are the router's own affair */
#define WAITERS_MAX	 8
#define PATIENCE_MS	 2000 /* a restored mapping's outer port is told unproven when nobody proves it for so long */


const struct hole *mapping_hole(const struct mapping *m)
{
	static const struct hole none = { .state = HOLE_PUNCHING };

	return m->punch ? punch_hole(m->punch) : &none;
}

const char *mapping_text(const struct mapping *m, char *buf, size_t max)
{
	const struct endpoint client = endpoint_ipv4(m->lease->key.client_ip, m->lease->key.internal_port);
	char inner[ENDPOINT_TEXT_MAX], outer[ENDPOINT_TEXT_MAX];

	snprintf(buf, max, "protocol=%s client=%s relay=%u outer=%s", protocol_name(m->lease->key.protocol),
		endpoint_text(&client, inner), m->lease->relay_port, endpoint_text(&m->outer, outer));
	return buf;
}

void mapping_say(struct mapping *m, enum log_level level, const char *event, const char *detail)
{
	char text[160], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&m->gateway->event_log, LOG_MS, LOG_BURST, clock_ms(), &skipped))
		log_line(level, "%s: %s%s%s", event, mapping_text(m, text, sizeof(text)), detail, log_more(more, skipped));
}

static void drop_waiter(struct waiter **at)
{
	struct waiter *w = *at;

	*at = w->next;
	free(w);
}

static void discard(struct mapping *m)
{
	while (m->waiters)
		drop_waiter(&m->waiters);
	punch_close(m->punch);
	free(m->description);
	free(m);
}

void mapping_forget(struct mapping *m)
{
	struct gateway *g = m->gateway;

	if (g->unpunched == m->lease)
		g->unpunched = leases_next(g->leases, m->lease);
	view_tell_gone(m);
	pace_drop(g->pace, &m->turn);
	hooks_forget(&m->hooked);
	g->held[m->lease->key.protocol == LEASE_TCP]--;
	leases_remove(g->leases, m->lease);
	discard(m);
}

static void tell_hook(struct mapping *m, struct endpoint outer)
{
	const uint64_t now_ms = clock_ms(), expires_ms = m->lease->expires_ms;
	const struct hooks_state now = { .key = m->lease->key, .description = m->description, .relay_port = m->lease->relay_port, .outer = outer,
		.lifetime_s = expires_ms > now_ms ? (uint32_t)((expires_ms - now_ms + 500) / 1000) : 0 };

	hooks_tell(m->gateway->hooks, &m->hooked, &now);
}

void mapping_end(struct mapping *m, const char *why)
{
	struct gateway *g = m->gateway;

	rules_remove(g->rules, &m->rule);
	tell_hook(m, (struct endpoint){ .family = ENDPOINT_NONE });
	mapping_say(m, LOG_LEVEL_INFO, why, "");
	keeper_note(g->keeper);
	mapping_forget(m);
}

/* Never more than asked, and short: the lease is the only way to make a client ask again. */
static uint32_t told_lifetime_s(const struct gateway *g, const struct natpmp_request *request)
{
	return request->lifetime_s < g->config->lease_s ? request->lifetime_s : g->config->lease_s;
}

uint32_t gateway_hold_s(const struct gateway *g, uint32_t lifetime_s)
{
	return lifetime_s < g->config->hold_max_s ? lifetime_s : g->config->hold_max_s;
}

uint64_t gateway_expiry_ms(const struct gateway *g, uint32_t lifetime_s)
{
	return clock_ms() + (uint64_t)gateway_hold_s(g, lifetime_s) * 1000;
}

bool mapping_promised(const struct mapping *m)
{
	const struct endpoint *outer = &mapping_hole(m)->outer;

	return outer->port != 0 && endpoint_equal(&m->outer, outer); /* else the hole has yet to tell of it */
}

struct gateway_answer mapping_answer(const struct mapping *m, const struct natpmp_request *request)
{
	return (struct gateway_answer){ NATPMP_SUCCESS, m->outer.port, told_lifetime_s(m->gateway, request) };
}

/* The asker's place among those who wait, or the end. */
static struct waiter **place_of(struct mapping *m, const struct gateway_asker *asker, size_t *before)
{
	struct waiter **at = &m->waiters;

	for (*before = 0; *at && !same_asker(&(*at)->asker, asker); at = &(*at)->next)
		++*before;
	return at;
}

int mapping_wait(struct mapping *m, const struct gateway_asker *asker, const struct natpmp_request *request)
{
	size_t before;
	struct waiter **at = place_of(m, asker, &before);

	if (!*at) {
		if (before == WAITERS_MAX)
			return -EAGAIN;
		*at = calloc(1, sizeof(**at));
		if (!*at)
			return -ENOMEM;
		(*at)->since_ms = clock_ms();
	}
	(*at)->asker = *asker;
	(*at)->request = *request;
	return 0;
}

void mapping_not_waiting(struct mapping *m, const struct gateway_asker *asker)
{
	size_t before;
	struct waiter **at = place_of(m, asker, &before);

	if (*at)
		drop_waiter(at);
}

void mapping_answer_waiting(struct mapping *m, enum natpmp_result result, uint64_t since_ms)
{
	while (m->waiters && m->waiters->since_ms <= since_ms) {
		const struct waiter w = *m->waiters;
		const struct gateway_answer answer = result == NATPMP_SUCCESS ? mapping_answer(m, &w.request) :
			(struct gateway_answer){ .result = result };

		drop_waiter(&m->waiters);
		m->told |= result == NATPMP_SUCCESS;
		w.asker.answer(w.asker.owner, &w.asker, &w.request, &answer);
	}
}

/*
 * What was told before a restart is true until somebody shows that it is not; but while
 * there is hope for that, nobody is told again.
 */
static bool settled(const struct mapping *m)
{
	const enum line_verdict verdict = line_verdict(line_of(m->gateway, m->lease->key.protocol));

	if (mapping_promised(m))
		return verdict == LINE_SUITED || m->told;
	return m->told && m->outer.port && verdict != LINE_UNSUITED && m->waiters && clock_ms() - m->waiters->since_ms >= PATIENCE_MS;
}

void mapping_settle(struct mapping *m)
{
	struct gateway *g = m->gateway;

	if (!settled(m) || !rules_add(g->rules, &m->rule) || !rules_scrubbed(g->rules, &m->rule) || !keeper_kept(g->keeper, m->promise))
		return; /* it is asked again when that is so */
	mapping_answer_waiting(m, NATPMP_SUCCESS, clock_ms());
	tell_hook(m, m->outer);
}

/* False when the outer endpoint is what it was. */
static bool learn_outer(struct mapping *m)
{
	if (endpoint_equal(&m->outer, &mapping_hole(m)->outer))
		return false;
	m->gateway->counts.changed += m->outer.port != 0;
	m->outer = mapping_hole(m)->outer;
	keeper_note(m->gateway->keeper);
	return true;
}

void mapping_reach(struct mapping *m)
{
	static const struct endpoint none;
	struct gateway *g = m->gateway;
	const struct endpoint *outer = &mapping_hole(m)->outer;
	const uint32_t ip = line_public_ip(line_of(g, m->lease->key.protocol));

	rules_reach(g->rules, &m->rule, ip != 0 && endpoint_ip32(outer) == ip ? outer : &none);
}

static void hole_event(void *owner, enum hole_action event, bool disagree)
{
	struct mapping *m = owner;
	struct gateway *g = m->gateway;
	char text[160];
	bool news;

	if (event == HOLE_OPENED || event == HOLE_CHANGED || event == HOLE_GONE)
		m->since_ms = clock_ms();
	switch (event) {
	case HOLE_OPENED:
		g->counts.opened++;
		news = learn_outer(m) && m->told;
		snprintf(text, sizeof(text), " rtt=%u ms", mapping_hole(m)->rtt_ms);
		mapping_say(m, LOG_LEVEL_INFO, "hole open", text);
		mapping_settle(m);
		mapping_reach(m);
		if (news)
			view_announce(g);
		break;
	case HOLE_CHANGED:
		learn_outer(m);
		mapping_say(m, LOG_LEVEL_INFO, "hole changed", "");
		scout_changed(scout_of(g, m->lease->key.protocol), mapping_hole(m));
		mapping_settle(m);
		mapping_reach(m);
		view_announce(g);
		break;
	case HOLE_GONE:
		g->counts.lost++;
		mapping_say(m, LOG_LEVEL_WARN, "hole lost", disagree ? " reason=\"STUN servers' answers disagree\"" : " reason=\"STUN servers fell silent\"");
		break;
	case HOLE_SUSPECT:
		log_debug("hole is checked again: %s", mapping_text(m, text, sizeof(text)));
		break;
	case HOLE_HELD:
		mapping_reach(m); /* another's hole may have been taken for its holder meanwhile */
		return;
	case HOLE_FAILED:
	case HOLE_WAIT:
	case HOLE_SEND:
		return;
	}
	view_tell(m);
}

struct punch_config gateway_punch_config(const struct gateway *g, enum lease_protocol protocol)
{
	return (struct punch_config){ .loop = g->loop, .servers = g->servers, .hosts = g->hosts, .protocol = protocol,
		.local = endpoint_ipv4(g->wan.ip, 0), .keepalive_ms = scout_keepalive_ms(scout_of(g, protocol)) };
}

struct punch_config mapping_punch_config(struct mapping *m, enum lease_protocol protocol, uint16_t relay_port)
{
	const struct gateway *g = m->gateway;
	struct punch_config c = gateway_punch_config(g, protocol);

	c.local.port = relay_port;
	c.direct = line_is_direct(line_of(g, protocol));
	c.event = hole_event;
	c.owner = m;
	return c;
}

/* From a port on, and from the range's begin again, the first relay port that --access lets a client have; 0: none. */
static uint16_t permitted_relay(const struct gateway *g, const struct lease_key *key, uint32_t from)
{
	const struct config *c = g->config;
	uint16_t port = 0;

	if (from <= c->relay_high)
		port = access_next(&c->access, key->client_ip, key->internal_port, (uint16_t)from, c->relay_high);
	return port ? port : access_next(&c->access, key->client_ip, key->internal_port, c->relay_low, c->relay_high);
}

/* Whether a client's wish for an outer port can be granted: where the line's address is public it is a relay port. */
static bool may_wish(const struct gateway *g, const struct lease_key *key, uint16_t port)
{
	const struct endpoint wan = endpoint_ipv4(g->wan.ip, port);

	return port >= WISH_MIN && !endpoint_is_local(&wan) && !gateway_has_port(g, key->protocol, port) &&
		access_allows(&g->config->access, key->client_ip, key->internal_port, port);
}

int mapping_punch_relay(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t wish, struct punch **out)
{
	const uint16_t low = g->config->relay_low, high = g->config->relay_high;
	const uint32_t range = (uint32_t)(high - low) + 1;
	uint16_t port = permitted_relay(g, key, leases_preferred_relay(key, low, high));
	struct punch_config c = mapping_punch_config(m, key->protocol, port);
	int err = port ? -EADDRINUSE : -EACCES;

	c.local = endpoint_ipv4(g->wan.ip, wish);
	if (may_wish(g, key, wish) && punch_open(out, &c) == 0)
		return 0;
	for (uint32_t i = 0, tries = 0; i < range && tries < RELAY_TRIES && err == -EADDRINUSE; i++) {
		if (!gateway_has_port(g, key->protocol, port) && !pool_has(g->pool, key->protocol, port)) {
			c.local = endpoint_ipv4(g->wan.ip, port);
			err = punch_open(out, &c);
			tries++;
		}
		port = permitted_relay(g, key, port + 1u);
	}
	return err;
}

/* A hole that stands ready, or a new one; the pool gives way where it has the last free port or file. */
static int get_punch(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t wish)
{
	int err = 0;

	m->punch = pool_take(g->pool, key->protocol, hole_event, m);
	if (m->punch && !access_allows(&g->config->access, key->client_ip, key->internal_port, punch_port(m->punch))) {
		punch_close(m->punch);
		m->punch = NULL;
	}
	if (!m->punch)
		err = mapping_punch_relay(g, m, key, wish, &m->punch);
	if (err == -EADDRINUSE && pool_yield(g->pool, key->protocol, 0))
		err = mapping_punch_relay(g, m, key, wish, &m->punch);
	return err;
}

/* A hole on that port and no other. */
static int get_punch_at(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t port)
{
	struct punch_config c = mapping_punch_config(m, key->protocol, port);

	if (leases_find_relay(g->leases, key->protocol, port))
		return -EEXIST;
	if (!access_allows(&g->config->access, key->client_ip, key->internal_port, port))
		return -EACCES;
	if (gateway_has_port(g, key->protocol, port))
		return -EADDRINUSE;
	pool_yield(g->pool, key->protocol, port);
	return punch_open(&m->punch, &c);
}

static int describe(struct mapping *m, const char *description)
{
	char *copy = description ? strdup(description) : NULL;

	if (description && !copy)
		return -ENOMEM;
	if (copy) {
		free(m->description);
		m->description = copy;
	}
	return 0;
}

int mapping_adopt(struct mapping *m, const struct grant *grant)
{
	if (m->origin == ORIGIN_CONFIG)
		return -EPERM;
	if (grant->relay_port && grant->relay_port != m->lease->relay_port)
		return -EBUSY;
	if (describe(m, grant->description) < 0)
		return -ENOMEM;
	m->fixed |= grant->relay_port != 0;
	m->origin = grant->origin;
	return 0;
}

/*
 * Whether the servers may be asked often enough for one hole more: a question each keepalive, and a fifth for repetitions and
 * spare holes. One too many would make all of them late, and the carrier forget them.
 */
static bool can_be_held(const struct gateway *g, enum lease_protocol protocol)
{
	const uint64_t rate = servers_rate(g->servers, protocol), keepalive_ms = scout_keepalive_ms(scout_of(g, protocol));

	return rate == 0 || line_is_direct(line_of(g, protocol)) ||
		(g->held[protocol == LEASE_TCP] + 1) * 1000 <= rate * keepalive_ms * 4 / 5;
}

/* What may fail of a new mapping. */
static int prepare(struct mapping *m, const struct lease_key *key, const struct grant *grant, const struct gateway_asker *asker)
{
	struct gateway *g = m->gateway;
	int err = describe(m, grant->description);

	if (err == 0)
		err = mapping_wait(m, asker, &grant->request);
	if (err == 0)
		err = grant->relay_port ? get_punch_at(g, m, key, grant->relay_port) : get_punch(g, m, key, grant->request.suggested_port);
	if (err == 0)
		err = leases_add(g->leases, key, punch_port(m->punch), gateway_expiry_ms(g, m->lifetime_s), &m->lease);
	return err;
}

int mapping_begin(struct gateway *g, const struct lease_key *key, const struct grant *grant, const struct gateway_asker *asker)
{
	struct mapping *m;
	int err = g->wan.ip ? leases_room(g->leases, key->client_ip) : -EADDRNOTAVAIL;

	if (err == 0 && !can_be_held(g, key->protocol))
		err = -ENOBUFS;
	if (err < 0)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct mapping){ .gateway = g, .origin = grant->origin, .fixed = grant->relay_port != 0,
		.lifetime_s = gateway_hold_s(g, grant->request.lifetime_s), .since_ms = clock_ms() };
	err = prepare(m, key, grant, asker);
	if (err < 0) {
		discard(m);
		return err;
	}
	m->lease->owner = m;
	g->held[key->protocol == LEASE_TCP]++;
	m->promise = keeper_promise(g->keeper);
	m->rule.mapping = (struct firewall_mapping){ .protocol = key->protocol, .relay_port = m->lease->relay_port,
		.client_ip = key->client_ip, .internal_port = key->internal_port };
	learn_outer(m);
	mapping_reach(m);
	g->counts.opened += mapping_hole(m)->state == HOLE_OPEN;
	if (mapping_promised(m))
		mapping_say(m, LOG_LEVEL_INFO, "hole open", " from=pool");
	else if (line_verdict(line_of(g, key->protocol)) == LINE_SUITED)
		rules_add(g->rules, &m->rule); /* the question is on its way: this takes no time of the answer's */
	mapping_settle(m); /* at once, with a hole of the pool */
	view_tell(m);
	return 0;
}
