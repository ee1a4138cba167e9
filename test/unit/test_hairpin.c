/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hairpin inquiry behind NATs that loop back, loop back with the inner source, or do not. */
#include "test/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/hairpin.h"
#include "test/sim/sim.h"

#ifndef RUNS /* more by -DRUNS=… */
#define RUNS 500
#endif
#define BEGIN_MS 500000

enum loop { NONE, EXTERNAL, INTERNAL };

struct world {
	struct sim sim;
	struct endpoint server, local[2], outer[2];
	enum loop loop;
	bool filter;	 /* a side hears only whom it wrote to */
	bool wrote[2];	 /* to the other's outer endpoint */
	bool no_nat, mute, dead;
	unsigned one_way_ms;
	unsigned sent, knocks;
	struct hairpin_result result;
};

static void world_new(struct world *w, enum loop loop)
{
	memset(w, 0, sizeof(*w));
	w->server = endpoint_ipv4(0xc0000201u, 3478);
	w->loop = loop;
	w->one_way_ms = 30;
	w->filter = true;
	w->sim.now_ms = BEGIN_MS;
	for (unsigned i = 0; i < 2; i++) {
		w->local[i] = endpoint_ipv4(0xc0a80105u, (uint16_t)(5000 + i));
		w->outer[i] = endpoint_ipv4(0xcb007109u, (uint16_t)(40000 + i));
	}
}

/* From one side to the other's outer endpoint. */
static void knock(struct world *w, const struct inquiry_step *q)
{
	const unsigned other = 1 - q->slot;

	assert_true(endpoint_equal(&q->to, &w->outer[other]));
	w->knocks++;
	w->wrote[q->slot] = true;
	if (w->loop != NONE && (!w->filter || w->wrote[other]) && !sim_lost(&w->sim))
		sim_put(&w->sim, 1, other, w->loop == EXTERNAL ? &w->outer[q->slot] : &w->local[q->slot], q->bytes, q->len);
}

static void send_out(struct world *w, const struct inquiry_step *q)
{
	uint8_t buf[256];

	w->sent++;
	assert_true(q->slot < HAIRPIN_SLOTS);
	if (!endpoint_equal(&q->to, &w->server))
		knock(w, q);
	else if (!w->dead && !(w->mute && w->knocks) && !sim_lost(&w->sim))
		sim_put(&w->sim, 2 * w->one_way_ms, q->slot, &w->server, buf,
			sim_answer(buf, q->bytes, q->len, w->no_nat ? &w->local[q->slot] : &w->outer[q->slot], NULL));
}

/* Runs to the end; the milliseconds it took. */
static uint64_t world_run(struct world *w)
{
	const struct hairpin_config config = { .server = w->server, .random = sim_random };
	struct hairpin *h = hairpin_new(&config, w->sim.now_ms);
	enum inquiry_action action;
	struct inquiry_step step;
	struct sim_packet p;

	assert_non_null(h);
	for (unsigned i = 0; i < 2; i++)
		hairpin_bound(h, i, &w->local[i]);
	for (;;) {
		uint64_t wake_ms;

		while ((action = hairpin_step(h, w->sim.now_ms, &step)) == INQUIRY_SEND)
			send_out(w, &step);
		hairpin_result(h, &w->result);
		assert_int_equal(w->result.done, action == INQUIRY_DONE);
		if (action == INQUIRY_DONE)
			break;
		wake_ms = hairpin_wake_ms(h);
		assert_true(wake_ms > w->sim.now_ms);
		w->sim.now_ms = sim_wake_ms(&w->sim) < wake_ms ? sim_wake_ms(&w->sim) : wake_ms;
		while (sim_take(&w->sim, &p))
			hairpin_receive(h, p.slot, &p.from, p.bytes, p.len, w->sim.now_ms);
	}
	assert_true(hairpin_wake_ms(h) == UINT64_MAX);
	hairpin_free(h);
	return w->sim.now_ms - BEGIN_MS;
}

static void looping_back_is_told_with_its_source_rfc4787_section_6(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned filter = 0; filter < 2; filter++) {
		world_new(&w, EXTERNAL);
		w.filter = filter;
		assert_true(world_run(&w) < 100);
		assert_int_equal(w.result.answer, HAIRPIN_YES);
		assert_int_equal(w.result.source, HAIRPIN_EXTERNAL);
		assert_true(endpoint_equal(&w.result.outer[0], &w.outer[0]) && endpoint_equal(&w.result.outer[1], &w.outer[1]));
		world_new(&w, INTERNAL);
		w.filter = filter;
		world_run(&w);
		assert_int_equal(w.result.answer, HAIRPIN_YES);
		assert_int_equal(w.result.source, HAIRPIN_INTERNAL);
	}
}

static void not_looping_back_is_told_in_a_few_seconds(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned one_way_ms = 30; one_way_ms <= 500; one_way_ms += 470) {
		world_new(&w, NONE);
		w.one_way_ms = one_way_ms;
		assert_true(world_run(&w) < 3000 + 6 * one_way_ms);
		assert_int_equal(w.result.answer, HAIRPIN_NO);
	}
}

static void loss_makes_it_slower_and_hardly_ever_wrong(void **state)
{
	unsigned wrong = 0, unknown = 0;

	(void)state;
	for (uint32_t seed = 0; seed < RUNS; seed++) {
		struct world w;

		sim_seed(seed);
		world_new(&w, seed & 1 ? EXTERNAL : NONE);
		w.sim.loss = seed & 2 ? 20 : 30;
		w.one_way_ms = seed % 3 ? 30 : 500;
		world_run(&w);
		unknown += w.result.answer == HAIRPIN_UNKNOWN;
		wrong += w.result.answer == (seed & 1 ? HAIRPIN_NO : HAIRPIN_YES);
	}
	if (getenv("HAIRPIN_RATES"))
		print_message("%u wrong, %u unknown of %d\n", wrong, unknown, RUNS);
	assert_int_equal(wrong, 0);
	assert_true(unknown * 1000 <= RUNS);
}

static void without_the_control_silence_says_nothing(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, NONE);
	w.mute = true; /* the server dies when the first knock is sent */
	assert_true(world_run(&w) < 20000);
	assert_int_equal(w.result.answer, HAIRPIN_UNKNOWN);
	world_new(&w, NONE);
	w.dead = true;
	assert_true(world_run(&w) < 30000);
	assert_int_equal(w.result.answer, HAIRPIN_UNKNOWN);
	assert_int_equal(w.knocks, 0);
}

static void without_a_nat_nothing_is_sent(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, EXTERNAL);
	w.no_nat = true;
	world_run(&w);
	assert_int_equal(w.result.answer, HAIRPIN_NO_NAT);
	assert_int_equal(w.knocks, 0);
	assert_int_equal(w.sent, 2);
}

static void only_the_other_side_s_knock_counts(void **state)
{
	const struct endpoint stranger = endpoint_ipv4(0x08080808u, 53);
	const struct hairpin_config config = { .server = endpoint_ipv4(0xc0000201u, 3478), .random = sim_random };
	struct hairpin *h = hairpin_new(&config, 1000);
	struct inquiry_step step;
	struct hairpin_result result;
	uint8_t knocks[2][20], buf[256];

	(void)state;
	assert_non_null(h);
	for (unsigned i = 0; i < 2; i++) {
		const struct endpoint outer = endpoint_ipv4(0xcb007109u, (uint16_t)(40000 + i));

		assert_int_equal(hairpin_step(h, 1000, &step), INQUIRY_SEND);
		assert_int_equal(step.slot, i);
		assert_false(hairpin_receive(h, i, &step.to, step.bytes, step.len, 1000)); /* a question is no answer */
		assert_false(hairpin_receive(h, i, &stranger, buf, sim_answer(buf, step.bytes, step.len, &outer, NULL), 1000));
		assert_true(hairpin_receive(h, i, &step.to, buf, sim_answer(buf, step.bytes, step.len, &outer, NULL), 1000));
	}
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(hairpin_step(h, 1000, &step), INQUIRY_SEND);
		if (!endpoint_equal(&step.to, &config.server))
			memcpy(knocks[step.slot], step.bytes, 20);
	}
	assert_int_equal(hairpin_step(h, 1000, &step), INQUIRY_WAIT);
	assert_false(hairpin_receive(h, 0, &stranger, knocks[0], 20, 1001)); /* its own */
	assert_false(hairpin_receive(h, 2, &stranger, knocks[0], 20, 1001));
	memcpy(buf, knocks[1], 20);
	buf[19] ^= 1;
	assert_false(hairpin_receive(h, 0, &stranger, buf, 20, 1001));
	memcpy(buf, knocks[1], 20);
	buf[0] = 1; /* a response: somebody else lives there, and answered */
	assert_false(hairpin_receive(h, 0, &stranger, buf, 20, 1001));
	assert_true(hairpin_receive(h, 0, &stranger, knocks[1], 20, 1001));
	hairpin_result(h, &result);
	assert_true(result.done);
	assert_int_equal(result.answer, HAIRPIN_YES);
	assert_int_equal(result.source, HAIRPIN_SOURCE_UNKNOWN);
	hairpin_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(looping_back_is_told_with_its_source_rfc4787_section_6),
		T(not_looping_back_is_told_in_a_few_seconds),
		T(loss_makes_it_slower_and_hardly_ever_wrong),
		T(without_the_control_silence_says_nothing),
		T(without_a_nat_nothing_is_sent),
		T(only_the_other_side_s_knock_counts),
	};

	return RUN(tests);
}
