/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "server/limit.h"

#define SECOND 1000000u

static const uint8_t secret[LIMIT_SECRET] = "these are two times sixteen ones";

static struct limit *limit_of(uint32_t rate)
{
	struct limit *l;

	assert_int_equal(limit_new(&l, rate, secret), 0);
	return l;
}

static struct endpoint source(uint32_t ip)
{
	return endpoint_ipv4(ip, 40000);
}

static struct endpoint v6(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse_ip(&e, text, 40000), 0);
	return e;
}

/* How many of so many answers it gets at once. */
static unsigned take(struct limit *l, struct endpoint from, unsigned asked, uint64_t now_us)
{
	unsigned got = 0;

	while (asked-- > 0)
		got += limit_take(l, &from, now_us);
	return got;
}

static void a_bucket_holds_a_second_s_worth_and_refills_at_the_rate(void **state)
{
	const struct {
		uint32_t rate, refilled; /* in one second: never more than the rate */
	} rows[] = { { 1, 1 }, { 3, 2 }, { 200, 200 }, { 1000, 1000 }, { 300000, 250000 }, { LIMIT_RATE_MAX, LIMIT_RATE_MAX } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct limit *l = limit_of(rows[i].rate);

		assert_int_equal(take(l, source(1), rows[i].rate + 10, 5 * SECOND), rows[i].rate);
		assert_int_equal(take(l, source(1), rows[i].rate + 10, 6 * SECOND), rows[i].refilled);
		assert_int_equal(take(l, source(1), rows[i].rate + 10, 60 * SECOND), rows[i].rate);
		limit_free(l);
	}
}

static void sources_are_addresses_and_ipv6_prefixes_of_64_bits(void **state)
{
	struct limit *l = limit_of(10);
	struct endpoint other_port = source(1);

	(void)state;
	assert_int_equal(take(l, source(1), 20, 0), 10);
	assert_int_equal(take(l, source(2), 20, 0), 10);
	other_port.port++;
	assert_int_equal(take(l, other_port, 1, 0), 0);
	assert_int_equal(take(l, v6("2001:db8:0:1::1"), 20, 0), 10);
	assert_int_equal(take(l, v6("2001:db8:0:1:ffff::2"), 20, 0), 0);
	assert_int_equal(take(l, v6("2001:db8:0:2::1"), 20, 0), 10);
	assert_int_equal(take(l, v6("::1"), 20, 0), 10); /* 8 bytes of zeros, as 0.0.0.0 has */
	assert_int_equal(take(l, source(0), 20, 0), 10);
	limit_free(l);
}

static void it_holds_over_days_in_which_its_clock_wraps(void **state)
{
	struct limit *l = limit_of(50);

	(void)state;
	for (uint64_t s = 0; s < 3 * 86400; s++)
		assert_int_equal(take(l, source(1), 60, s * SECOND), 50);
	limit_free(l);
}

/* A million forged addresses in 10 s, one honest client at its full rate, one greedy at 20 times that. */
static void a_flood_of_a_million_sources_costs_the_honest_nothing_and_frees_no_greedy(void **state)
{
	struct limit *l = limit_of(100);
	unsigned honest = 0, greedy = 0, asked = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000000; i++) {
		const uint64_t now = 10u * i;

		limit_take(l, &(struct endpoint){ .family = ENDPOINT_IPV4, .ip = { 10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i } },
			now);
		if (i % 1000 == 0) {
			asked++;
			honest += take(l, source(0xc0000201), 1, now);
		}
		if (i % 50 == 0)
			greedy += take(l, source(0xc0000202), 1, now);
	}
	assert_int_equal(honest, asked);
	assert_in_range(greedy, 1000, 1100); /* 10 s of it, and the bucket it began with */
	limit_free(l);
}

/* Many at their limits at once, as many as there is room for: a newcomer still gets its answers. */
static void newcomers_are_answered_when_every_bucket_is_drained(void **state)
{
	struct limit *l = limit_of(10);

	(void)state;
	for (uint32_t i = 0; i < 500000; i++)
		take(l, source(0x0b000000 + i), 10, 0);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(take(l, source(0xc0000000 + i), 10, 1), 10);
	limit_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_bucket_holds_a_second_s_worth_and_refills_at_the_rate),
		T(sources_are_addresses_and_ipv6_prefixes_of_64_bits),
		T(it_holds_over_days_in_which_its_clock_wraps),
		T(a_flood_of_a_million_sources_costs_the_honest_nothing_and_frees_no_greedy),
		T(newcomers_are_answered_when_every_bucket_is_drained),
	};

	return RUN(tests);
}
