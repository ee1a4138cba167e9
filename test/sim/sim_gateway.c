/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gateway's core through a month of faults: the real one, in a simulated home (test/sim/home.h),
 * behind a simulated carrier (test/sim/carrier.h), in virtual time.
 *
 *	sim_gateway [RUNS [SEED [-v]]]    four hours for each of them, 200 are a month and a thousand faults; 1,000
 *	                                  and seed 1 unless told. -v: the gateway's own log
 *
 * A fault has three quarters of an hour, one in three has a second fault for company, and each tenth time there is none.
 *
 * What must be true, see `said` below, is looked at each minute, when what a fault broke has had its time to heal, and
 * before the next one. Speaks TAP; the same seed gives the same months.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/home.h"
#include "test/sim/sim.h"
#include "test/sim/sockets.h"
#include "test/sim/wall.h"

#define A_RUN	  5 /* faults */
#define FAULT_MS  (45 * MINUTE)
#define QUIET_MS  (75 * MINUTE)
#define SETTLE_MS (150 * 1000ull) /* after the last fault's end all holes are true again: test/sim/sim_hole.c's bound, with loss */
#define TICK_MS	  MINUTE
#define STUN	  4 /* of the carrier's hosts; the others are web servers */
#define WEB	  2

/* --- promises --- */

static const char *const said[PROMISES] = {
	[LIVES] = "The gateway starts, also after whatever ended it",
	[LEASES_KEPT] = "No lease that a client holds is forgotten",
	[PORTS_APART] = "Each mapping has a relay port of its own, and its socket there",
	[NOTHING_LEAKED] = "The firewall has no rule but those of living mappings",
	[RULES_STAND] = "When all is calm every mapping has its rule, its hairpin, and the servers are exempt",
	[OUTER_TRUE] = "When all is calm each outer endpoint is the one that the carrier's NAT has",
	[TOLD_TRUE] = "... and the one that its client was told last",
	[STRANGERS_PASS] = "When all is calm a stranger's packet comes through NAT and firewall to the client",
	[CHANGES_ANNOUNCED] = "Every change of what clients were told is announced",
	[EPOCH_RULES] = "The epoch begins anew with another public address or lost leases, and never else",
	[ANSWERS_RIGHT] = "Each question is answered once at most, and nobody refused who has room",
	[FEW_WRITES] = "In a quiet hour the state file is written once a minute at most",
	[RATE_KEPT] = "No server is asked more often than --stun-rate",
	[NO_COMPLAINTS] = "When all is calm the gateway complains of nothing",
	[MEMORY_BOUND] = "Memory and handles follow the number of mappings, and each life gives back all",
};
static unsigned breaches[PROMISES];
static unsigned number; /* of the fault */

void breach(enum promise which, const char *format, ...)
{
	va_list args;

	if (breaches[which]++ >= 5)
		return;
	printf("# fault %u, day %.3f (%.3f s): ", number, (double)loop_true_ms() / (double)DAY, (double)loop_true_ms() / 1e3);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* --- faults --- */

static uint64_t calm_ms; /* awake time: when the last fault's end is, as far as it is known */

bool home_is_calm(void)
{
	return loop_ms() > calm_ms + SETTLE_MS;
}

static void disturb(uint64_t ms)
{
	if (loop_ms() + ms > calm_ms)
		calm_ms = loop_ms() + ms;
}

/* What ends by itself after between a second and so long. */
static void ends(struct loop_event *e, uint64_t at_most_ms, void (*happens)(struct loop_event *e))
{
	const uint64_t ms = 1000 + sim_below((uint32_t)at_most_ms);

	loop_in(e, ms, happens);
	disturb(ms);
}

static const struct mapping *some_mapping(void)
{
	const size_t count = router.gateway ? leases_count(router.gateway->leases) : 0;
	size_t skip = count ? sim_below((uint32_t)count) : 0;
	const struct lease *l = count ? leases_next(router.gateway->leases, NULL) : NULL;

	for (; l && skip > 0; skip--)
		l = leases_next(router.gateway->leases, l);
	return l ? l->owner : NULL;
}

static void renumber(void)
{
	carrier.public_ip = 0xcb007101u + sim_below(200);
	carrier_flush();
}

static void one_port(void)
{
	const struct mapping *m = some_mapping();

	if (m)
		carrier_change_port(m->lease->key.protocol, m->lease->relay_port);
}

static void servers_speak(struct loop_event *e)
{
	(void)e;
	for (size_t i = 0; i < STUN + WEB; i++)
		carrier.hosts[i].silent = false;
}

static void servers_silent(void)
{
	static struct loop_event end;

	for (uint32_t n = 1 + sim_below(STUN + 1); n > 0; n--)
		carrier.hosts[sim_below(STUN + WEB)].silent = true;
	ends(&end, 10 * MINUTE, servers_speak);
}

static void servers_stay(struct loop_event *e)
{
	(void)e;
	for (size_t i = 0; i < STUN; i++)
		carrier.hosts[i].hangs_up = false;
}

/* All of them: then anchors must hold the ports. */
static void servers_hang_up(void)
{
	static struct loop_event end;

	for (size_t i = 0; i < STUN; i++)
		carrier.hosts[i].hangs_up = true;
	ends(&end, 15 * MINUTE, servers_stay);
}

static bool names_fail;

static void names_found(struct loop_event *e)
{
	(void)e;
	names_fail = false;
}

/* A server moves to another address, and its name follows at once or later. */
static void server_moves(void)
{
	static const size_t named[] = { 0, 1, 3, 4, 5 };
	static struct loop_event end;
	struct carrier_host *h = &carrier.hosts[named[sim_below(5)]];

	h->at = endpoint_ipv4(endpoint_ip32(&h->at) + 10, h->at.port);
	if (endpoint_ip32(&h->at) % 256 > 240)
		h->at = endpoint_ipv4(endpoint_ip32(&h->at) - 230, h->at.port);
	names_fail = sim_below(2);
	ends(&end, 5 * MINUTE, names_found);
	if (names_fail)
		disturb(6 * MINUTE); /* a failed lookup is tried again after 5 minutes at the slowest */
}

static bool resolve(const char *host, uint32_t *ip)
{
	const char *digit = host + strcspn(host, "0123456789");

	*ip = endpoint_ip32(&carrier.hosts[*digit - '0'].at);
	return !names_fail;
}

/* Another address of the line, and so another, or no, NAT. */
static void move_line(void)
{
	carrier.nat = sim_below(4) != 0;
	carrier_flush();
	if (carrier.nat) {
		carrier.public_ip = 0xcb007101u + sim_below(200);
		router_set_wan(0x64400002u + sim_below(1000));
	} else {
		router_set_wan(0xc0000201u + sim_below(200));
	}
}

static uint32_t lost_ip;

static void line_returns(struct loop_event *e)
{
	(void)e;
	if (router.wan.ip)
		return; /* another fault was faster */
	if (sim_below(2))
		router_set_wan(lost_ip);
	else
		move_line();
}

static void line_lost(void)
{
	static struct loop_event end;

	if (router.wan.ip)
		lost_ip = router.wan.ip;
	router_set_wan(0);
	ends(&end, sim_below(2) ? 20000 : 5 * MINUTE, line_returns);
}

static void line_passes(struct loop_event *e)
{
	(void)e;
	carrier.down = false;
}

static void line_dead(void)
{
	static struct loop_event end;

	carrier.down = true;
	ends(&end, 10 * MINUTE, line_passes);
}

static void weather_clears(struct loop_event *e)
{
	(void)e;
	carrier.loss = 0;
	carrier.jitter_ms = 0;
	carrier.rtt_ms = 20;
}

static void weather(void)
{
	static struct loop_event end;

	carrier.loss = 5 + sim_below(55);
	carrier.jitter_ms = sim_below(300);
	carrier.rtt_ms = 5 + sim_below(400);
	ends(&end, 5 * MINUTE, weather_clears);
}

/* The interval must find its way to it; a port that was silent for longer is lost meanwhile. */
static void nat_hurries(void)
{
	carrier.udp_timeout_ms = 25000 + sim_below(275000);
	disturb(10 * MINUTE);
}

static void wall_falls(void)
{
	wall_flush();
	if (router.gateway && !wall_backend.unheard)
		gateway_firewall_changed(router.gateway);
}

static void wall_obeys(struct loop_event *e)
{
	(void)e;
	wall.failing = 0;
}

static void wall_refuses(void)
{
	static struct loop_event end;

	static void (*const besides[])(void) = { wall_falls, renumber, server_moves, carrier_flush };
	const uint32_t which = sim_below(6);

	wall.failing = 10 + sim_below(90);
	if (which < sizeof(besides) / sizeof(besides[0]))
		besides[which]();
	ends(&end, MINUTE, wall_obeys);
}

static void restart_soon(void)
{
	const uint64_t ms = 100 + sim_below(20000);

	router_restart_in(ms);
	disturb(ms);
}

static void kill_it(struct loop_event *e)
{
	(void)e;
	router_end(END_KILL, false);
	restart_soon();
}

static void killed(void)
{
	kill_it(NULL);
}

static void kill_now(void)
{
	static struct loop_event now;

	if (!home_is_calm())
		loop_in(&now, 0, kill_it);
}

/* Just when somebody was granted something. */
static void killed_at_work(void)
{
	clients_one_comes(kill_now);
}

static void power_lost(void)
{
	carrier_flush();
	router_end(END_POWER, false);
	restart_soon();
}

static void ended(void)
{
	router_end(END_TERM, false);
	restart_soon();
}

static void file_rots(void)
{
	router_end(sim_below(2) ? END_KILL : END_POWER, true);
	restart_soon();
}

static bool thief; /* is there: sooner or later a mapping must have another port */

static void thief_goes(struct loop_event *e)
{
	(void)e;
	thief = false;
	sockets_take_port(LEASE_UDP, 0);
}

/* While the gateway is not there another program takes one of its ports. */
static void port_stolen(void)
{
	static struct loop_event end;
	const struct mapping *m = some_mapping();

	if (!m)
		return;
	sockets_take_port(m->lease->key.protocol, m->lease->relay_port);
	thief = router.epoch_excused = true;
	killed();
	ends(&end, 10 * MINUTE, thief_goes);
}

static void disk_empties(struct loop_event *e)
{
	(void)e;
	router.disk_full = false;
}

static void disk_full(void)
{
	static struct loop_event end;

	router.disk_full = true;
	router.written = false;
	ends(&end, 10 * MINUTE, disk_empties);
	disturb(5 * MINUTE);
}

static void disk_wakes(struct loop_event *e)
{
	(void)e;
	loop_work_ms = 20;
}

static void disk_hangs(void)
{
	static struct loop_event end;

	loop_work_ms = 30000;
	ends(&end, 3 * MINUTE, disk_wakes);
	disturb(3 * MINUTE + 30000);
}

static void sleeps(void)
{
	loop_sleep(3000 + sim_below((uint32_t)(8 * HOUR)));
	clients_after_sleep();
}

static void clock_stepped(void)
{
	loop_step_wall((int64_t)sim_below(1000000000) - 500000000);
}

static const struct fault {
	const char *name;
	void (*strikes)(void);
} faults[] = {
	{ "renumbered", renumber },
	{ "forgotten", carrier_flush },
	{ "one port", one_port },
	{ "servers silent", servers_silent },
	{ "servers hang up", servers_hang_up },
	{ "server moves", server_moves },
	{ "line moves", move_line },
	{ "line lost", line_lost },
	{ "line dead", line_dead },
	{ "weather", weather },
	{ "NAT hurries", nat_hurries },
	{ "firewall flushed", wall_falls },
	{ "firewall refuses", wall_refuses },
	{ "killed", killed },
	{ "killed at work", killed_at_work },
	{ "power lost", power_lost },
	{ "ended", ended },
	{ "file rots", file_rots },
	{ "port stolen", port_stolen },
	{ "disk full", disk_full },
	{ "disk hangs", disk_hangs },
	{ "sleep", sleeps },
	{ "clock stepped", clock_stepped },
	{ "clients vanish", clients_vanish },
	{ "clients delete all", clients_delete_all },
	{ "greedy client", clients_be_greedy },
};
enum { FAULTS = sizeof(faults) / sizeof(faults[0]) };
static unsigned struck[FAULTS], struck_all;

static void strike(struct loop_event *e)
{
	const uint32_t which = sim_below(FAULTS);

	(void)e;
	if (router.verbose)
		printf("# %.3f --- %s ---\n", (double)loop_true_ms() / 1e3, faults[which].name);
	disturb(0);
	faults[which].strikes();
	struck[which]++;
	struck_all++;
}

/* --- what is looked at always --- */

/* How it was when it was looked at last. */
static struct before {
	uint64_t epoch_ms; /* true time of its begin */
	uint32_t epoch_ip;
	uint64_t announced;
	unsigned life;
	size_t count;
	struct {
		struct lease_key key;
		uint64_t promise; /* in that life: another for a mapping made anew */
		uint16_t relay_port;
		struct endpoint outer;
	} told[PERMANENTS_MAX];
} before;

static void check_epoch(const struct gateway *g)
{
	const uint64_t epoch_ms = loop_true_ms() - (clock_ms() - g->epoch_ms);
	const bool younger = epoch_ms > before.epoch_ms + 1000, older = epoch_ms + 1000 < before.epoch_ms;
	const bool moved = g->epoch_ip != before.epoch_ip;

	if (younger && !moved && !router.epoch_excused && !router.file_late) /* an older file has the address of before */
		breach(EPOCH_RULES, "the epoch began anew for no reason");
	if (older && !router.file_late)
		breach(EPOCH_RULES, "the epoch is %llu s older", (unsigned long long)(before.epoch_ms - epoch_ms) / 1000);
	if (moved && before.epoch_ip && !younger && !router.file_late)
		breach(EPOCH_RULES, "the public address is another, the epoch is not");
	if (g->public_ip && g->public_ip != g->epoch_ip)
		breach(EPOCH_RULES, "the epoch is of another public address");
	before.epoch_ms = epoch_ms;
	before.epoch_ip = g->epoch_ip;
	router.epoch_excused = thief;
	if (router.written)
		router.file_late = false;
}

static void check_announcements(const struct gateway *g)
{
	const bool announced = router.announced != before.announced;

	for (size_t i = 0; i < before.count; i++) {
		const struct lease *l = leases_find(g->leases, &before.told[i].key);
		const struct mapping *m = l ? l->owner : NULL;

		if (!m || m->outer.port == 0 || endpoint_equal(&m->outer, &before.told[i].outer))
			continue;
		if (before.life == router.lives && (before.told[i].promise != m->promise || before.told[i].relay_port != l->relay_port))
			continue; /* deleted, and made anew */
		if (!announced)
			breach(CHANGES_ANNOUNCED, "%s relay=%u has another outer endpoint, in silence", protocol_name(l->key.protocol), l->relay_port);
	}
	before.announced = router.announced;
	before.life = router.lives;
	before.count = 0;
	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		const struct mapping *m = l->owner;

		if (m->told && m->outer.port) {
			before.told[before.count].key = l->key;
			before.told[before.count].promise = m->promise;
			before.told[before.count].relay_port = l->relay_port;
			before.told[before.count++].outer = m->outer;
		}
	}
}

static void check_ports(const struct gateway *g)
{
	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		const struct mapping *m = l->owner;

		for (const struct lease *k = leases_next(g->leases, l); k; k = leases_next(g->leases, k))
			if (k->relay_port == l->relay_port && k->key.protocol == l->key.protocol)
				breach(PORTS_APART, "relay port %u is two mappings'", l->relay_port);
		if (m->punch && punch_port(m->punch) != l->relay_port)
			breach(PORTS_APART, "a mapping's relay port is %u, its hole's %u", l->relay_port, punch_port(m->punch));
	}
}

static bool leads_to(const struct firewall_mapping *rule, const struct lease *l)
{
	return rule && rule->client_ip == l->key.client_ip && rule->internal_port == l->key.internal_port;
}

/* A rule that no mapping has. */
static const struct firewall_mapping *stray(const struct gateway *g)
{
	for (const struct firewall_mapping *m = wall.mappings; m < wall.mappings + wall.count; m++) {
		const struct lease *l = leases_find_relay(g->leases, m->protocol, m->relay_port);

		if (!l || !leads_to(m, l))
			return m;
	}
	return NULL;
}

static bool has_rule(const struct lease *l)
{
	const struct firewall_mapping *rule = wall_find(l->key.protocol, l->relay_port);

	return leads_to(rule, l) && endpoint_equal(&rule->outer, &((const struct mapping *)l->owner)->outer);
}

/* What was asked of the firewall just now takes its threads a moment. */
static void await_firewall(bool missing_too)
{
	for (int i = 0; i < 3 && router.gateway; i++) {
		const struct gateway *g = router.gateway;
		bool late = stray(g) != NULL;

		for (const struct lease *l = leases_next(g->leases, NULL); missing_too && l; l = leases_next(g->leases, l))
			late |= !has_rule(l);
		if (!late)
			return;
		loop_run(loop_ms() + 4 * loop_work_ms);
	}
}

static void check_leaks(void)
{
	const struct firewall_mapping *m;

	await_firewall(false);
	m = router.gateway ? stray(router.gateway) : NULL;
	if (m)
		breach(NOTHING_LEAKED, "a rule leads %s relay=%u to nobody's port %u", protocol_name(m->protocol), m->relay_port, m->internal_port);
}

static void tick(void)
{
	const struct gateway *g = router.gateway;

	if (!g)
		return;
	check_epoch(g);
	check_announcements(g);
	check_ports(g);
	if (!wall.failing && loop_ms() >= calm_ms + 5000)
		check_leaks();
	clients_check(false);
}

/* --- what is looked at when all is calm --- */

static void check_rule(const struct mapping *m)
{
	const struct lease *l = m->lease;
	const struct firewall_mapping *rule = wall_find(l->key.protocol, l->relay_port);
	char is[ENDPOINT_TEXT_MAX], says[ENDPOINT_TEXT_MAX];

	if (!leads_to(rule, l))
		breach(RULES_STAND, "%s relay=%u has no rule", protocol_name(l->key.protocol), l->relay_port);
	else if (!endpoint_equal(&rule->outer, &m->outer))
		breach(RULES_STAND, "%s relay=%u: outer=%s, the firewall has %s", protocol_name(l->key.protocol), l->relay_port,
			endpoint_text(&m->outer, is), endpoint_text(&rule->outer, says));
}

static void check_outer(const struct mapping *m)
{
	const struct lease *l = m->lease;
	const struct endpoint true_outer = carrier_outer(l->key.protocol, l->relay_port);
	char is[ENDPOINT_TEXT_MAX], says[ENDPOINT_TEXT_MAX];

	if (mapping_hole(m)->state != HOLE_OPEN)
		breach(OUTER_TRUE, "%s relay=%u is not open", protocol_name(l->key.protocol), l->relay_port);
	else if (!endpoint_equal(&m->outer, &true_outer) || !endpoint_equal(&mapping_hole(m)->outer, &true_outer))
		breach(OUTER_TRUE, "%s relay=%u: outer=%s, the NAT has %s", protocol_name(l->key.protocol), l->relay_port, endpoint_text(&m->outer, says),
			endpoint_text(&true_outer, is));
	if (!carrier.nat && hole_wake_ms(mapping_hole(m)) != UINT64_MAX)
		breach(RATE_KEPT, "%s relay=%u asks, though the line has no NAT", protocol_name(l->key.protocol), l->relay_port);
	if (!sockets_bound(l->key.protocol, carrier.wan_ip, l->relay_port))
		breach(PORTS_APART, "%s relay=%u has no socket", protocol_name(l->key.protocol), l->relay_port);
}

static void check_stranger(const struct mapping *m)
{
	const struct lease *l = m->lease;
	struct endpoint local;

	if (!carrier_stranger(l->key.protocol, &m->outer, &local) || !leads_to(wall_find(l->key.protocol, local.port), l))
		breach(STRANGERS_PASS, "%s relay=%u: a stranger does not reach it", protocol_name(l->key.protocol), l->relay_port);
}

static void check_exempt(enum lease_protocol protocol)
{
	const struct wall_servers *exempt = &wall.exempt[protocol == LEASE_TCP];
	size_t count;
	const struct endpoint *list = servers_list(router.gateway->servers, protocol, &count);

	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (k < exempt->count && !endpoint_equal(&exempt->at[k], &list[i]))
			k++;
		if (k == exempt->count)
			breach(RULES_STAND, "a %s server is not exempt", protocol_name(protocol));
	}
}

/* What is there beside the mappings: pool, scouts, watch holes, a check of each protocol; timers of all parts. */
static void check_size(const struct gateway *g)
{
	const struct sockets_count is = sockets_count();
	const size_t bytes = router_bytes();
	size_t count[2] = { 0 };

	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		count[l->key.protocol == LEASE_TCP]++;
	if (is.udp > count[0] + 2 + 1 + 1 + 2 || is.holders > count[1] + 2 + 1 + 1 + 1 || is.dials > 3 * (count[1] + 4) + NATCHECK_QUESTIONS)
		breach(MEMORY_BOUND, "udp=%zu for %zu mappings, holders=%zu dials=%zu for %zu", is.udp, count[0], is.holders, is.dials, count[1]);
	if (loop_handles() > count[0] + 2 * count[1] + 8 + 4 + 24)
		breach(MEMORY_BOUND, "handles=%zu for %zu mappings", loop_handles(), count[0] + count[1]);
	if (bytes > 160000 + 3000 * (count[0] + count[1]))
		breach(MEMORY_BOUND, "%zu bytes for %zu mappings", bytes, count[0] + count[1]);
	if (router.verbose)
		printf("# handles=%zu udp=%zu holders=%zu dials=%zu bytes=%zu mappings=%zu+%zu\n", loop_handles(), is.udp, is.holders, is.dials,
			bytes, count[0], count[1]);
}

static void check_calm(bool told)
{
	const struct gateway *g;

	tick();
	check_leaks();
	await_firewall(true);
	g = router.gateway;
	if (!g) {
		breach(LIVES, "the gateway is not there");
		return;
	}
	for (const struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		check_rule(l->owner);
		check_outer(l->owner);
		check_stranger(l->owner);
	}
	check_exempt(LEASE_UDP);
	check_exempt(LEASE_TCP);
	check_size(g);
	if (g->public_ip != (carrier.nat ? carrier.public_ip : carrier.wan_ip))
		breach(OUTER_TRUE, "the public address is another than it says");
	clients_check(told);
}

/* --- one after the other --- */

static void pass(uint64_t until_ms)
{
	while (loop_ms() < until_ms) {
		loop_run(loop_ms() + TICK_MS < until_ms ? loop_ms() + TICK_MS : until_ms);
		tick();
	}
}

static void faulty_time(void)
{
	static struct loop_event second;
	const uint64_t begin_ms = loop_ms();

	strike(NULL);
	if (sim_below(3) == 0)
		loop_in(&second, sim_below(120000), strike);
	while (loop_planned(&second) || loop_ms() < calm_ms + SETTLE_MS)
		pass(loop_planned(&second) ? second.at_ms : calm_ms + SETTLE_MS);
	check_calm(false);
	pass(begin_ms + FAULT_MS);
	check_calm(true);
}

/* Some were refused before, and have their turn now: each of them is a promise, written at once. */
static uint64_t new_grants(void)
{
	return clients_count.granted - clients_count.renewed;
}

static void quiet_time(void)
{
	const uint64_t begin_ms = loop_ms();
	uint64_t writes;

	clients_rest(true);
	pass(begin_ms + QUIET_MS - HOUR);
	writes = router.writes - new_grants();
	pass(begin_ms + QUIET_MS);
	clients_rest(false);
	writes = router.writes - new_grants() - writes;
	if (writes > 61)
		breach(FEW_WRITES, "%llu writes in an hour with %zu clients", (unsigned long long)writes, clients_count.holding);
	check_calm(true);
}

static void count_rates(struct loop_event *e)
{
	carrier_count_rates();
	loop_in(e, CARRIER_RATE_MS, count_rates);
}

/*
 * A burst, then so many a second. Repetitions, two of each question, go when they must, and take the places of those that
 * come after; a NAT check takes none.
 */
static void check_rates(void)
{
	const unsigned most = 3 * HEALTH_BURST + HOME_RATE * CARRIER_RATE_MS / 1000 + 3 * NATCHECK_QUESTIONS;

	for (size_t i = 0; i < STUN + WEB; i++)
		for (int tcp = 0; tcp < 2; tcp++)
			if (carrier.hosts[i].worst[tcp] > most)
				breach(RATE_KEPT, "server %zu was asked %u times in %u s over %s", i, carrier.hosts[i].worst[tcp], CARRIER_RATE_MS / 1000,
					tcp ? "TCP" : "UDP");
}

static void build_world(void)
{
	static const uint32_t ips[STUN + WEB] = { 0xc6336401u, 0xc633640bu, 0xc6336415u, 0xc633641fu, 0xc6120050u, 0xc6120180u };

	carrier = (struct carrier){ .wan_ip = 0x64400002u, .public_ip = 0xcb007101u, .nat = true, .rtt_ms = 20, .udp_timeout_ms = 120000,
		.tcp_timeout_ms = 300000, .host_count = STUN + WEB };
	for (size_t i = 0; i < STUN + WEB; i++)
		carrier.hosts[i] = (struct carrier_host){ .at = endpoint_ipv4(ips[i], i < STUN ? 3478 : 80) };
	carrier.hosts[0].other = endpoint_ipv4(0xc6130102u, 3478);
	loop_resolve = resolve;
}

static void report(unsigned seed)
{
	unsigned worst = 0;

	for (size_t i = 0; i < STUN + WEB; i++)
		for (int tcp = 0; tcp < 2; tcp++)
			worst = carrier.hosts[i].worst[tcp] > worst ? carrier.hosts[i].worst[tcp] : worst;
	printf("# seed %u: %.1f days, %u faults, %u lives, %llu grants, %llu renewals, %llu deletions, %llu refusals, %llu faults told, %llu writes\n", seed,
		(double)loop_true_ms() / (double)DAY, struck_all, router.lives, (unsigned long long)clients_count.granted,
		(unsigned long long)clients_count.renewed, (unsigned long long)clients_count.deleted, (unsigned long long)clients_count.refused,
		(unsigned long long)clients_count.faults, (unsigned long long)router.writes);
	printf("# %llu questions to servers, one was asked at most %u times in %u s\n#", (unsigned long long)carrier.questions, worst, CARRIER_RATE_MS / 1000);
	for (unsigned i = 0; i < FAULTS; i++)
		printf(" %s=%u", faults[i].name, struck[i]);
	printf("\n");
}

int main(int argc, char **argv)
{
	const unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 1000, seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	static struct loop_event rates;
	int broken = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	router.verbose = argc > 3 && strcmp(argv[3], "-v") == 0;
	sim_seed(seed);
	build_world();
	router_setup();
	loop_boot();
	router.epoch_excused = true;
	router_start();
	clients_begin();
	loop_in(&rates, CARRIER_RATE_MS, count_rates);
	pass(loop_ms() + 30 * MINUTE);
	check_calm(true);
	for (number = 1; number <= runs * A_RUN; number++)
		if (number % 10 == 0)
			quiet_time();
		else
			faulty_time();
	check_rates();
	report(seed);
	router_end(END_TERM, false);
	router_cleanup();
	printf("1..%d\n", PROMISES);
	for (int i = 0; i < PROMISES; i++) {
		printf("%s %d - %s\n", breaches[i] ? "not ok" : "ok", i + 1, said[i]);
		broken += breaches[i] > 0;
	}
	return broken > 0;
}
