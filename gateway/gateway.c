/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/gateway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/line.h"
#include "gateway/punch.h"
#include "gateway/rules.h"
#include "sys/clock.h"
#include "sys/log.h"

#define SWEEP_MS	 1000
#define RELAY_TRIES	 256 /* ports that others hold, before the range counts as used up */
#define REFUSAL_LOG_MS	 10000
#define REFUSAL_LOG_BURST 10
#define LOG_BURST	 100  /* lines of mappings' events at once, then one per … */
#define LOG_MS		 250
#define RECHECK_MS	 5000 /* a lossy line is suspect all the time: its holes are not all asked at each turn */

struct gateway {
	uv_loop_t *loop;
	const struct config *config;
	struct netif wan;
	struct firewall *firewall;
	const struct gateway_callbacks *callbacks;
	void *owner;

	struct rules *rules;
	struct leases *leases;
	struct servers *servers;
	struct line *lines[2]; /* UDP, TCP */
	uv_timer_t sweep, settling;
	uint32_t public_ip; /* host order, 0: not known yet */
	uint64_t epoch_ms;  /* when the table of mappings began */
	uint64_t fault_ms;  /* since when the public address is unknown */
	uint64_t addressless_ms, addressless_last_ms; /* since when WAN has no address, and when that was last seen */
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
	bool waiting;
	uint64_t waiting_since_ms;
	struct gateway_asker asker;
	struct natpmp_request request;
};

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

/* The caller ends as many as it must, then says rules_scrub. */
static void end(struct mapping *m, const char *why)
{
	struct gateway *g = m->gateway;

	rules_remove(g->rules, &m->rule);
	say(m, LOG_LEVEL_INFO, why, "");
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

static void settle_all(uv_timer_t *timer);

/* Answers who waits, when the hole is open, the verdict is there, the firewall agrees, and no older flow lives. */
static void settle(struct mapping *m)
{
	struct gateway *g = m->gateway;
	struct gateway_answer answer;

	if (!promised(m) || line_verdict(line_of(g, m->lease->key.protocol)) != LINE_SUITED || !rules_add(g->rules, &m->rule))
		return;
	if (!rules_scrub_paced(g->rules)) {
		if (!uv_is_active((uv_handle_t *)&g->settling))
			uv_timer_start(&g->settling, settle_all, RULES_PACE_MS, 0);
		return;
	}
	answer = granted(m, &m->request);
	answer_waiting(m, &answer);
}

/* Those who came so close to others that one scrub serves all. */
static void settle_all(uv_timer_t *timer)
{
	struct gateway *g = timer->data;

	rules_scrub(g->rules);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (((struct mapping *)l->owner)->waiting)
			settle(l->owner);
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
		break;
	case HOLE_CHANGED:
		say(m, LOG_LEVEL_INFO, "hole changed", "");
		settle(m);
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

/* Opens a hole on the client's preferred relay port, or the next that is free. */
static int punch_relay(struct gateway *g, struct mapping *m, const struct lease_key *key, struct punch **out)
{
	const uint16_t low = g->config->relay_low, high = g->config->relay_high;
	const uint32_t range = (uint32_t)(high - low) + 1;
	struct punch_config c = { .loop = g->loop, .servers = g->servers, .protocol = key->protocol,
		.local = endpoint_ipv4(g->wan.ip, leases_preferred_relay(key, low, high)), .keepalive_ms = g->config->keepalive_s * 1000,
		.event = hole_event, .owner = m };
	int err = -EADDRINUSE;

	for (uint32_t i = 0, tries = 0; i < range && tries < RELAY_TRIES && err == -EADDRINUSE; i++) {
		if (!leases_find_relay(g->leases, key->protocol, c.local.port)) {
			err = punch_open(out, &c);
			tries++;
		}
		if (err == -EADDRINUSE)
			c.local.port = c.local.port == high ? low : (uint16_t)(c.local.port + 1);
	}
	return err;
}

/* A new mapping that waits for its hole. -ENOSPC, -EDQUOT, or what the sockets say. */
static int begin(struct gateway *g, const struct lease_key *key, const struct natpmp_request *request,
	const struct gateway_asker *asker)
{
	struct mapping *m;
	int err = leases_room(g->leases, key->client_ip);

	if (err < 0)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct mapping){ .gateway = g, .waiting = true, .waiting_since_ms = clock_ms(), .asker = *asker, .request = *request };
	err = punch_relay(g, m, key, &m->punch);
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
	m->rule.mapping = (struct firewall_mapping){ key->protocol, m->lease->relay_port, key->client_ip, key->internal_port };
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
	if (!m->waiting && promised(m) && rules_confirm(m->gateway->rules, &m->rule)) {
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
	return refuse(answer, NATPMP_OUT_OF_RESOURCES);
}

int gateway_address(struct gateway *g, enum natpmp_result *result, uint32_t *public_ip)
{
	*public_ip = g->public_ip;
	*result = g->public_ip ? NATPMP_SUCCESS : NATPMP_NETWORK_FAILURE;
	return g->public_ip != 0 || fault_lasts(g, g->fault_ms);
}

/* Those who waited longer than a passing fault lasts are told; what never opened is given up. */
static void sweep(uv_timer_t *timer)
{
	struct gateway *g = timer->data;
	const uint64_t now_ms = clock_ms();
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (now_ms >= l->expires_ms) {
			end(m, "mapping expired");
		} else if (m->waiting && fault_lasts(g, m->waiting_since_ms)) {
			answer_waiting(m, &(struct gateway_answer){ .result = NATPMP_NETWORK_FAILURE });
			if (!promised(m))
				end(m, "mapping given up");
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
			punch_recheck(((struct mapping *)l->owner)->punch);
}

/* A new public address: no hole of the old one lives on, and clients must renew (section 3.6). */
static void moved(struct gateway *g, uint32_t ip)
{
	const bool first = g->public_ip == 0;

	g->public_ip = ip;
	g->epoch_ms = clock_ms();
	for (struct lease *l = leases_next(g->leases, NULL); l && !first; l = leases_next(g->leases, l))
		punch_renew(((struct mapping *)l->owner)->punch);
	g->callbacks->announce(g->owner);
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
	int err = leases_new(&g->leases, g->config->max_mappings, g->config->max_mappings_per_client);

	if (err == 0)
		err = rules_open(&g->rules, g->config->firewall, g->firewall, g->wan.ip);
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
		.owner = owner, .epoch_ms = clock_ms(), .fault_ms = clock_ms() };
	uv_timer_init(loop, &g->sweep);
	uv_timer_init(loop, &g->settling);
	g->sweep.data = g->settling.data = g;
	err = open_parts(g);
	if (err < 0) {
		gateway_close(g);
		return err;
	}
	uv_timer_start(&g->sweep, sweep, SWEEP_MS, SWEEP_MS);
	*out = g;
	return 0;
}

void gateway_log_mappings(const struct gateway *g)
{
	static const char *const states[] = { [HOLE_PUNCHING] = "punching", [HOLE_OPEN] = "open", [HOLE_LOST] = "lost" };
	const uint64_t now_ms = clock_ms();
	char text[160];

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
		punch_close(m->punch);
		leases_remove(g->leases, m->lease);
		free(m);
	}
	rules_close(g->rules);
	leases_free(g->leases);
	line_close(g->lines[0]);
	line_close(g->lines[1]);
	servers_close(g->servers);
	g->closing = 2;
	uv_close((uv_handle_t *)&g->sweep, free_gateway);
	uv_close((uv_handle_t *)&g->settling, free_gateway);
}
