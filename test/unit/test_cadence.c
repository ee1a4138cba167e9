/* SPDX-License-Identifier: MIT */
#include "test/unit/test.h"

#include "lib/cadence.h"
#include "test/sim/sim.h"

#define SECOND 1000u
#define HOUR   3600000u

/* A NAT, the scout behind it, and a client's hole that is asked at each interval. */
struct world {
	struct cadence cadence;
	uint32_t lifetime_ms; /* of a silent mapping */
	uint64_t now_ms;
	uint64_t scout_ms, client_ms; /* when each was heard last */
	unsigned clients_lost, scouts_lost;
};

static void world_new(struct world *w, uint32_t lifetime_s, uint32_t max_s)
{
	*w = (struct world){ .lifetime_ms = lifetime_s * SECOND, .now_ms = 5000, .scout_ms = 5000, .client_ms = 5000 };
	cadence_init(&w->cadence, 10 * SECOND, max_s * SECOND);
}

static void run_for(struct world *w, uint64_t ms)
{
	for (const uint64_t end_ms = w->now_ms + ms; w->now_ms < end_ms; w->now_ms += 100) {
		const uint32_t scout = (uint32_t)(w->now_ms - w->scout_ms), client = (uint32_t)(w->now_ms - w->client_ms);

		if (scout >= cadence_silence_ms(&w->cadence, w->now_ms)) {
			w->scout_ms = w->now_ms;
			w->scouts_lost += scout > w->lifetime_ms;
			if (scout > w->lifetime_ms)
				cadence_died(&w->cadence, scout, w->now_ms);
			else
				cadence_lived(&w->cadence, scout);
		}
		if (client >= w->cadence.interval_ms) {
			w->client_ms = w->now_ms;
			w->clients_lost += client > w->lifetime_ms;
			if (client > w->lifetime_ms)
				cadence_died(&w->cadence, client, w->now_ms);
		}
		assert_in_range(w->cadence.interval_ms, CADENCE_MIN_MS, w->cadence.max_ms);
	}
}

static void the_interval_comes_near_to_every_lifetime_and_no_client_pays(void **state)
{
	const uint32_t lifetimes_s[] = { 15, 30, 60, 120, 300 };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct world w;

		world_new(&w, lifetimes_s[i], 300);
		run_for(&w, HOUR);
		assert_in_range(w.cadence.interval_ms, lifetimes_s[i] * 620, lifetimes_s[i] * 800);
		assert_true(w.scouts_lost <= 25);
		run_for(&w, 24ull * HOUR);
		assert_in_range(w.cadence.interval_ms, lifetimes_s[i] * 620, lifetimes_s[i] * 800);
		assert_int_equal(w.clients_lost, 0);
		assert_true(w.scouts_lost <= 60);
	}
}

static void the_configured_maximum_is_reached_soon_and_never_passed(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 120, 20);
	run_for(&w, 60 * SECOND);
	assert_int_equal(w.cadence.interval_ms, 20 * SECOND);
	run_for(&w, 24ull * HOUR);
	assert_int_equal(w.clients_lost + w.scouts_lost, 0);
	world_new(&w, 120, 5);
	run_for(&w, HOUR);
	assert_int_equal(w.cadence.interval_ms, 5 * SECOND);
}

static void a_carrier_that_grows_stricter_is_followed_at_once(void **state)
{
	const uint32_t lifetimes_s[] = { 120, 60, 30, 15 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct world w;

		world_new(&w, 300, 300);
		run_for(&w, HOUR);
		w.lifetime_ms = lifetimes_s[i] * SECOND;
		run_for(&w, 1200 * SECOND);
		assert_true(w.clients_lost <= 4);
		assert_true(w.cadence.interval_ms < w.lifetime_ms);
	}
}

static void a_carrier_that_grows_generous_is_found_out(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 15, 60);
	run_for(&w, HOUR);
	w.lifetime_ms = 300 * SECOND;
	run_for(&w, 3ull * HOUR);
	assert_int_equal(w.cadence.interval_ms, 60 * SECOND);
	assert_int_equal(w.clients_lost, 0);
}

/* The carrier's NAT restarts: every hole is another, whatever its silence was. */
static void a_flush_is_got_over_within_minutes(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 120, 20);
	run_for(&w, HOUR);
	for (uint32_t silent_ms = 100; silent_ms < 20000; silent_ms += 100)
		cadence_died(&w.cadence, silent_ms, w.now_ms + silent_ms / 10);
	assert_int_equal(w.cadence.interval_ms, CADENCE_MIN_MS);
	run_for(&w, 300 * SECOND);
	assert_int_equal(w.cadence.interval_ms, 20 * SECOND);
	assert_int_equal(w.clients_lost, 0);
}

static void where_nothing_can_be_seen_the_usual_is_done(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 120, 300);
	assert_true(cadence_blind(&w.cadence));
	run_for(&w, HOUR);
	assert_int_equal(w.cadence.interval_ms, CADENCE_USUAL_MS);
	world_new(&w, 120, 12);
	cadence_blind(&w.cadence);
	assert_int_equal(w.cadence.interval_ms, 12 * SECOND);
}

static void whatever_comes_the_interval_stays_within_its_bounds(void **state)
{
	(void)state;
	sim_seed(4);
	for (unsigned run = 0; run < 200; run++) {
		const uint32_t max_ms = 5000 + sim_below(295001);
		struct cadence c;
		uint64_t now_ms = 1;

		cadence_init(&c, 10 * SECOND, max_ms);
		for (unsigned i = 0; i < 1000; i++) {
			now_ms += sim_below(1u << sim_below(28));
			if (sim_below(2))
				cadence_lived(&c, sim_below(1u << sim_below(32)));
			else
				cadence_died(&c, sim_below(1u << sim_below(32)), now_ms);
			assert_in_range(c.interval_ms, CADENCE_MIN_MS, max_ms);
			assert_in_range(cadence_silence_ms(&c, now_ms), c.interval_ms, max_ms / 4 * 5 + 4);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_interval_comes_near_to_every_lifetime_and_no_client_pays),
		T(the_configured_maximum_is_reached_soon_and_never_passed),
		T(a_carrier_that_grows_stricter_is_followed_at_once),
		T(a_carrier_that_grows_generous_is_found_out),
		T(a_flush_is_got_over_within_minutes),
		T(where_nothing_can_be_seen_the_usual_is_done),
		T(whatever_comes_the_interval_stays_within_its_bounds),
	};

	return RUN(tests);
}
