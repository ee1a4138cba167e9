/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inquiry about lifetimes behind a NAT that forgets idle mappings, before a server
 * that answers to RESPONSE-PORT.
 */
#include "test/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/lifetime.h"
#include "test/sim/sim.h"

#define BEGIN_MS 500000
#ifndef RUNS /* more by -DRUNS=… */
#define RUNS 200
#endif

enum mood { GOOD, REFUSING, IGNORING, MUTE, DEAD, BUSY };

/* One mapping of a slot; each new one has the next port. */
struct binding {
	unsigned slot;
	unsigned address;
	uint64_t used_ms, made_ms;
	bool replied, stream;
};

struct world {
	struct sim sim;
	struct endpoint server;
	enum mood mood;
	uint64_t lifetime_ms;
	uint64_t stream_ms; /* of a mapping that was answered and is used later than 2 s after it was made, as Linux; 0: the same */
	bool inbound_refresh;
	unsigned pool;	   /* outer addresses, drawn for each mapping */
	unsigned one_way_ms, jitter_ms;
	bool duplicates;
	uint64_t dead_from_ms;	  /* the server stops here, 0: never */
	uint64_t sleep_ms;	  /* nothing runs for 70 s from here on, 0: never */
	uint64_t renumber_ms;	  /* another outer address from here on, 0: never */
	struct binding bindings[4096];
	size_t count;
	unsigned sent, slots;
	struct lifetime *lifetime;
	struct lifetime_progress last;
};

static bool alive(const struct world *w, const struct binding *b, uint64_t at_ms)
{
	const bool renumbered = w->renumber_ms && at_ms >= w->renumber_ms && b->used_ms < w->renumber_ms;

	return !renumbered && at_ms - b->used_ms < (b->stream ? w->stream_ms : w->lifetime_ms);
}

static struct endpoint outer_of(const struct world *w, const struct binding *b)
{
	return endpoint_ipv4(0xcb007109u + b->address, (uint16_t)(20000 + (b - w->bindings)));
}

static struct endpoint nat_out(struct world *w, unsigned slot)
{
	struct binding *b = w->bindings + w->count;

	while (b > w->bindings)
		if ((--b)->slot == slot && alive(w, b, w->sim.now_ms)) {
			b->used_ms = w->sim.now_ms;
			b->stream = b->stream || (w->stream_ms && b->replied && b->used_ms > b->made_ms + 2000);
			return outer_of(w, b);
		}
	assert_true(w->count < sizeof(w->bindings) / sizeof(w->bindings[0]));
	b = &w->bindings[w->count++];
	*b = (struct binding){ .slot = slot, .address = w->pool ? sim_below(w->pool) : 0, .used_ms = w->sim.now_ms,
		.made_ms = w->sim.now_ms };
	if (w->renumber_ms && w->sim.now_ms >= w->renumber_ms)
		b->address += 100;
	return outer_of(w, b);
}

/* The slot that an answer reaches, -1 when nobody lives behind the port by then. */
static int nat_in(struct world *w, const struct endpoint *outer, uint64_t at_ms)
{
	const size_t i = outer->port - 20000u;

	if (i >= w->count || !alive(w, &w->bindings[i], at_ms) || outer_of(w, &w->bindings[i]).ip[3] != outer->ip[3])
		return -1;
	w->bindings[i].replied = true;
	if (w->inbound_refresh)
		w->bindings[i].used_ms = at_ms;
	return (int)w->bindings[i].slot;
}

/* The server is a round trip away from the NAT, which is next to us. */
static void serve(struct world *w, const struct inquiry_step *q, struct endpoint to)
{
	const uint64_t delay_ms = 2 * w->one_way_ms + (w->jitter_ms ? sim_below(w->jitter_ms) : 0);
	const struct endpoint mapped = to;
	struct stun_value port = { .u32 = 0 };
	struct stun_message m;
	uint8_t buf[256];
	size_t len;
	int slot;

	assert_int_equal(stun_decode(&m, q->bytes, q->len), 0);
	if (stun_get(&m, STUN_RESPONSE_PORT, &port) < 0)
		port.u32 = 0;
	if (w->mood == DEAD || (w->mood == MUTE && port.u32) || (w->dead_from_ms && w->sim.now_ms >= w->dead_from_ms))
		return;
	len = sim_answer(buf, q->bytes, q->len, &mapped, NULL);
	if (w->mood == BUSY || (w->mood == REFUSING && port.u32))
		len = sim_refusal(buf, q->bytes, q->len, w->mood == BUSY ? 500 : 420);
	else if (w->mood == GOOD && port.u32)
		to.port = (uint16_t)port.u32;
	if (sim_lost(&w->sim))
		return;
	for (int n = 0; n < (w->duplicates ? 2 : 1); n++) {
		const unsigned loss = w->sim.loss;

		slot = nat_in(w, &to, w->sim.now_ms + delay_ms);
		w->sim.loss = 0; /* is drawn above, before the NAT is touched */
		if (slot >= 0)
			sim_put(&w->sim, delay_ms + (unsigned)n, (unsigned)slot, &q->to, buf, len);
		w->sim.loss = loss;
	}
}

static void send_out(struct world *w, const struct inquiry_step *q)
{
	const struct endpoint outer = nat_out(w, q->slot);

	w->sent++;
	if (q->slot >= w->slots)
		w->slots = q->slot + 1;
	assert_true(q->slot < LIFETIME_SLOTS);
	assert_true(endpoint_equal(&q->to, &w->server));
	if (!sim_lost(&w->sim))
		serve(w, q, outer);
}

static void world_new(struct world *w, uint64_t lifetime_s)
{
	memset(w, 0, sizeof(*w));
	w->server = endpoint_ipv4(0xc0000201u, 3478);
	w->lifetime_ms = lifetime_s * 1000;
	w->one_way_ms = 30;
	w->sim.now_ms = BEGIN_MS;
}

static void look(struct world *w)
{
	struct lifetime_progress p;

	lifetime_progress(w->lifetime, w->sim.now_ms, &p);
	assert_true(p.alive_s >= w->last.alive_s);
	assert_true(p.phase >= w->last.phase);
	assert_true(p.dead_s == 0 || p.alive_s <= p.dead_s);
	w->last = p;
}

/* Runs to the end; the seconds it took. */
static uint64_t world_run(struct world *w, uint32_t max_s)
{
	const struct lifetime_config config = { .server = w->server, .max_s = max_s, .random = sim_random };
	enum inquiry_action action;
	struct inquiry_step step;
	struct sim_packet p;

	w->lifetime = lifetime_new(&config, w->sim.now_ms);
	assert_non_null(w->lifetime);
	for (;;) {
		uint64_t wake_ms;

		while ((action = lifetime_step(w->lifetime, w->sim.now_ms, &step)) == INQUIRY_SEND)
			send_out(w, &step);
		look(w);
		if (action == INQUIRY_DONE)
			break;
		wake_ms = lifetime_wake_ms(w->lifetime);
		assert_true(wake_ms > w->sim.now_ms);
		w->sim.now_ms = sim_wake_ms(&w->sim) < wake_ms ? sim_wake_ms(&w->sim) : wake_ms;
		if (w->sleep_ms && w->sim.now_ms >= w->sleep_ms) {
			w->sim.now_ms += 70000;
			w->sleep_ms = 0;
		}
		while (sim_take(&w->sim, &p))
			lifetime_receive(w->lifetime, p.slot, &p.from, p.bytes, p.len, w->sim.now_ms);
	}
	assert_int_equal(w->last.phase, LIFETIME_DONE);
	assert_true(lifetime_wake_ms(w->lifetime) == UINT64_MAX);
	lifetime_free(w->lifetime);
	if (getenv("LIFETIME_RATES"))
		print_message("%4u s, loss %2u: %u to %u, about %u s; reason %d, after %u s, %u sent, %u slots\n",
			(unsigned)(w->lifetime_ms / 1000), w->sim.loss, w->last.alive_s, w->last.dead_s, w->last.estimate_s,
			w->last.reason, (unsigned)(w->sim.now_ms - BEGIN_MS) / 1000, w->sent, w->slots);
	return (w->sim.now_ms - BEGIN_MS) / 1000;
}

static bool bounds_hold(const struct world *w)
{
	return w->last.alive_s * 1000ull <= w->lifetime_ms && (w->last.dead_s == 0 || w->lifetime_ms <= w->last.dead_s * 1000ull);
}

static const unsigned lifetimes_s[] = { 7, 20, 30, 60, 100, 120, 180, 300 };
#define LIFETIMES (sizeof(lifetimes_s) / sizeof(lifetimes_s[0]))

static void a_lifetime_is_told_within_close_bounds_in_about_twice_its_time(void **state)
{
	static struct world w;

	(void)state;
	sim_seed(1);
	for (size_t i = 0; i < LIFETIMES * 2; i++) {
		const unsigned s = lifetimes_s[i / 2];
		uint64_t took_s;

		world_new(&w, s);
		w.inbound_refresh = i & 1;
		took_s = world_run(&w, 600);
		assert_int_equal(w.last.reason, LIFETIME_OK);
		assert_true(bounds_hold(&w));
		assert_true(w.last.dead_s - w.last.alive_s <= 4 + s / 20);
		assert_true(took_s <= 10 + s * 13 / 5);
		assert_true(w.slots <= 40);
	}
}

static void round_lifetimes_are_estimated_exactly(void **state)
{
	static struct world w;

	(void)state;
	sim_seed(1);
	for (size_t i = 0; i < LIFETIMES; i++) {
		if (lifetimes_s[i] % 10)
			continue;
		world_new(&w, lifetimes_s[i]);
		world_run(&w, 600);
		assert_int_equal(w.last.estimate_s, lifetimes_s[i]);
	}
}

/* Away for a while in the midst: what was to be tested meanwhile is tested late, and proves more. */
static void a_sleep_in_the_midst_does_not_move_the_bounds(void **state)
{
	static struct world w;

	(void)state;
	for (unsigned at_s = 1; at_s < 200; at_s += 7) {
		sim_seed(at_s);
		world_new(&w, 120);
		w.sleep_ms = BEGIN_MS + at_s * 1000;
		world_run(&w, 600);
		assert_true(w.last.reason == LIFETIME_OK || w.last.reason == LIFETIME_UNSTEADY);
		assert_true(bounds_hold(&w));
	}
}

/* The idle slots are no streams, whatever was lost when they were opened; the witness is one. */
static void a_nat_that_keeps_streams_longer_does_not_confuse(void **state)
{
	static struct world w;

	(void)state;
	for (uint32_t seed = 0; seed < 20; seed++) {
		sim_seed(seed);
		world_new(&w, 30);
		w.stream_ms = 120000;
		w.sim.loss = 30;
		w.inbound_refresh = true;
		world_run(&w, 600);
		assert_int_equal(w.last.reason, LIFETIME_OK);
		assert_true(bounds_hold(&w));
	}
}

static void lost_and_late_packets_widen_the_bounds_and_do_not_move_them(void **state)
{
	static struct world w;
	unsigned wrong = 0, open = 0, wide = 0;

	(void)state;
	for (uint32_t seed = 0; seed < RUNS; seed++) {
		sim_seed(seed);
		world_new(&w, lifetimes_s[seed % LIFETIMES]);
		w.sim.loss = seed & 1 ? 20 : 30;
		w.inbound_refresh = seed & 2;
		w.duplicates = seed & 4;
		w.one_way_ms = seed % 3 == 0 ? 500 : 40;
		w.jitter_ms = seed % 5 == 0 ? 100 : 0;
		world_run(&w, 600);
		wrong += !bounds_hold(&w);
		open += w.last.reason != LIFETIME_OK;
		wide += w.last.dead_s - w.last.alive_s > 15;
	}
	if (getenv("LIFETIME_RATES"))
		print_message("%u wrong, %u open, %u wide of %d\n", wrong, open, wide, RUNS);
	assert_true(wrong <= 1);
	assert_true(open <= 2);
	assert_true(wide <= RUNS / 20);
}

static void what_lives_longer_than_the_bound_is_said_to(void **state)
{
	static struct world w;

	(void)state;
	for (unsigned loss = 0; loss <= 30; loss += 10) {
		sim_seed(loss);
		world_new(&w, 100000);
		w.sim.loss = loss;
		assert_true(world_run(&w, 200) < 215);
		assert_int_equal(w.last.reason, LIFETIME_LONGER);
		assert_int_equal(w.last.alive_s, 200);
		assert_int_equal(w.last.dead_s, 0);
		assert_int_equal(w.last.estimate_s, 0);
	}
}

static void a_server_that_cannot_is_known_at_once(void **state)
{
	static const struct {
		enum mood mood;
		enum lifetime_reason reason;
		uint16_t code;
		unsigned within_s;
	} rows[] = {
		{ REFUSING, LIFETIME_REFUSED, 420, 1 },
		{ IGNORING, LIFETIME_IGNORED, 0, 1 },
		{ BUSY, LIFETIME_REFUSED, 500, 1 },
		{ MUTE, LIFETIME_NEVER_ARRIVED, 0, 10 },
		{ DEAD, LIFETIME_NO_ANSWER, 0, 30 },
	};
	static struct world w;

	(void)state;
	sim_seed(1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		world_new(&w, 120);
		w.mood = rows[i].mood;
		assert_true(world_run(&w, 600) <= rows[i].within_s);
		assert_int_equal(w.last.reason, rows[i].reason);
		assert_int_equal(w.last.code, rows[i].code);
		assert_int_equal(w.last.dead_s, 0);
	}
}

static void in_a_small_pool_slots_are_drawn_until_they_share_the_address(void **state)
{
	static struct world w;

	(void)state;
	sim_seed(4);
	world_new(&w, 60);
	w.pool = 3;
	world_run(&w, 600);
	assert_int_equal(w.last.reason, LIFETIME_OK);
	assert_true(bounds_hold(&w));
	world_new(&w, 60);
	w.pool = 100;
	world_run(&w, 600);
	assert_int_equal(w.last.reason, LIFETIME_POOL);
	assert_true(bounds_hold(&w));
}

static void a_server_that_dies_on_the_way_makes_no_mapping_dead(void **state)
{
	static struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, 100);
	w.dead_from_ms = BEGIN_MS + 50000;
	world_run(&w, 600);
	assert_true(w.sim.now_ms < BEGIN_MS + 180000);
	assert_int_equal(w.last.reason, LIFETIME_UNSTEADY);
	assert_int_equal(w.last.alive_s, 45);
	assert_int_equal(w.last.dead_s, 0);
}

static void a_renumbered_line_makes_no_mapping_dead(void **state)
{
	static struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, 100);
	w.renumber_ms = BEGIN_MS + 50000;
	assert_true(world_run(&w, 600) < 60);
	assert_int_equal(w.last.reason, LIFETIME_UNSTEADY);
	assert_int_equal(w.last.alive_s, 45);
	assert_int_equal(w.last.dead_s, 0);
}

static void what_is_no_answer_is_ignored(void **state)
{
	const struct lifetime_config config = { .server = endpoint_ipv4(0xc0000201u, 3478), .max_s = 60, .random = sim_random };
	const struct endpoint outer = endpoint_ipv4(0xcb007109u, 40000), port_0 = endpoint_ipv4(0xcb007109u, 0);
	struct lifetime *l = lifetime_new(&config, 1000);
	struct endpoint elsewhere = config.server;
	struct inquiry_step step;
	uint8_t good[256], bad[256];
	size_t len;

	(void)state;
	assert_non_null(l);
	assert_int_equal(lifetime_step(l, 1000, &step), INQUIRY_SEND);
	assert_int_equal(step.slot, 0);
	len = sim_answer(good, step.bytes, step.len, &outer, NULL);
	for (size_t i = 4; i < 20; i++) {
		memcpy(bad, good, len);
		bad[i] ^= 1;
		assert_false(lifetime_receive(l, 0, &step.to, bad, len, 1010));
	}
	assert_false(lifetime_receive(l, 1, &step.to, good, len, 1010)); /* at another slot */
	elsewhere.port++;
	assert_false(lifetime_receive(l, 0, &elsewhere, good, len, 1010));
	assert_false(lifetime_receive(l, 0, &step.to, step.bytes, step.len, 1010)); /* the question itself */
	assert_false(lifetime_receive(l, 0, &step.to, bad, sim_answer(bad, step.bytes, step.len, &port_0, NULL), 1010));
	assert_true(lifetime_receive(l, 0, &step.to, good, len, 1010));
	assert_false(lifetime_receive(l, 0, &step.to, good, len, 1010)); /* a duplicate */
	lifetime_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_lifetime_is_told_within_close_bounds_in_about_twice_its_time),
		T(round_lifetimes_are_estimated_exactly),
		T(a_sleep_in_the_midst_does_not_move_the_bounds),
		T(a_nat_that_keeps_streams_longer_does_not_confuse),
		T(lost_and_late_packets_widen_the_bounds_and_do_not_move_them),
		T(what_lives_longer_than_the_bound_is_said_to),
		T(a_server_that_cannot_is_known_at_once),
		T(in_a_small_pool_slots_are_drawn_until_they_share_the_address),
		T(a_server_that_dies_on_the_way_makes_no_mapping_dead),
		T(a_renumbered_line_makes_no_mapping_dead),
		T(what_is_no_answer_is_ignored),
	};

	return RUN(tests);
}
