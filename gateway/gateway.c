/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/gateway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/pace.h"
#include "gateway/punch.h"
#include "gateway/rules.h"
#include "sys/clock.h"
#include "sys/log.h"

#define SWEEP_MS	 1000
#define REACH_MS	 20 /* a line that moves changes many outer endpoints: the firewall hears of them together */
#define RELAY_TRIES	 256 /* ports that others hold, before the range counts as used up */
#define REFUSAL_LOG_MS	 10000
#define REFUSAL_LOG_BURST 10
#define LOG_BURST	 100  /* lines of mappings' events at once, then one per … */
#define LOG_MS		 250
#define WISH_MIN	 1024 /* lower ports are the router's own affair */
#define SLEPT_MS	 2000 /* asleep for longer than this, the machine missed something */
#define RECHECK_MS	 5000 /* a lossy line is suspect all the time: its holes are not all asked at each turn */

struct gateway {
	uv_loop_t *loop;
	const struct config *config;
	struct netif wan;
	struct firewall *firewall;
	const struct gateway_callbacks *callbacks;
	void *owner;

	struct rules *rules;
	struct pace *pace;
	struct hooks *hooks; /* NULL: nobody to be told */
	struct leases *leases;
	struct servers *servers;
	struct line *lines[2]; /* UDP, TCP */
	uv_timer_t sweep, reaching;
	uint32_t public_ip; /* host order, 0: not known yet */
	uint64_t epoch_ms;  /* when the table of mappings began */
	uint64_t fault_ms;  /* since when the public address is unknown */
	uint64_t addressless_ms, addressless_last_ms; /* since when WAN has no address, and when that was last seen */
	uint64_t slept_ms;  /* clock_slept_ms when it was looked at last */
	uint64_t recheck_ms[2]; /* UDP, TCP: when all holes may be rechecked again */
	struct log_limit refusal_log, event_log;
	bool closed;
	unsigned closing; /* timers that are not closed yet */
};

/* What hangs on a lease: its hole, and who waits for it. */
struct mapping {
	struct gateway *gateway;
	struct lease *lease;
	struct punch *punch;
	struct rule rule;
	struct pace_item turn; /* enum errand */
	bool astray;	       /* its port could not follow the line */
	struct hooked *hooked;
	bool waiting;
	uint64_t waiting_since_ms;
	struct gateway_asker asker;
	struct natpmp_request request;
};

/* What waits for a mapping's turn; the later ones do what the earlier do. */
enum errand { RECHECK = 1, RENEW, MOVE };

static const char *protocol_name(enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? "TCP" : "UDP";
}

static struct line *line_of(const struct gateway *g, enum lease_protocol protocol)
{
	return g->lines[protocol == LEASE_TCP];
}

static const struct hole *hole_of(const struct mapping *m)
{
	return punch_hole(m->punch);
}

/* A mapping's own words in the log. */
static const char *mapping_text(const struct mapping *m, char *buf, size_t max)
{
	const struct endpoint client = endpoint_ipv4(m->lease->key.client_ip, m->lease->key.internal_port);
	char inner[ENDPOINT_TEXT_MAX], outer[ENDPOINT_TEXT_MAX];

	snprintf(buf, max, "protocol=%s client=%s relay=%u outer=%s", protocol_name(m->lease->key.protocol),
		endpoint_text(&client, inner), m->lease->relay_port, endpoint_text(&hole_of(m)->outer, outer));
	return buf;
}

uint32_t gateway_epoch_s(const struct gateway *g)
{
	return (uint32_t)((clock_ms() - g->epoch_ms) / 1000);
}

/* An event of a mapping. Clients cause these as fast as they like, and a line that moves all at once. */
static void say(struct mapping *m, enum log_level level, const char *event, const char *detail)
{
	char text[160], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&m->gateway->event_log, LOG_MS, LOG_BURST, clock_ms(), &skipped))
		log_line(level, "%s: %s%s%s", event, mapping_text(m, text, sizeof(text)), detail, log_more(more, skipped));
}

static void tell_hook(struct mapping *m, struct endpoint outer)
{
	const uint64_t now_ms = clock_ms(), expires_ms = m->lease->expires_ms;
	const struct hooks_state now = { .key = m->lease->key, .relay_port = m->lease->relay_port, .outer = outer,
		.lifetime_s = expires_ms > now_ms ? (uint32_t)((expires_ms - now_ms + 500) / 1000) : 0 };

	hooks_tell(m->gateway->hooks, &m->hooked, &now);
}

/* The caller ends as many as it must, then says rules_scrub. */
static void end(struct mapping *m, const char *why)
{
	struct gateway *g = m->gateway;

	rules_remove(g->rules, &m->rule);
	tell_hook(m, (struct endpoint){ .family = ENDPOINT_NONE });
	say(m, LOG_LEVEL_INFO, why, "");
	pace_drop(g->pace, &m->turn);
	punch_close(m->punch);
	leases_remove(g->leases, m->lease);
	free(m);
}

/* Never more than asked, and short: the lease is the only way to make a client ask again. */
static uint32_t told_lifetime_s(const struct gateway *g, const struct natpmp_request *request)
{
	return request->lifetime_s < g->config->lease_s ? request->lifetime_s : g->config->lease_s;
}

static uint64_t expiry_ms(const struct gateway *g, const struct natpmp_request *request)
{
	const uint32_t hold_s = request->lifetime_s < g->config->hold_max_s ? request->lifetime_s : g->config->hold_max_s;

	return clock_ms() + (uint64_t)hold_s * 1000;
}

/* A hole that was open once keeps its promise while it is being mended. */
static bool promised(const struct mapping *m)
{
	return hole_of(m)->outer.port != 0;
}

static struct gateway_answer granted(const struct mapping *m, const struct natpmp_request *request)
{
	return (struct gateway_answer){ NATPMP_SUCCESS, hole_of(m)->outer.port, told_lifetime_s(m->gateway, request) };
}

static void answer_waiting(struct mapping *m, const struct gateway_answer *answer)
{
	struct gateway *g = m->gateway;

	if (m->waiting)
		g->callbacks->answer(g->owner, &m->asker, &m->request, answer);
	m->waiting = false;
}

/* Answers who waits, when the hole is open, the verdict is there and the firewall agrees. */
static void settle(struct mapping *m)
{
	struct gateway *g = m->gateway;
	struct gateway_answer answer;

	if (!promised(m) || line_verdict(line_of(g, m->lease->key.protocol)) != LINE_SUITED || !rules_add(g->rules, &m->rule))
		return;
	answer = granted(m, &m->request);
	answer_waiting(m, &answer);
	tell_hook(m, hole_of(m)->outer);
}

static void reach_due(uv_timer_t *timer)
{
	rules_reach_now(((struct gateway *)timer->data)->rules);
}

/*
 * LAN hosts reach the outer endpoint too, where it is at the line's public address: what a
 * lone STUN server says of a single hole must not turn other addresses' traffic to a client.
 */
static void reach(struct mapping *m)
{
	static const struct endpoint none;
	struct gateway *g = m->gateway;
	const struct endpoint *outer = &hole_of(m)->outer;
	const uint32_t ip = line_public_ip(line_of(g, m->lease->key.protocol));

	rules_reach(g->rules, &m->rule, ip != 0 && endpoint_ip32(outer) == ip ? outer : &none);
	if (!uv_is_active((uv_handle_t *)&g->reaching))
		uv_timer_start(&g->reaching, reach_due, REACH_MS, 0);
}

static void hole_event(void *owner, enum hole_action event, bool disagree)
{
	struct mapping *m = owner;
	struct gateway *g = m->gateway;
	char text[160];

	switch (event) {
	case HOLE_OPENED:
		snprintf(text, sizeof(text), " rtt=%u ms", hole_of(m)->rtt_ms);
		say(m, LOG_LEVEL_INFO, "hole open", text);
		settle(m);
		reach(m);
		break;
	case HOLE_CHANGED:
		say(m, LOG_LEVEL_INFO, "hole changed", "");
		settle(m);
		reach(m);
		g->callbacks->announce(g->owner);
		break;
	case HOLE_GONE:
		say(m, LOG_LEVEL_WARN, "hole lost", disagree ? " reason=\"STUN servers' answers disagree\"" : " reason=\"STUN servers fell silent\"");
		break;
	case HOLE_SUSPECT:
		log_debug("hole is checked again: %s", mapping_text(m, text, sizeof(text)));
		break;
	case HOLE_WAIT:
	case HOLE_SEND:
		break;
	}
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

	return port >= WISH_MIN && !endpoint_is_local(&wan) && !leases_find_relay(g->leases, key->protocol, port) &&
		access_allows(&g->config->access, key->client_ip, key->internal_port, port);
}

/* Opens a hole on the relay port wished for, else the client's preferred one, or the next that it may have and that is free. */
static int punch_relay(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t wish, struct punch **out)
{
	const uint16_t low = g->config->relay_low, high = g->config->relay_high;
	const uint32_t range = (uint32_t)(high - low) + 1;
	uint16_t port = permitted_relay(g, key, leases_preferred_relay(key, low, high));
	struct punch_config c = { .loop = g->loop, .servers = g->servers, .protocol = key->protocol,
		.keepalive_ms = g->config->keepalive_s * 1000, .event = hole_event, .owner = m,
		.direct = line_is_direct(line_of(g, key->protocol)) };
	int err = port ? -EADDRINUSE : -EACCES;

	c.local = endpoint_ipv4(g->wan.ip, wish);
	if (may_wish(g, key, wish) && punch_open(out, &c) == 0)
		return 0;
	for (uint32_t i = 0, tries = 0; i < range && tries < RELAY_TRIES && err == -EADDRINUSE; i++) {
		if (!leases_find_relay(g->leases, key->protocol, port)) {
			c.local = endpoint_ipv4(g->wan.ip, port);
			err = punch_open(out, &c);
			tries++;
		}
		port = permitted_relay(g, key, port + 1u);
	}
	return err;
}

/* A new mapping that waits for its hole. -ENOSPC, -EDQUOT, or what the sockets say. */
static int begin(struct gateway *g, const struct lease_key *key, const struct natpmp_request *request,
	const struct gateway_asker *asker)
{
	struct mapping *m;
	int err = g->wan.ip ? leases_room(g->leases, key->client_ip) : -EADDRNOTAVAIL;

	if (err < 0)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct mapping){ .gateway = g, .waiting = true, .waiting_since_ms = clock_ms(), .asker = *asker, .request = *request };
	err = punch_relay(g, m, key, request->suggested_port, &m->punch);
	if (err == 0) {
		err = leases_add(g->leases, key, punch_port(m->punch), expiry_ms(g, request), &m->lease);
		if (err < 0)
			punch_close(m->punch);
	}
	if (err < 0) {
		free(m);
		return err;
	}
	m->lease->owner = m;
	m->rule.mapping = (struct firewall_mapping){ .protocol = key->protocol, .relay_port = m->lease->relay_port,
		.client_ip = key->client_ip, .internal_port = key->internal_port };
	reach(m);
	/* The question is on its way: the firewall's work takes no time of the answer's. */
	if (line_verdict(line_of(g, key->protocol)) == LINE_SUITED)
		rules_add(g->rules, &m->rule);
	return 0;
}

static bool key_matches(const struct lease *l, const struct lease_key *key)
{
	return l->key.protocol == key->protocol && l->key.client_ip == key->client_ip &&
		(key->internal_port == 0 || l->key.internal_port == key->internal_port);
}

/* One mapping, or with port 0 all of the client and protocol. Deleting what is not there succeeds, section 3.4. */
static void delete_matching(struct gateway *g, const struct lease_key *key)
{
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		next = leases_next(g->leases, l);
		if (key_matches(l, key))
			end(l->owner, "mapping deleted");
	}
	rules_scrub(g->rules);
}

static int refuse(struct gateway_answer *answer, enum natpmp_result result)
{
	*answer = (struct gateway_answer){ .result = result };
	return 1;
}

static int renew(struct mapping *m, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer)
{
	m->lease->expires_ms = expiry_ms(m->gateway, request);
	if (promised(m) && rules_confirm(m->gateway->rules, &m->rule)) {
		*answer = granted(m, request);
		return 1;
	}
	if (!m->waiting)
		m->waiting_since_ms = clock_ms();
	m->waiting = true;
	m->asker = *asker;
	m->request = *request;
	settle(m); /* the firewall may have refused before, or lost it */
	return 0;
}

static bool fault_lasts(const struct gateway *g, uint64_t since_ms)
{
	return clock_ms() - since_ms >= (uint64_t)g->config->fault_grace_s * 1000;
}

/* A line without its address, while it is dialled again, is a passing fault: many clients would not come back after an error. */
static int line_without_address(struct gateway *g, struct gateway_answer *answer)
{
	const uint64_t now_ms = clock_ms();

	if (fault_lasts(g, g->addressless_last_ms))
		g->addressless_ms = now_ms; /* another fault than the last */
	g->addressless_last_ms = now_ms;
	return fault_lasts(g, g->addressless_ms) ? refuse(answer, NATPMP_NETWORK_FAILURE) : 0;
}

static const char *why_no_mapping(int err)
{
	switch (err) {
	case -EDQUOT:
		return "the client has its --max-mappings-per-client";
	case -ENOSPC:
		return "there are --max-mappings";
	case -EACCES:
		return "--access forbids it";
	case -EADDRINUSE:
		return "no free port in --relay-ports";
	case -EADDRNOTAVAIL:
		return "the line has lost its address";
	default:
		return strerror(-err);
	}
}

int gateway_map(struct gateway *g, uint32_t client_ip, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer)
{
	const struct lease_key key = { request->opcode == NATPMP_MAP_TCP ? LEASE_TCP : LEASE_UDP, client_ip, request->internal_port };
	const struct endpoint client = endpoint_ipv4(client_ip, request->internal_port);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;
	struct lease *l;
	int err;

	if (request->lifetime_s == 0) {
		delete_matching(g, &key);
		return refuse(answer, NATPMP_SUCCESS); /* port and lifetime 0 */
	}
	if (key.internal_port == 0)
		return refuse(answer, NATPMP_REFUSED); /* only a deletion may name no port */
	l = leases_find(g->leases, &key);
	if (l)
		return renew(l->owner, request, asker, answer);
	if (line_verdict(line_of(g, key.protocol)) == LINE_UNSUITED)
		return refuse(answer, NATPMP_REFUSED);
	err = begin(g, &key, request, asker);
	if (err == 0)
		return 0;
	if (log_allowed_burst(&g->refusal_log, REFUSAL_LOG_MS, REFUSAL_LOG_BURST, clock_ms(), &skipped))
		log_warn("no mapping for protocol=%s client=%s reason=\"%s\"%s", protocol_name(key.protocol),
			endpoint_text(&client, text), why_no_mapping(err), log_more(more, skipped));
	if (err == -EADDRNOTAVAIL)
		return line_without_address(g, answer);
	return refuse(answer, err == -EACCES ? NATPMP_REFUSED : NATPMP_OUT_OF_RESOURCES);
}

void gateway_reconsider(struct gateway *g)
{
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		next = leases_next(g->leases, l);
		if (!access_allows(&g->config->access, l->key.client_ip, l->key.internal_port, l->relay_port))
			end(l->owner, "mapping ended, --access forbids it");
	}
	rules_scrub(g->rules);
}

int gateway_address(struct gateway *g, enum natpmp_result *result, uint32_t *public_ip)
{
	*public_ip = g->wan.ip ? g->public_ip : 0;
	*result = *public_ip ? NATPMP_SUCCESS : NATPMP_NETWORK_FAILURE;
	return *public_ip != 0 || fault_lasts(g, g->fault_ms);
}

static void send_all(struct gateway *g, enum errand errand)
{
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		pace_add(g->pace, &((struct mapping *)l->owner)->turn, errand);
}

/* Also where it was before: whatever it is, it is asked anew. The firewall first, then those who may announce a change. */
static void line_here(struct gateway *g)
{
	rules_move(g->rules, g->wan.name, g->wan.ip);
	for (size_t i = 0; i < 2; i++) {
		const int err = line_move(g->lines[i], g->wan.ip, g->wan.index);

		if (err < 0)
			log_error("cannot watch the line from its address error=\"%s\"", strerror(-err));
	}
	send_all(g, MOVE);
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

/* Those who waited longer than a passing fault lasts are told; what never opened is given up. */
static void sweep(uv_timer_t *timer)
{
	struct gateway *g = timer->data;
	const uint64_t now_ms = clock_ms();
	struct lease *next;

	notice_sleep(g);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (m->astray)
			pace_add(g->pace, &m->turn, MOVE);
		if (now_ms >= l->expires_ms) {
			end(m, "mapping expired");
		} else if (m->waiting && fault_lasts(g, m->waiting_since_ms)) {
			answer_waiting(m, &(struct gateway_answer){ .result = NATPMP_NETWORK_FAILURE });
			if (!promised(m))
				end(m, "mapping given up");
		} else if (m->waiting) {
			settle(m); /* the firewall may be complete again */
		}
	}
	rules_scrub(g->rules);
}

static void recheck_all(struct gateway *g, enum lease_protocol protocol)
{
	uint64_t *next_ms = &g->recheck_ms[protocol == LEASE_TCP];

	if (clock_ms() < *next_ms)
		return;
	*next_ms = clock_ms() + RECHECK_MS;
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (l->key.protocol == protocol)
			pace_add(g->pace, &((struct mapping *)l->owner)->turn, RECHECK);
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
		say(m, LOG_LEVEL_ERROR, "cannot move to the line's address", detail);
	}
	m->astray = err < 0;
}

static void mapping_s_turn(void *owner, struct pace_item *item, unsigned errand)
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

/* A new public address: no hole of the old one lives on, and clients must renew (section 3.6). */
static void moved(struct gateway *g, uint32_t ip)
{
	const bool first = g->public_ip == 0;

	g->public_ip = ip;
	g->epoch_ms = clock_ms();
	if (!first)
		send_all(g, RENEW);
	g->callbacks->announce(g->owner);
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
		settle(m);
		reach(m);
	}
}

static void verdict_came(struct gateway *g, enum lease_protocol protocol)
{
	const bool unsuited = line_verdict(line_of(g, protocol)) == LINE_UNSUITED;
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (l->key.protocol != protocol)
			continue;
		if (!unsuited) {
			settle(m);
			continue;
		}
		answer_waiting(m, &(struct gateway_answer){ .result = NATPMP_REFUSED });
		end(m, "mapping refused, the carrier's NAT is not suited");
	}
	rules_scrub(g->rules);
}

static void line_event(void *owner, enum lease_protocol protocol, enum line_event event)
{
	struct gateway *g = owner;
	const uint32_t ip = line_public_ip(line_of(g, protocol));

	switch (event) {
	case LINE_UP:
	case LINE_MOVED:
		/* UDP's address is the one announced; TCP's only where UDP has none. */
		if (protocol == LEASE_UDP || line_public_ip(line_of(g, LEASE_UDP)) == 0)
			if (ip != g->public_ip)
				moved(g, ip);
		follow_line(g, protocol);
		break;
	case LINE_SUSPECT:
		recheck_all(g, protocol);
		break;
	case LINE_VERDICT:
		verdict_came(g, protocol);
		break;
	}
}

static void servers_changed(void *owner, enum lease_protocol protocol)
{
	struct gateway *g = owner;
	const struct endpoint *list;
	size_t count;

	list = servers_list(g->servers, protocol, &count);
	if (g->config->firewall->exempt(g->firewall, protocol, list, count) < 0)
		log_error("firewall did not exempt the STUN servers error=\"%s\"", g->config->firewall->error(g->firewall));
	if (line_of(g, protocol))
		line_recheck(line_of(g, protocol));
}

static int open_servers(struct gateway *g)
{
	struct server_name names[SERVERS_NAMES_MAX];
	const struct server_name *chosen = g->config->servers;
	size_t count = g->config->server_count;

	if (count == 0) {
		for (; count < SERVERS_NAMES_MAX && servers_builtin[count]; count++)
			if (server_name_parse(&names[count], servers_builtin[count]) < 0)
				return -EINVAL;
		chosen = names;
	}
	return servers_open(&g->servers, g->loop, chosen, count, servers_changed, g);
}

static int open_parts(struct gateway *g)
{
	const struct rules_config rules = { .loop = g->loop, .backend = g->config->firewall, .firewall = g->firewall,
		.wan = g->wan.name, .wan_ip = g->wan.ip };
	int err = leases_new(&g->leases, g->config->max_mappings, g->config->max_mappings_per_client);

	if (err == 0)
		err = rules_open(&g->rules, &rules);
	if (err == 0)
		err = pace_open(&g->pace, g->loop, mapping_s_turn, g);
	if (err == 0)
		err = open_servers(g);
	for (size_t i = 0; i < 2 && err == 0; i++) {
		const struct line_config c = { .loop = g->loop, .servers = g->servers, .protocol = i ? LEASE_TCP : LEASE_UDP,
			.wan_ip = g->wan.ip, .wan_index = g->wan.index, .watch_ms = g->config->watch_s * 1000, .event = line_event,
			.owner = g };

		err = line_open(&g->lines[i], &c);
	}
	return err;
}

int gateway_open(struct gateway **out, uv_loop_t *loop, const struct config *config, const struct netif *wan,
	struct firewall *firewall, const struct gateway_callbacks *callbacks, void *owner)
{
	struct gateway *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	*g = (struct gateway){ .loop = loop, .config = config, .wan = *wan, .firewall = firewall, .callbacks = callbacks,
		.owner = owner, .epoch_ms = clock_ms(), .fault_ms = clock_ms(), .slept_ms = clock_slept_ms() };
	uv_timer_init(loop, &g->sweep);
	uv_timer_init(loop, &g->reaching);
	g->sweep.data = g->reaching.data = g;
	err = open_parts(g);
	if (err < 0) {
		gateway_close(g);
		return err;
	}
	uv_timer_start(&g->sweep, sweep, SWEEP_MS, SWEEP_MS);
	*out = g;
	return 0;
}

struct line_nat gateway_nat(const struct gateway *g, enum lease_protocol protocol)
{
	return line_nat(line_of(g, protocol));
}

static void log_nat(const struct gateway *g, enum lease_protocol protocol)
{
	const struct line_nat n = gateway_nat(g, protocol);
	const uint32_t known = line_public_ip(line_of(g, protocol));
	const struct endpoint ip = known ? endpoint_ipv4(known, 0) : (struct endpoint){ 0 };
	const char *mapping = stunway_behavior_text(n.mapping), *filtering = stunway_behavior_text(n.filtering);
	char text[ENDPOINT_TEXT_MAX];

	log_info("line %s: public=%s nat=%s mapping=%s filtering=%s", protocol_name(protocol), endpoint_ip_text(&ip, text),
		n.direct ? "none" : "carrier", mapping[0] ? mapping : "unknown", filtering[0] ? filtering : "unknown");
}

static void line_gone(struct gateway *g)
{
	g->fault_ms = clock_ms();
	for (size_t i = 0; i < 2; i++)
		line_move(g->lines[i], 0, 0);
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
}

void gateway_firewall_changed(struct gateway *g)
{
	rules_look(g->rules);
}

void gateway_hooks(struct gateway *g, struct hooks *hooks)
{
	g->hooks = hooks;
}

/* The old ones stay in use until nothing borrows them any more. */
void gateway_reload(struct gateway *g, bool servers)
{
	struct servers *old = g->servers;

	gateway_reconsider(g);
	if (!servers || open_servers(g) < 0)
		return;
	for (size_t i = 0; i < 2; i++)
		line_servers(g->lines[i], g->servers);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		punch_servers(((struct mapping *)l->owner)->punch, g->servers);
	servers_close(old);
}

void gateway_log_mappings(const struct gateway *g)
{
	static const char *const states[] = { [HOLE_PUNCHING] = "punching", [HOLE_OPEN] = "open", [HOLE_LOST] = "lost" };
	const uint64_t now_ms = clock_ms();
	char text[160];

	log_nat(g, LEASE_UDP);
	log_nat(g, LEASE_TCP);
	log_info("mappings count=%zu epoch=%u s", leases_count(g->leases), gateway_epoch_s(g));
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		const struct mapping *m = l->owner;

		log_info("mapping %s state=%s expires=%llu s", mapping_text(m, text, sizeof(text)), states[hole_of(m)->state],
			(unsigned long long)(l->expires_ms > now_ms ? (l->expires_ms - now_ms) / 1000 : 0));
	}
}

static void free_gateway(uv_handle_t *handle)
{
	struct gateway *g = handle->data;

	if (--g->closing == 0)
		free(g);
}

void gateway_close(struct gateway *g)
{
	if (!g || g->closed)
		return;
	g->closed = true;
	while (g->leases && leases_next(g->leases, NULL)) {
		struct mapping *m = leases_next(g->leases, NULL)->owner;

		/* The firewall goes as a whole, after this; only the flows are left to end. */
		rules_forget(g->rules, &m->rule);
		pace_drop(g->pace, &m->turn);
		hooks_forget(&m->hooked);
		punch_close(m->punch);
		leases_remove(g->leases, m->lease);
		free(m);
	}
	rules_close(g->rules);
	pace_close(g->pace);
	leases_free(g->leases);
	line_close(g->lines[0]);
	line_close(g->lines[1]);
	servers_close(g->servers);
	g->closing = 2;
	uv_close((uv_handle_t *)&g->sweep, free_gateway);
	uv_close((uv_handle_t *)&g->reaching, free_gateway);
}
