/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define SWEEP_MS	 1000

uint32_t gateway_epoch_s(const struct gateway *g)
{
	return (uint32_t)((clock_ms() - g->epoch_ms) / 1000);
}

void gateway_reconsider(struct gateway *g)
{
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		next = leases_next(g->leases, l);
		if (((struct mapping *)l->owner)->origin != ORIGIN_CONFIG && /* the rules are for those who ask */
			!access_allows(&g->config->access, l->key.client_ip, l->key.internal_port, l->relay_port))
			mapping_end(l->owner, "mapping ended, --access forbids it");
	}
}

int gateway_address(struct gateway *g, enum natpmp_result *result, uint32_t *public_ip)
{
	*public_ip = g->wan.ip ? g->public_ip : 0;
	*result = *public_ip ? NATPMP_SUCCESS : NATPMP_NETWORK_FAILURE;
	return *public_ip != 0 || fault_lasts(g, g->fault_ms);
}

/* The pool takes no mapping's place. */
static size_t pool_room(void *owner, enum lease_protocol protocol)
{
	const struct gateway *g = owner;

	(void)protocol;
	return g->config->max_mappings - leases_count(g->leases);
}

bool gateway_has_port(const struct gateway *g, enum lease_protocol protocol, uint16_t port)
{
	return leases_find_relay(g->leases, protocol, port) || line_port(line_of(g, protocol)) == port || scout_port(scout_of(g, protocol)) == port;
}

static bool pool_taken(void *owner, enum lease_protocol protocol, uint16_t port)
{
	return gateway_has_port(owner, protocol, port);
}

static void servers_changed(void *owner, enum lease_protocol protocol)
{
	struct gateway *g = owner;
	struct endpoint list[2 * SERVERS_MAX];
	size_t count = servers_ranked(g->servers, protocol, list);

	if (g->hosts)
		count += servers_ranked(g->hosts, protocol, list + count);
	rules_exempt(g->rules, protocol, list, count);
	if (line_of(g, protocol))
		line_recheck(line_of(g, protocol));
}

static int open_servers(struct gateway *g)
{
	struct server_name names[SERVERS_NAMES_MAX];
	struct servers_config c = { .loop = g->loop, .names = g->config->servers, .count = g->config->server_count, .what = "STUN server",
		.per_second = g->config->stun_rate, .changed = servers_changed, .owner = g };

	if (c.count == 0) {
		for (; c.count < SERVERS_NAMES_MAX && servers_builtin[c.count]; c.count++)
			if (server_name_parse(&names[c.count], servers_builtin[c.count]) < 0)
				return -EINVAL;
		c.names = names;
	}
	return servers_open(&g->servers, &c);
}

/* Looked up only when no STUN server keeps a TCP connection. */
static int open_hosts(struct gateway *g)
{
	struct server_name names[SERVERS_NAMES_MAX];
	struct servers_config c = { .loop = g->loop, .names = g->config->hosts, .count = g->config->host_count,
		.what = "keepalive host", .per_second = g->config->stun_rate, .changed = servers_changed, .owner = g, .idle = true };

	if (c.count == 0) {
		for (; c.count < SERVERS_NAMES_MAX && servers_builtin_web[c.count]; c.count++)
			if (server_name_parse_web(&names[c.count], servers_builtin_web[c.count]) < 0)
				return -EINVAL;
		c.names = names;
	}
	return servers_open(&g->hosts, &c);
}

static int open_scouts(struct gateway *g)
{
	int err = 0;

	for (size_t i = 0; i < 2 && err == 0; i++) {
		const struct punch_config c = { .loop = g->loop, .servers = g->servers, .hosts = g->hosts,
			.protocol = i ? LEASE_TCP : LEASE_UDP, .local = endpoint_ipv4(g->wan.ip, 0),
			.keepalive_ms = g->config->keepalive_s * 1000 };

		err = scout_open(&g->scouts[i], &c, gateway_keepalive_changed, g);
	}
	return err;
}

static int open_pool(struct gateway *g)
{
	const struct pool_config c = { .punch = gateway_punch_config(g, LEASE_UDP), .relay_low = g->config->relay_low,
		.relay_high = g->config->relay_high, .wanted = g->config->pool, .room = pool_room, .taken = pool_taken, .owner = g };

	return pool_open(&g->pool, &c);
}

static void log_counts(const char *what, const struct traffic_counts *c)
{
	log_info("traffic %s in=%llu/%llu out=%llu/%llu connections=%llu", what, (unsigned long long)c->in_bytes,
		(unsigned long long)c->in_packets, (unsigned long long)c->out_bytes, (unsigned long long)c->out_packets,
		(unsigned long long)c->connections);
}

/* Bytes and packets; a mapping that nobody used yet is not worth a line. */
static void log_traffic(void *owner)
{
	struct gateway *g = owner;
	struct traffic_counts c = traffic_total(g->traffic);
	char text[160];

	if (!g->log_traffic)
		return;
	g->log_traffic = false;
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		struct traffic_counts of;

		if (traffic_of(g->traffic, &l->key, &of) && (of.in_packets || of.out_packets || of.connections))
			log_counts(mapping_text(l->owner, text, sizeof(text)), &of);
	}
	log_counts("of all mappings there were", &c);
	if (traffic_why_not(g->traffic)[0])
		log_info("traffic is not all counted: %s", traffic_why_not(g->traffic));
}

static int open_traffic(struct gateway *g)
{
	const int err = traffic_open(&g->traffic, g->loop, g->config->firewall);

	return err < 0 ? err : traffic_watch(g->traffic, log_traffic, g);
}

static int open_parts(struct gateway *g, const struct state_limits *limits)
{
	const struct rules_config rules = { .loop = g->loop, .backend = g->config->firewall, .firewall = g->firewall,
		.wan = g->wan.name, .wan_ip = g->wan.ip, .walked = request_kept, .owner = g };
	const struct keeper_config keeper = { .loop = g->loop, .path = g->config->state, .lazy_ms = g->config->state_lazy_s * 1000,
		.snapshot = restore_snapshot, .saved = request_kept, .owner = g };
	int err = leases_new(&g->leases, g->config->max_mappings, g->config->max_mappings_per_client);

	if (err == 0)
		err = rules_open(&g->rules, &rules);
	if (err == 0)
		err = open_traffic(g);
	if (err == 0)
		err = pace_open(&g->pace, g->loop, gateway_mapping_turn, g);
	if (err == 0)
		err = keeper_open(&g->keeper, &keeper);
	if (err == 0)
		err = open_servers(g);
	if (err == 0)
		err = open_hosts(g);
	if (err == 0)
		err = open_scouts(g);
	if (err == 0)
		err = open_pool(g);
	for (size_t i = 0; i < 2 && err == 0; i++) {
		const struct line_config c = { .loop = g->loop, .servers = g->servers, .hosts = g->hosts,
			.protocol = i ? LEASE_TCP : LEASE_UDP, .wan_ip = g->wan.ip, .wan_index = g->wan.index, .watch_ms = g->config->watch_s * 1000, .event = gateway_line_event,
			.owner = g };

		err = line_open(&g->lines[i], &c);
	}
	if (err == 0)
		restore_all(g, limits);
	return err;
}

int gateway_open(struct gateway **out, uv_loop_t *loop, const struct config *config, const struct netif *wan,
	const struct netif *lans, size_t lan_count, struct firewall *firewall)
{
	const struct state_limits limits = { lans, lan_count, config->max_mappings, config->max_mappings_per_client };
	struct gateway *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	*g = (struct gateway){ .loop = loop, .config = config, .wan = *wan, .firewall = firewall, .epoch_ms = clock_ms(), .fault_ms = clock_ms(), .slept_ms = clock_slept_ms() };
	uv_timer_init(loop, &g->sweep);
	uv_timer_init(loop, &g->restore);
	g->sweep.data = g->restore.data = g;
	err = open_parts(g, &limits);
	if (err < 0) {
		gateway_close(g);
		return err;
	}
	uv_timer_start(&g->sweep, gateway_sweep, SWEEP_MS, SWEEP_MS);
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

void gateway_firewall_changed(struct gateway *g)
{
	rules_look(g->rules);
}

void gateway_hooks(struct gateway *g, struct hooks *hooks)
{
	g->hooks = hooks;
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (hooks)
			mapping_settle(l->owner);
		else
			hooks_forget(&((struct mapping *)l->owner)->hooked);
}

/* The old ones stay in use until nothing borrows them any more. */
void gateway_reload(struct gateway *g, bool servers, const struct netif *lans, size_t lan_count)
{
	struct servers *old = g->servers;

	gateway_reconsider(g);
	restore_permanents(g, lans, lan_count);
	if (!servers || open_servers(g) < 0)
		return;
	for (size_t i = 0; i < 2; i++) {
		line_servers(g->lines[i], g->servers);
		scout_servers(g->scouts[i], g->servers);
	}
	pool_servers(g->pool, g->servers);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (((struct mapping *)l->owner)->punch) /* a restored one may wait for its turn still */
			punch_servers(((struct mapping *)l->owner)->punch, g->servers);
	servers_close(old);
}

struct traffic *gateway_traffic(const struct gateway *g)
{
	return g->traffic;
}

void gateway_log_mappings(struct gateway *g)
{
	static const char *const states[] = { [HOLE_PUNCHING] = "punching", [HOLE_OPEN] = "open", [HOLE_LOST] = "lost" };
	const uint64_t now_ms = clock_ms();
	char text[160];

	log_nat(g, LEASE_UDP);
	log_nat(g, LEASE_TCP);
	log_info("mappings count=%zu epoch=%u s pool: UDP=%zu TCP=%zu keepalive: UDP=%u TCP=%u ms", leases_count(g->leases),
		gateway_epoch_s(g), pool_ready(g->pool, LEASE_UDP), pool_ready(g->pool, LEASE_TCP),
		scout_keepalive_ms(scout_of(g, LEASE_UDP)), scout_keepalive_ms(scout_of(g, LEASE_TCP)));
	servers_log_health(g->servers);
	servers_log_health(g->hosts);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		const struct mapping *m = l->owner;

		char expires[24] = "never";

		if (l->expires_ms != LEASES_FOREVER)
			snprintf(expires, sizeof(expires), "%llu s", (unsigned long long)(l->expires_ms > now_ms ? (l->expires_ms - now_ms) / 1000 : 0));
		log_info("mapping %s state=%s expires=%s origin=%s", mapping_text(m, text, sizeof(text)), states[mapping_hole(m)->state], expires,
			origin_name(m->origin));
	}
	g->log_traffic = true;
	if (!traffic_look(g->traffic))
		log_traffic(g);
}

static void timer_closed(uv_handle_t *handle)
{
	struct gateway *g = handle->data;

	if (--g->closing == 0)
		free(g);
}

void gateway_release_firewall(struct gateway *g)
{
	if (g && !g->closed)
		rules_stop(g->rules);
}

void gateway_close(struct gateway *g)
{
	if (!g || g->closed)
		return;
	g->closed = true;
	keeper_close(g->keeper); /* with all that is in it still */
	rules_close(g->rules);
	while (g->leases && leases_next(g->leases, NULL))
		mapping_forget(leases_next(g->leases, NULL)->owner);
	pool_close(g->pool);
	scout_close(g->scouts[0]);
	scout_close(g->scouts[1]);
	traffic_close(g->traffic);
	pace_close(g->pace);
	leases_free(g->leases);
	line_close(g->lines[0]);
	line_close(g->lines[1]);
	servers_close(g->servers);
	servers_close(g->hosts);
	g->closing = 2;
	uv_close((uv_handle_t *)&g->sweep, timer_closed);
	uv_close((uv_handle_t *)&g->restore, timer_closed);
}
