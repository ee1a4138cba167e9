/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Totals that never fall, of counters that begin anew: gateway/tally. */
#include "test/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/firewall/tally.h"

static const struct lease_key web = { LEASE_TCP, 0xc0a8010a, 80 }, game = { LEASE_UDP, 0xc0a8010a, 80 }, other = { LEASE_UDP, 0xc0a8010b, 80 };

#define LOOK(t, life, now_ms, ...)                                                                                  \
	look(t, (struct tally_sample[]){ __VA_ARGS__ }, sizeof((struct tally_sample[]){ __VA_ARGS__ }) / sizeof(struct tally_sample), life, now_ms)

static void look(struct tally *t, struct tally_sample *samples, size_t count, uint64_t life, uint64_t now_ms)
{
	struct tally next;

	assert_int_equal(tally_look(&next, t, samples, count, life, now_ms), 0);
	tally_free(t);
	*t = next;
}

static uint64_t in_packets(const struct tally *t, const struct lease_key *key)
{
	struct traffic_counts c;

	return tally_find(t, key, &c) ? c.in_packets : UINT64_MAX;
}

static void each_mapping_has_its_own_numbers(void **state)
{
	struct tally t = { 0 };
	struct traffic_counts c;

	(void)state;
	LOOK(&t, 1, 1000, { game, FIREWALL_OUT, 3, 300 }, { web, FIREWALL_IN, 5, 500 }, { game, FIREWALL_IN, 2, 200 },
		{ game, FIREWALL_CONNECTIONS, 1, 60 });
	assert_true(tally_find(&t, &game, &c));
	assert_memory_equal(&c, &((struct traffic_counts){ 200, 2, 300, 3, 1 }), sizeof(c));
	assert_int_equal(in_packets(&t, &web), 5);
	assert_false(tally_find(&t, &other, &c));
	c = tally_total(&t);
	assert_memory_equal(&c, &((struct traffic_counts){ 700, 7, 300, 3, 1 }), sizeof(c));
	tally_free(&t);
}

static void counters_that_begin_anew_are_added(void **state)
{
	struct tally t = { 0 };

	(void)state;
	LOOK(&t, 1, 1000, { web, FIREWALL_IN, 5, 500 });
	LOOK(&t, 2, 3000, { web, FIREWALL_IN, 7, 700 }); /* more than before, and yet another counter */
	assert_int_equal(in_packets(&t, &web), 12);
	LOOK(&t, 2, 5000, { web, FIREWALL_IN, 8, 800 });
	assert_int_equal(in_packets(&t, &web), 13);
	LOOK(&t, 2, 7000, { web, FIREWALL_IN, 1, 100 }); /* this element alone */
	assert_int_equal(in_packets(&t, &web), 14);
	LOOK(&t, 2, 9000, { web, FIREWALL_IN, 1, 50 }); /* as many packets, of fewer bytes */
	assert_int_equal(in_packets(&t, &web), 15);
	assert_int_equal(tally_total(&t).in_bytes, 500 + 800 + 100 + 50);
	tally_free(&t);
}

static void what_a_look_misses_stays(void **state)
{
	struct tally t = { 0 };

	(void)state;
	LOOK(&t, 1, 1000, { web, FIREWALL_IN, 5, 500 }, { web, FIREWALL_OUT, 4, 400 });
	LOOK(&t, 1, 3000, { web, FIREWALL_OUT, 6, 600 }); /* one of its elements */
	assert_int_equal(in_packets(&t, &web), 5);
	look(&t, NULL, 0, 2, 5000); /* the table is built anew, and still empty */
	assert_int_equal(in_packets(&t, &web), 5);
	LOOK(&t, 2, 7000, { web, FIREWALL_IN, 1, 100 });
	assert_int_equal(in_packets(&t, &web), 6);
	assert_int_equal(tally_total(&t).out_packets, 6);
	tally_free(&t);
}

static void what_was_seen_twice_counts_once(void **state)
{
	struct tally t = { 0 };

	(void)state;
	LOOK(&t, 1, 1000, { web, FIREWALL_IN, 5, 500 });
	LOOK(&t, 1, 3000, { web, FIREWALL_IN, 9, 900 }, { web, FIREWALL_IN, 6, 600 });
	assert_int_equal(in_packets(&t, &web), 9);
	assert_int_equal(t.count, 1);
	tally_free(&t);
}

static void a_mapping_is_forgotten_after_a_while_but_not_in_the_total(void **state)
{
	struct tally t = { 0 };

	(void)state;
	LOOK(&t, 1, 1000, { web, FIREWALL_IN, 5, 500 }, { other, FIREWALL_IN, 1, 100 });
	LOOK(&t, 1, 400000, { other, FIREWALL_IN, 1, 100 }); /* long after: the first that misses it */
	assert_int_equal(in_packets(&t, &web), 5);
	LOOK(&t, 1, 400000 + TALLY_PATIENCE_MS - 1, { web, FIREWALL_IN, 2, 200 }, { other, FIREWALL_IN, 1, 100 });
	assert_int_equal(in_packets(&t, &web), 7); /* made again in time */
	LOOK(&t, 1, 500000, { other, FIREWALL_IN, 1, 100 });
	LOOK(&t, 1, 500000 + TALLY_PATIENCE_MS, { other, FIREWALL_IN, 1, 100 });
	assert_int_equal(in_packets(&t, &web), UINT64_MAX);
	assert_int_equal(tally_total(&t).in_packets, 8);
	LOOK(&t, 2, 700000, { other, FIREWALL_IN, 1, 100 }, { web, FIREWALL_IN, 1, 100 });
	assert_int_equal(in_packets(&t, &web), 1);
	assert_int_equal(tally_total(&t).in_packets, 10);
	tally_free(&t);
}

static void thousands_are_found(void **state)
{
	enum { MANY = 5000 };
	struct tally_sample *samples = calloc(MANY, sizeof(*samples));
	struct tally t = { 0 };

	(void)state;
	assert_non_null(samples);
	for (uint16_t i = 0; i < MANY; i++) /* in an order that is none */
		samples[i] = (struct tally_sample){ { LEASE_UDP, 0x0a000000, (uint16_t)(1 + i * 7919 % MANY) }, FIREWALL_IN, (uint64_t)(i * 7919 % MANY), 1 };
	look(&t, samples, MANY, 1, 1000);
	for (uint16_t port = 1; port <= MANY; port++)
		assert_int_equal(in_packets(&t, &(struct lease_key){ LEASE_UDP, 0x0a000000, port }), port - 1);
	tally_free(&t);
	free(samples);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(each_mapping_has_its_own_numbers), T(counters_that_begin_anew_are_added), T(what_a_look_misses_stays),
		T(what_was_seen_twice_counts_once), T(a_mapping_is_forgotten_after_a_while_but_not_in_the_total), T(thousands_are_found) };

	return RUN(tests);
}
