/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Series of outer ports as NATs of every kind give them, thousands each: how often the mode is told, and told wrongly. */
#include "test/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/portmode.h"
#include "test/sim/sim.h"

#define RUNS	100
#define SERIES	40

enum kind { PRESERVE, COUNT, CHANCE };

struct nat {
	const char *name;
	enum kind kind;
	bool down;
	unsigned first, last;  /* the range, 0: anywhere, of 1024 to 65535 */
	unsigned block;	       /* a range of so many ports anywhere, 0: see above */
	unsigned step, others; /* others: up to so many ports that somebody else takes between two of ours */
	unsigned taken;	       /* percent of the ports are taken and skipped; preserving: chosen otherwise */
	unsigned pool;	       /* outer addresses, 0: one */
	bool pool_counters;    /* each with a counter of its own */
	unsigned swapped, lost; /* percent */
};

static const struct nat counters[] = {
	{ .name = "counter", .kind = COUNT, .step = 1 },
	{ .name = "step 2", .kind = COUNT, .step = 2 },
	{ .name = "counter, downwards", .kind = COUNT, .down = true, .step = 1 },
	{ .name = "small range, wraps", .kind = COUNT, .block = 128, .step = 2 },
	{ .name = "about to wrap", .kind = COUNT, .first = 1024, .last = 65535, .step = 1, .others = 300 },
	{ .name = "gaps", .kind = COUNT, .step = 1, .taken = 50 },
	{ .name = "busy", .kind = COUNT, .first = 1024, .last = 65535, .step = 1, .others = 8000 },
	{ .name = "busy, downwards", .kind = COUNT, .down = true, .first = 1024, .last = 65535, .step = 1, .others = 8000 },
	{ .name = "pool, one counter", .kind = COUNT, .step = 1, .others = 20, .pool = 4 },
	{ .name = "pool, a counter each", .kind = COUNT, .step = 1, .others = 20, .pool = 4, .pool_counters = true },
	{ .name = "jitter", .kind = COUNT, .step = 1, .swapped = 10 },
	{ .name = "much jitter", .kind = COUNT, .step = 1, .swapped = 20 },
	{ .name = "lossy", .kind = COUNT, .step = 1, .lost = 30 },
	{ .name = "all of it", .kind = COUNT, .down = true, .block = 4096, .step = 2, .others = 100, .taken = 20,
		.swapped = 10, .lost = 30 },
};

static const struct nat dice[] = {
	{ .name = "random", .kind = CHANCE },
	{ .name = "random in 256", .kind = CHANCE, .block = 256 },
	{ .name = "random in 1008", .kind = CHANCE, .block = 1008 },
	{ .name = "random in 4096", .kind = CHANCE, .block = 4096 },
	{ .name = "random, pool", .kind = CHANCE, .pool = 4 },
	{ .name = "random, pool of 8", .kind = CHANCE, .pool = 8 },
	{ .name = "random, jitter, lossy", .kind = CHANCE, .swapped = 20, .lost = 30 },
};

static const struct nat keepers[] = {
	{ .name = "preserving", .kind = PRESERVE },
	{ .name = "preserving, some taken", .kind = PRESERVE, .taken = 20 },
	{ .name = "preserving, pool, lossy", .kind = PRESERVE, .taken = 10, .pool = 4, .lost = 30 },
};

/* A NAT at work. */
struct work {
	const struct nat *nat;
	unsigned first, last;
	unsigned counter[16];
	uint8_t taken[65536];
};

static void start(struct work *w, const struct nat *nat)
{
	memset(w, 0, sizeof(*w));
	w->nat = nat;
	w->first = nat->first ? nat->first : 1024;
	w->last = nat->last ? nat->last : 65535;
	if (nat->block) {
		w->first = 1024 + sim_below(60000);
		w->last = w->first + nat->block - 1;
	}
	for (size_t i = 0; i < 16; i++)
		w->counter[i] = w->first + sim_below(w->last - w->first + 1);
	for (size_t i = 0; nat->taken && i < 65536; i++)
		w->taken[i] = sim_below(100) < nat->taken;
}

static void advance(const struct work *w, unsigned *counter, unsigned by)
{
	const unsigned range = w->last - w->first + 1;
	const unsigned at = *counter - w->first;

	*counter = w->first + (w->nat->down ? at + range - by % range : at + by) % range;
}

static uint16_t choose(struct work *w, unsigned address, uint16_t local_port)
{
	unsigned *counter = &w->counter[w->nat->pool_counters ? address : 0];
	unsigned port;

	if (w->nat->kind == PRESERVE && !w->taken[local_port])
		return local_port;
	if (w->nat->kind == COUNT) {
		advance(w, counter, w->nat->others ? sim_below(w->nat->others + 1) : 0);
		do
			advance(w, counter, w->nat->step);
		while (w->taken[*counter]);
		return (uint16_t)*counter;
	}
	do
		port = w->first + sim_below(w->last - w->first + 1);
	while (w->taken[port]);
	w->taken[port] = 1;
	return (uint16_t)port;
}

static size_t series(const struct nat *nat, struct port_sample s[SERIES], size_t sent)
{
	static struct work w;
	uint16_t order[SERIES];
	size_t count = 0;

	start(&w, nat);
	for (size_t i = 0; i < sent; i++) {
		order[i] = (uint16_t)i;
		s[i].local_port = (uint16_t)(32768 + sim_below(28000));
	}
	for (size_t i = 1; i < sent; i++) {
		if (sim_below(100) >= nat->swapped)
			continue;
		order[i - 1] = (uint16_t)i;
		order[i] = (uint16_t)(i - 1);
		i++;
	}
	for (size_t i = 0; i < sent; i++) { /* in the order of arrival at the NAT */
		const unsigned address = nat->pool ? sim_below(nat->pool) : 0;
		struct port_sample *x = &s[order[i]];

		x->outer = endpoint_ipv4(0xcb007109u + address, choose(&w, address, x->local_port));
	}
	for (size_t i = 0; i < sent; i++)
		if (sim_below(100) >= nat->lost)
			s[count++] = s[i];
	return count;
}

/* Percent of the runs that may go wrong, or be left open, when so many samples were sent. */
static const struct {
	size_t sent;
	unsigned wrong, unknown;
} rates[] = { { 5, 13, 100 }, { 8, 7, 100 }, { 16, 3, 100 }, { 24, 1, 13 }, { 40, 0, 1 } };

/* With PORTMODE_RATES in the environment the rates are printed. */
static void told(const struct nat *nats, size_t count, enum stunway_port_mode truth, enum stunway_port_mode down_truth)
{
	struct port_sample s[SERIES];

	for (size_t n = 0; n < count * sizeof(rates) / sizeof(rates[0]); n++) {
		const struct nat *nat = &nats[n % count];
		const size_t sent = rates[n / count].sent;
		unsigned right = 0, unknown = 0, wrong;

		for (unsigned run = 0; run < RUNS; run++) {
			const enum stunway_port_mode mode = port_mode(s, series(nat, s, sent));

			right += mode == (nat->down ? down_truth : truth);
			unknown += mode == STUNWAY_PORTS_UNKNOWN;
		}
		wrong = RUNS - right - unknown;
		if (getenv("PORTMODE_RATES"))
			print_message("%2zu sent, %-24s of %d: %u right, %u unknown, %u wrong\n", sent, nat->name, RUNS, right,
				unknown, wrong);
		assert_true(wrong * 100 <= RUNS * rates[n / count].wrong + 100); /* one more for chance */
		assert_true(unknown * 100 <= RUNS * rates[n / count].unknown + 100);
	}
}

static void a_counter_is_told(void **state)
{
	(void)state;
	sim_seed(1);
	told(counters, sizeof(counters) / sizeof(counters[0]), STUNWAY_PORTS_INCREMENT, STUNWAY_PORTS_DECREMENT);
}

static void a_random_choice_is_told(void **state)
{
	(void)state;
	sim_seed(2);
	told(dice, sizeof(dice) / sizeof(dice[0]), STUNWAY_PORTS_RANDOM, STUNWAY_PORTS_RANDOM);
}

static void preservation_is_told_before_all_else(void **state)
{
	(void)state;
	sim_seed(3);
	told(keepers, sizeof(keepers) / sizeof(keepers[0]), STUNWAY_PORTS_PRESERVED, STUNWAY_PORTS_PRESERVED);
}

static enum stunway_port_mode mode_of(const uint16_t *outer, size_t count)
{
	struct port_sample s[16];

	for (size_t i = 0; i < count; i++)
		s[i] = (struct port_sample){ .local_port = (uint16_t)(50000 - 7 * i), .outer = endpoint_ipv4(0xcb007109u, outer[i]) };
	return port_mode(s, count);
}

static void few_samples_must_all_rise_or_all_fall(void **state)
{
	const uint16_t up[] = { 40000, 40001, 40003, 40004, 40009 }, down[] = { 4009, 4008, 4007, 4002, 4000 },
		       swapped[] = { 40000, 40003, 40001, 40004, 40009 };
	const uint16_t wrap[] = { 65530, 65531, 65533, 65535, 1024, 1025, 1029, 1031 };

	(void)state;
	assert_int_equal(mode_of(up, 5), STUNWAY_PORTS_INCREMENT);
	assert_int_equal(mode_of(down, 5), STUNWAY_PORTS_DECREMENT);
	assert_int_equal(mode_of(swapped, 5), STUNWAY_PORTS_UNKNOWN);
	assert_int_equal(mode_of(wrap, 8), STUNWAY_PORTS_INCREMENT);
	for (size_t n = 0; n < PORTMODE_SAMPLES_MIN; n++)
		assert_int_equal(mode_of(up, n), STUNWAY_PORTS_UNKNOWN);
}

static void one_port_for_all_says_nothing(void **state)
{
	const uint16_t same[16] = { 0 };

	(void)state;
	assert_int_equal(mode_of(same, 16), STUNWAY_PORTS_UNKNOWN);
}

static void more_samples_than_are_looked_at_do_no_harm(void **state)
{
	static struct port_sample s[1000];

	(void)state;
	for (size_t i = 0; i < 1000; i++) /* every address once, then one counter */
		s[i] = (struct port_sample){ .local_port = 1, .outer = endpoint_ipv4(i < 500 ? (uint32_t)i : 7, (uint16_t)i) };
	assert_int_equal(port_mode(s, 1000), STUNWAY_PORTS_UNKNOWN);
	assert_int_equal(port_mode(s + 500, 500), STUNWAY_PORTS_INCREMENT);
	assert_int_equal(port_mode(NULL, 0), STUNWAY_PORTS_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_counter_is_told),
		T(a_random_choice_is_told),
		T(preservation_is_told_before_all_else),
		T(few_samples_must_all_rise_or_all_fall),
		T(one_port_for_all_says_nothing),
		T(more_samples_than_are_looked_at_do_no_harm),
	};

	return RUN(tests);
}
