/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A month behind a carrier's NAT: leases, their holes, and a watch hole, as the gateway has
 * them, while the carrier renumbers, forgets and drops, servers die, clients come and go, and
 * the machine is suspended.
 *
 *	sim_hole [RUNS]     one month for each 50 of them; 1,000 unless told
 *
 * What must be true: a hole that is bad (not open, or its outer endpoint not what the NAT has)
 * is good again soon, counted while the line is up and a server lives; nobody spins; nobody
 * asks more in an hour than the worst hour needs; leases and relay ports stay one to one.
 * UDP only. Speaks TAP; chance is seeded by the month's number.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/hole.h"
#include "lib/leases.h"
#include "test/sim/nat.h"

#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define MONTH  (30 * DAY)

#define KEEPALIVE_MS 20000
#define WATCH_MS     5000
#define RECHECK_MS   5000 /* as gateway.c */
#define RELAY_LOW    1	  /* relay port = slot; slot 0 is the watch hole's */
#define RELAY_HIGH   24
#define LEASES_MAX   16
#define PER_CLIENT   6
#define STEPS_MAX    12 /* of one hole in one moment */

/*
 * How long a hole may be bad in fair weather. Noticed by the watch hole within 5 s; a dead
 * server costs 2.5 s, a recheck waits up to 5 s; lost, it asks every 30 s at the slowest.
 * With loss both a question and its retransmissions may vanish.
 */
static const uint64_t bad_max_ms[] = { [0] = 45 * SECOND, [1] = 60 * SECOND, [10] = 75 * SECOND, [30] = 150 * SECOND };
/* Of a hole that was good, in clear weather: the watch hole's 5 s, a recheck's 5 s, and the questions. */
#define CLEAR_MAX_MS (12 * SECOND)
/* 180 keepalives; in an outage of an hour 2 servers, 3 times every 30 s, twice that for a hole that is torn. */
#define SENT_MAX 1500u

struct client_hole {
	struct hole hole;
	unsigned slot;
	struct lease *lease;	 /* NULL: the watch hole */
	uint64_t bad_ms;	 /* how long it has been bad in fair weather */
	bool clouded;		 /* something was broken or lossy since it was good last */
	uint32_t sent, hour_sent; /* in all; in this hour */
};

struct counts {
	uint64_t sent, changes, holes, worst_bad_ms[31], worst_clear_ms, bad_ms, open_ms;
	uint32_t worst_hour;
	unsigned spun, too_bad, too_many, leases_wrong;
};

struct world {
	struct sim sim;
	struct sim_nat nat;
	struct leases *leases;
	struct client_hole watch;
	struct client_hole *holes[RELAY_HIGH + 1];
	uint64_t recheck_ms, next_hour_ms;
	uint64_t line_back_ms, a_back_ms, b_back_ms; /* 0: is there */
	struct counts *counts;
};

/* A moment in the future, about `mean` from now. */
static uint64_t about(const struct world *w, uint64_t mean)
{
	return w->sim.now_ms + mean / 4 + sim_below((uint32_t)(mean * 3 / 2 / 16)) * 16ull;
}

/* --- holes --- */

static void begin_hole(struct world *w, struct client_hole *c, unsigned slot, uint32_t keepalive_ms)
{
	const struct hole_config config = { .keepalive_ms = keepalive_ms, .random = sim_random };

	*c = (struct client_hole){ .slot = slot };
	hole_init(&c->hole, &config, w->sim.now_ms);
	w->counts->holes++;
}

static void recheck_all(struct world *w)
{
	if (w->sim.now_ms < w->recheck_ms)
		return;
	w->recheck_ms = w->sim.now_ms + RECHECK_MS;
	for (unsigned i = 0; i <= RELAY_HIGH; i++)
		if (w->holes[i])
			hole_recheck(&w->holes[i]->hole, w->sim.now_ms);
}

static void step(struct world *w, struct client_hole *c)
{
	const struct endpoint servers[2] = { w->nat.a, w->nat.b };
	struct hole_step s;
	enum hole_action action;
	unsigned steps = 0;

	while ((action = hole_step(&c->hole, servers, 2, w->sim.now_ms, &s)) != HOLE_WAIT && ++steps < STEPS_MAX) {
		if (action == HOLE_SEND) {
			sim_nat_send(&w->nat, &w->sim, c->slot, &s.to, s.bytes, s.len);
			c->sent++;
			c->hour_sent++;
		} else if (c == &w->watch && (action == HOLE_SUSPECT || action == HOLE_CHANGED)) {
			recheck_all(w);
		}
		w->counts->changes += action == HOLE_CHANGED;
	}
	w->counts->spun += steps == STEPS_MAX || hole_wake_ms(&c->hole) <= w->sim.now_ms;
}

static bool is_good(const struct world *w, const struct client_hole *c)
{
	const struct endpoint *true_outer = sim_nat_outer(&w->nat, c->slot, w->sim.now_ms);

	return c->hole.state == HOLE_OPEN && true_outer && endpoint_equal(true_outer, &c->hole.outer);
}

/* Time has gone by, until now_ms: who was bad all the while? */
static void judge(struct world *w, struct client_hole *c, uint64_t passed_ms)
{
	const bool fair = !w->line_back_ms && !(w->a_back_ms && w->b_back_ms);
	const bool clear = fair && !w->a_back_ms && !w->b_back_ms && !w->sim.loss && c->hole.state == HOLE_OPEN;
	const unsigned loss = w->sim.loss;

	if (!clear || is_good(w, c))
		c->clouded = !clear;
	if (is_good(w, c) || !fair) {
		c->bad_ms = 0;
		w->counts->open_ms += fair ? passed_ms : 0;
		return;
	}
	c->bad_ms += passed_ms;
	w->counts->bad_ms += passed_ms;
	if (c->bad_ms > w->counts->worst_bad_ms[loss])
		w->counts->worst_bad_ms[loss] = c->bad_ms;
	if (!c->clouded && c->bad_ms > w->counts->worst_clear_ms)
		w->counts->worst_clear_ms = c->bad_ms;
	w->counts->too_bad += c->bad_ms > bad_max_ms[loss] && c->bad_ms - passed_ms <= bad_max_ms[loss];
}

static void end_hour(struct world *w, struct client_hole *c)
{
	/* the watch hole asks four times as often */
	const uint32_t sent = c->hour_sent / (c == &w->watch ? 4 : 1);

	if (sent > w->counts->worst_hour)
		w->counts->worst_hour = sent;
	w->counts->too_many += sent > SENT_MAX;
	w->counts->sent += c->hour_sent;
	c->hour_sent = 0;
}

/* --- leases --- */

static void end_lease(struct world *w, struct client_hole *c)
{
	end_hour(w, c);
	leases_remove(w->leases, c->lease);
	w->holes[c->slot] = NULL;
	free(c);
}

static void check_leases(struct world *w)
{
	size_t holes = 0;

	for (unsigned i = RELAY_LOW; i <= RELAY_HIGH; i++) {
		const struct client_hole *c = w->holes[i];

		holes += c != NULL;
		w->counts->leases_wrong += c && (c->lease->owner != c || c->lease->relay_port != i || leases_find(w->leases, &c->lease->key) != c->lease ||
			leases_find_relay(w->leases, LEASE_UDP, (uint16_t)i) != c->lease);
	}
	w->counts->leases_wrong += leases_count(w->leases) != holes;
}

/* A client maps or renews, as gateway.c does it; now and then it deletes instead. */
static void client_acts(struct world *w)
{
	const struct lease_key key = { LEASE_UDP, 0xc0a80100u + sim_below(4), (uint16_t)(7000 + sim_below(8)) };
	const uint64_t expires_ms = w->sim.now_ms + MINUTE + sim_below((uint32_t)(6 * HOUR));
	struct lease *l = leases_find(w->leases, &key);
	struct client_hole *c;
	uint16_t relay = leases_preferred_relay(&key, RELAY_LOW, RELAY_HIGH);

	if (l && sim_below(4) == 0)
		end_lease(w, l->owner);
	else if (l)
		l->expires_ms = expires_ms;
	if (l || leases_room(w->leases, key.client_ip) < 0)
		return;
	while (leases_find_relay(w->leases, LEASE_UDP, relay))
		relay = relay == RELAY_HIGH ? RELAY_LOW : (uint16_t)(relay + 1);
	w->counts->leases_wrong += leases_add(w->leases, &key, relay, expires_ms, &l) < 0;
	c = malloc(sizeof(*c));
	begin_hole(w, c, relay, KEEPALIVE_MS);
	c->lease = l;
	l->owner = w->holes[relay] = c;
}

static uint64_t next_expiry_ms(const struct world *w)
{
	uint64_t first = UINT64_MAX;

	for (const struct lease *l = leases_next(w->leases, NULL); l; l = leases_next(w->leases, l))
		first = l->expires_ms < first ? l->expires_ms : first;
	return first;
}

static void expire(struct world *w)
{
	struct lease *next;

	for (struct lease *l = leases_next(w->leases, NULL); l; l = next) {
		next = leases_next(w->leases, l);
		if (w->sim.now_ms >= l->expires_ms)
			end_lease(w, l->owner);
	}
}

/* --- what happens to the line --- */

static void renumber(struct world *w)
{
	w->nat.outer_ip = 0xcb007101u + sim_below(200);
	sim_nat_flush(&w->nat);
}

static void forget(struct world *w)
{
	sim_nat_flush(&w->nat);
}

static void weather(struct world *w)
{
	static const unsigned losses[] = { 0, 0, 0, 1, 10, 30 };

	w->sim.loss = losses[sim_below(6)];
	w->nat.rtt_ms = 5 + sim_below(300);
	w->nat.jitter_ms = sim_below(2) ? sim_below(200) : 0;
}

/* Never shorter than the keepalive and what a question that is repeated takes. */
static void other_timeout(struct world *w)
{
	w->nat.timeout_ms = 25000 + sim_below(275000);
}

static void line_breaks(struct world *w)
{
	w->nat.line = LINE_BLOCKED;
	w->line_back_ms = about(w, sim_below(4) ? 10 * SECOND : 15 * MINUTE);
}

static void server_dies(struct world *w)
{
	const uint64_t back_ms = about(w, sim_below(2) ? MINUTE : HOUR);

	if (sim_below(2)) {
		w->nat.a_dead = true;
		w->a_back_ms = back_ms;
	} else {
		w->nat.b_dead = true;
		w->b_back_ms = back_ms;
	}
}

/* The clock of holes goes on meanwhile (CLOCK_BOOTTIME); nobody asked. */
static void suspended(struct world *w)
{
	w->sim.now_ms += 10 * SECOND + sim_below((uint32_t)(8 * HOUR));
}

static const struct happening {
	const char *name;
	uint64_t mean_ms;
	void (*happens)(struct world *w);
} happenings[] = {
	{ "renumbered", 8 * HOUR, renumber },
	{ "flushed", 6 * HOUR, forget },
	{ "weather", 40 * MINUTE, weather },
	{ "timeout", 5 * HOUR, other_timeout },
	{ "line", 3 * HOUR, line_breaks },
	{ "server", 90 * MINUTE, server_dies },
	{ "suspended", 4 * DAY, suspended },
	{ "client", 5 * MINUTE, client_acts },
};

enum { HAPPENINGS = sizeof(happenings) / sizeof(happenings[0]) };

/* What was broken and has its time. */
static void mend(struct world *w)
{
	const uint64_t now_ms = w->sim.now_ms;

	if (w->line_back_ms && now_ms >= w->line_back_ms) {
		w->nat.line = LINE_NAT;
		w->line_back_ms = 0;
	}
	if (w->a_back_ms && now_ms >= w->a_back_ms) {
		w->nat.a_dead = false;
		w->a_back_ms = 0;
	}
	if (w->b_back_ms && now_ms >= w->b_back_ms) {
		w->nat.b_dead = false;
		w->b_back_ms = 0;
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return b && b < a ? b : a;
}

/* When something is next to happen, in the world or in a machine. */
static uint64_t next_ms(const struct world *w, const uint64_t happens_ms[HAPPENINGS])
{
	uint64_t next = earlier(earlier(w->next_hour_ms, sim_wake_ms(&w->sim)), next_expiry_ms(w));

	next = earlier(earlier(earlier(next, w->line_back_ms), w->a_back_ms), w->b_back_ms);
	for (unsigned i = 0; i < HAPPENINGS; i++)
		next = earlier(next, happens_ms[i]);
	next = earlier(next, hole_wake_ms(&w->watch.hole));
	for (unsigned i = RELAY_LOW; i <= RELAY_HIGH; i++)
		if (w->holes[i])
			next = earlier(next, hole_wake_ms(&w->holes[i]->hole));
	return next > w->sim.now_ms ? next : w->sim.now_ms;
}

static struct client_hole *hole_at(struct world *w, unsigned slot)
{
	return slot ? w->holes[slot] : &w->watch;
}

static void turn(struct world *w, uint64_t passed_ms)
{
	const bool hour = w->sim.now_ms >= w->next_hour_ms;
	struct sim_packet p;

	for (unsigned i = 0; i <= RELAY_HIGH; i++)
		if (hole_at(w, i))
			judge(w, hole_at(w, i), passed_ms);
	mend(w);
	expire(w);
	while (sim_nat_take(&w->nat, &w->sim, &p))
		if (hole_at(w, p.slot)) /* else it came too late */
			hole_receive(&hole_at(w, p.slot)->hole, &p.from, p.bytes, p.len, w->sim.now_ms);
	for (unsigned i = 0; i <= RELAY_HIGH; i++) {
		struct client_hole *c = hole_at(w, i);

		if (c && (hole_wake_ms(&c->hole) <= w->sim.now_ms))
			step(w, c);
		if (c && hour)
			end_hour(w, c);
	}
	if (hour) {
		check_leases(w);
		w->next_hour_ms = w->sim.now_ms + HOUR;
	}
}

static void month(unsigned seed, struct counts *counts)
{
	static struct world w;
	uint64_t happens_ms[HAPPENINGS], end_ms;

	w = (struct world){ .counts = counts,
		.nat = { .line = LINE_NAT, .mapping = STUNWAY_ENDPOINT_INDEPENDENT, .filtering = STUNWAY_ENDPOINT_INDEPENDENT,
			.ports = STUNWAY_PORTS_RANDOM, .rtt_ms = 20, .a = endpoint_ipv4(0xc6336401u, 3478), .b = endpoint_ipv4(0xc633640bu, 3478),
			.second_port = 3479, .timeout_ms = 120000 } };
	sim_seed(seed);
	w.sim.now_ms = DAY;
	w.next_hour_ms = w.sim.now_ms + HOUR;
	end_ms = w.sim.now_ms + MONTH;
	if (leases_new(&w.leases, LEASES_MAX, PER_CLIENT) < 0)
		abort();
	begin_hole(&w, &w.watch, 0, WATCH_MS);
	for (unsigned i = 0; i < HAPPENINGS; i++)
		happens_ms[i] = about(&w, happenings[i].mean_ms);
	while (w.sim.now_ms < end_ms) {
		const uint64_t before_ms = w.sim.now_ms;

		w.sim.now_ms = next_ms(&w, happens_ms);
		turn(&w, w.sim.now_ms - before_ms);
		for (unsigned i = 0; i < HAPPENINGS; i++)
			if (w.sim.now_ms >= happens_ms[i]) {
				happenings[i].happens(&w);
				happens_ms[i] = about(&w, happenings[i].mean_ms);
			}
	}
	while (leases_next(w.leases, NULL))
		end_lease(&w, leases_next(w.leases, NULL)->owner);
	end_hour(&w, &w.watch);
	leases_free(w.leases);
}

static bool ok(bool yes, const char *what)
{
	static int number;

	printf("%s %d - %s\n", yes ? "ok" : "not ok", ++number, what);
	return yes;
}

int main(int argc, char **argv)
{
	const unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	const unsigned months = runs > 50 ? runs / 50 : 1;
	static struct counts c;
	bool good;

	for (unsigned i = 0; i < months; i++)
		month(i, &c);
	printf("# %u months, %llu holes, %llu questions, %llu changes noticed, bad in fair weather %.4f %% of the time\n", months,
		(unsigned long long)c.holes, (unsigned long long)c.sent, (unsigned long long)c.changes, 100.0 * (double)c.bad_ms / (double)(c.bad_ms + c.open_ms));
	printf("# longest bad in clear weather: %.1f s; with a server dead or after an outage: %.1f s, at 1 %% loss %.1f s, at 10 %% %.1f s, at 30 %% %.1f s; most questions in an hour %u\n",
		(double)c.worst_clear_ms / 1e3, (double)c.worst_bad_ms[0] / 1e3, (double)c.worst_bad_ms[1] / 1e3, (double)c.worst_bad_ms[10] / 1e3, (double)c.worst_bad_ms[30] / 1e3, c.worst_hour);
	good = ok(c.changes > 0 && c.too_bad == 0, "After each change every hole is open and true again within its bound");
	good &= ok(c.worst_clear_ms > 0 && c.worst_clear_ms <= CLEAR_MAX_MS, "In clear weather that takes no hole longer than 12 s");
	good &= ok(c.spun == 0, "No hole spins: after its steps it wants to be woken later");
	good &= ok(c.too_many == 0, "No hole asks more in an hour than the worst hour needs");
	good &= ok(c.leases_wrong == 0, "Leases and relay ports stay one to one, and quotas hold");
	return !good;
}
