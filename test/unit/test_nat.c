/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NAT's times and limits (lab/nat.c, lab/table.c), which take too long from real sockets. */
#include "test/unit/test.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "lab/nat.h"
#include "lab/table.h"

#define CUSTOMER 0x64400003u /* 100.64.0.3 */
#define SERVER   0xc6336401u /* 198.51.100.1 */
#define STRANGER 0xc0000242u /* 192.0.2.66 */
#define OUTER    0xcb007101u /* 203.0.113.1 */

static struct nat *nat_with(const char *const *options)
{
	char *argv[16] = { (char *)"natbox", (char *)"--outer=203.0.113.1" };
	const char *bad, *reason;
	struct config config;
	struct nat *n;
	int argc = 2;

	for (; *options; options++)
		argv[argc++] = (char *)*options;
	assert_int_equal(config_args(&config, argc, argv, &bad, &reason), 0);
	assert_int_equal(nat_new(&n, &config), 0);
	return n;
}

#define NAT(...) nat_with((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

struct flow {
	uint8_t proto;
	uint32_t src;
	uint16_t src_port;
	uint32_t dst;
	uint16_t dst_port;
};

static void put(uint8_t *at, uint32_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

/* Sends an empty datagram, or a segment with these flags; its outer source port goes to *port when it leaves. */
static enum reason send_flags(
	struct nat *n, enum side from, struct flow f, uint8_t flags, uint64_t now_ms, uint16_t *port)
{
	uint8_t bytes[40] = { 0x45 };
	const size_t len = f.proto == IPPROTO_TCP ? 40 : 28;

	put(bytes + 2, (uint32_t)len, 2);
	bytes[9] = f.proto;
	put(bytes + 12, f.src, 4);
	put(bytes + 16, f.dst, 4);
	put(bytes + 20, f.src_port, 2);
	put(bytes + 22, f.dst_port, 2);
	if (f.proto == IPPROTO_TCP) {
		bytes[32] = 0x50;
		bytes[33] = flags;
	} else {
		put(bytes + 24, 8, 2);
	}
	const struct verdict v = nat_handle(n, from, bytes, len, now_ms);
	if (port && v.reason == REASON_NONE)
		*port = (uint16_t)(v.bytes[20] << 8 | v.bytes[21]);
	return v.reason;
}

static enum reason out(struct nat *n, struct flow f, uint64_t now_ms)
{
	return send_flags(n, SIDE_INSIDE, f, TCP_SYN, now_ms, NULL);
}

static enum reason in(struct nat *n, struct flow f, uint64_t now_ms)
{
	return send_flags(n, SIDE_OUTSIDE, f, TCP_SYN, now_ms, NULL);
}

static const struct flow udp_out = { IPPROTO_UDP, CUSTOMER, 4000, SERVER, 3478 };
static const struct flow udp_in = { IPPROTO_UDP, SERVER, 3478, OUTER, 4000 };
static const struct flow udp_stranger = { IPPROTO_UDP, STRANGER, 9, OUTER, 4000 };
static const struct flow tcp_out = { IPPROTO_TCP, CUSTOMER, 4000, SERVER, 3478 };
static const struct flow tcp_in = { IPPROTO_TCP, SERVER, 3478, OUTER, 4000 };
static const struct flow tcp_stranger = { IPPROTO_TCP, STRANGER, 9, OUTER, 4000 };

static void a_udp_mapping_lives_its_time_to_the_millisecond(void **state)
{
	struct nat *n = NAT("--udp-timeout=120");

	(void)state;
	assert_int_equal(out(n, udp_out, 1000), REASON_NONE);
	assert_int_equal(in(n, udp_in, 120999), REASON_NONE); /* does not refresh */
	assert_int_equal(in(n, udp_in, 121000), REASON_NO_MAPPING);
	assert_int_equal(out(n, udp_out, 121000), REASON_NONE);
	assert_int_equal(out(n, udp_out, 240999), REASON_NONE); /* does */
	assert_int_equal(in(n, udp_in, 360998), REASON_NONE);
	assert_int_equal(in(n, udp_in, 360999), REASON_NO_MAPPING);
	nat_free(n);
}

static void inbound_packets_refresh_only_when_told_even_those_of_strangers(void **state)
{
	struct nat *n = NAT("--udp-timeout=10", "--inbound-refresh");

	(void)state;
	assert_int_equal(out(n, udp_out, 0), REASON_NONE);
	for (uint64_t now_ms = 5000; now_ms < 60000; now_ms += 5000)
		assert_int_equal(in(n, udp_stranger, now_ms), REASON_NONE);
	assert_true(nat_expire(n, 60000));
	assert_int_equal(in(n, udp_in, 64000), REASON_NONE);
	assert_int_equal(nat_set(n, "filtering", "apd"), 0);
	assert_int_equal(in(n, udp_in, 65000), REASON_FILTERED); /* the session itself was not refreshed */
	assert_int_equal(out(n, udp_out, 65000), REASON_NONE);
	assert_int_equal(in(n, udp_in, 65000), REASON_NONE);
	nat_free(n);
}

static void a_filters_permission_ends_with_its_session_not_with_the_mapping(void **state)
{
	struct nat *n = NAT("--udp-timeout=10", "--filtering=ad");
	const struct flow to_stranger = { IPPROTO_UDP, CUSTOMER, 4000, STRANGER, 9 };

	(void)state;
	assert_int_equal(out(n, to_stranger, 0), REASON_NONE);
	assert_int_equal(out(n, udp_out, 9000), REASON_NONE);
	assert_int_equal(in(n, udp_stranger, 9999), REASON_NONE);
	assert_int_equal(in(n, udp_stranger, 10000), REASON_FILTERED);
	assert_int_equal(in(n, udp_in, 10000), REASON_NONE);
	nat_free(n);
}

static void tcp_sessions_have_the_times_of_their_states(void **state)
{
	struct nat *n = NAT("--tcp-transitory=240", "--tcp-timeout=7440");

	(void)state;
	assert_int_equal(out(n, tcp_out, 0), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_SYN | TCP_ACK, 240000, NULL), REASON_NO_MAPPING);

	assert_int_equal(out(n, tcp_out, 300000), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_SYN | TCP_ACK, 300001, NULL), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_ACK, 7740000, NULL), REASON_NONE); /* refreshed */
	assert_int_equal(send_flags(n, SIDE_INSIDE, tcp_out, TCP_ACK, 15179999, NULL), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_INSIDE, tcp_out, TCP_FIN | TCP_ACK, 15180000, NULL), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_ACK, 15419999, NULL), REASON_NONE); /* half closed */
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_FIN | TCP_ACK, 15420000, NULL), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_INSIDE, tcp_out, TCP_ACK, 15423999, NULL), REASON_NONE); /* lingers */
	assert_int_equal(send_flags(n, SIDE_INSIDE, tcp_out, TCP_ACK, 15424000, NULL), REASON_NO_SESSION);
	assert_false(nat_expire(n, 15424000));
	nat_free(n);
}

static void a_closing_session_lets_nobody_in_but_may_begin_anew(void **state)
{
	struct nat *n = NAT("--filtering=ei");

	(void)state;
	assert_int_equal(out(n, tcp_out, 0), REASON_NONE);
	assert_int_equal(in(n, tcp_stranger, 1), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_stranger, TCP_RST, 2, NULL), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_RST, 3, NULL), REASON_NONE);
	assert_int_equal(in(n, tcp_stranger, 4), REASON_FILTERED);
	assert_int_equal(out(n, tcp_out, 5), REASON_NONE);
	assert_int_equal(in(n, tcp_stranger, 6), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_SYN | TCP_ACK, 4007, NULL), REASON_NONE);
	nat_free(n);
}

static void a_tcp_mapping_goes_with_its_last_session(void **state)
{
	struct nat *n = NAT("--filtering=ei");

	(void)state;
	assert_int_equal(out(n, tcp_out, 0), REASON_NONE);
	assert_int_equal(in(n, tcp_stranger, 0), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_in, TCP_RST, 0, NULL), REASON_NONE);
	assert_true(nat_expire(n, 10000)); /* the stranger's still holds it */
	assert_int_equal(in(n, tcp_stranger, 10000), REASON_NONE);
	assert_int_equal(send_flags(n, SIDE_OUTSIDE, tcp_stranger, TCP_RST, 10000, NULL), REASON_NONE);
	assert_false(nat_expire(n, 14000));
	nat_free(n);
}

static void only_a_syn_makes_a_mapping(void **state)
{
	struct nat *n = NAT("--tcp-unknown=rst");
	const uint8_t others[] = { 0, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN | TCP_ACK, TCP_SYN | TCP_FIN,
		TCP_SYN | TCP_RST };

	(void)state;
	for (size_t i = 0; i < sizeof(others); i++)
		assert_int_equal(send_flags(n, SIDE_INSIDE, tcp_out, others[i], 0, NULL), REASON_NO_SESSION);
	assert_false(nat_expire(n, 0));
	assert_int_equal(send_flags(n, SIDE_INSIDE, tcp_out, TCP_SYN | 0xc0, 0, NULL), REASON_NONE); /* with ECN */
	nat_free(n);
}

static void one_connection_has_one_mapping(void **state)
{
	struct nat *n = NAT("--tcp-mapping=apd", "--filtering=ei", "--ports=increment");
	const struct flow to_stranger = { IPPROTO_TCP, CUSTOMER, 4000, STRANGER, 9 };
	struct flow from_stranger = { IPPROTO_TCP, STRANGER, 9, OUTER, 1024 };

	(void)state;
	assert_int_equal(out(n, tcp_out, 0), REASON_NONE);     /* port 1024 */
	assert_int_equal(out(n, to_stranger, 0), REASON_NONE); /* port 1025 */
	assert_int_equal(in(n, from_stranger, 1), REASON_FILTERED);
	from_stranger.dst_port = 1025;
	assert_int_equal(in(n, from_stranger, 1), REASON_NONE);
	from_stranger.dst_port = 1024;
	from_stranger.src_port = 10;
	assert_int_equal(in(n, from_stranger, 1), REASON_NONE);
	nat_free(n);
}

static void every_port_is_given_once_then_none(void **state)
{
	static bool taken[65536];

	(void)state;
	const char *const modes[] = { "--ports=increment", "--ports=decrement", "--ports=random", "--ports=preserve" };
	for (size_t m = 0; m < 4; m++) {
		struct nat *n = NAT(modes[m], "--port-range=60001-65535");
		struct flow f = udp_out;

		memset(taken, 0, sizeof(taken));
		for (uint32_t i = 0; i < 5535; i++) {
			uint16_t port = 0;

			f.src_port = (uint16_t)(i + 1);
			assert_int_equal(send_flags(n, SIDE_INSIDE, f, 0, 0, &port), REASON_NONE);
			assert_true(port >= 60001);
			assert_false(taken[port]);
			taken[port] = true;
		}
		f.src_port = 30000;
		assert_int_equal(out(n, f, 119999), REASON_NO_PORT);
		assert_int_equal(out(n, f, 120000), REASON_NONE); /* expired ports are free, swept or not */
		nat_free(n);
	}
}

static void a_full_table_refuses_and_is_usable_again_when_it_has_emptied(void **state)
{
	struct nat *n = NAT("--mode=firewall");
	struct flow f = udp_out;

	(void)state;
	for (int round = 0; round < 3; round++) {
		const uint64_t now_ms = (uint64_t)round * 1000000;

		for (uint32_t i = 0; i < TABLE_MAPPINGS; i++) {
			f.src = CUSTOMER + (i & 255);
			f.src_port = (uint16_t)(1 + (i >> 8));
			assert_int_equal(out(n, f, now_ms), REASON_NONE);
		}
		f.src_port = 60000;
		assert_int_equal(out(n, f, now_ms), REASON_TABLE_FULL);
		assert_true(nat_expire(n, now_ms + 119999));
		assert_false(nat_expire(n, now_ms + 120000));
	}
	nat_free(n);
}

static void one_mapping_can_have_every_session_and_stays_quick(void **state)
{
	struct nat *n = NAT("--filtering=apd");
	struct flow f = udp_out;

	(void)state;
	for (uint32_t i = 0; i < TABLE_SESSIONS; i++) {
		f.dst = SERVER + (i & 127);
		f.dst_port = (uint16_t)(1 + (i >> 7));
		assert_int_equal(out(n, f, i / 100), REASON_NONE);
	}
	f.dst_port = 60000;
	assert_int_equal(out(n, f, 2000), REASON_TABLE_FULL);
	struct flow back = { IPPROTO_UDP, SERVER, 1, OUTER, 4000 };
	for (uint32_t i = 0; i < TABLE_SESSIONS; i++) {
		back.src = SERVER + (i & 127);
		back.src_port = (uint16_t)(1 + (i >> 7));
		assert_int_equal(in(n, back, 2000), REASON_NONE);
	}
	back.src = STRANGER;
	assert_int_equal(in(n, back, 2000), REASON_FILTERED);
	assert_int_equal(out(n, f, 120000), REASON_TABLE_FULL); /* not swept: the first hundreds would be free */
	assert_true(nat_expire(n, 120500));
	assert_int_equal(out(n, f, 120500), REASON_NONE);
	assert_false(nat_expire(n, 1000000));
	nat_free(n);
}

static void an_outer_endpoint_belongs_to_one_inner_endpoint_whatever_happens(void **state)
{
	static uint32_t owner[2][65536];
	const char *const behaviours[] = { "ei", "ad", "apd" };
	const char *const ports[] = { "preserve", "increment", "decrement", "random" };
	struct nat *n = NAT("--port-range=1024-1100", "--udp-timeout=1", "--tcp-transitory=1", "--tcp-timeout=2");
	uint32_t seed = 3;
	uint64_t now_ms = 0;

	(void)state;
	for (int i = 0; i < 300000; i++) {
		seed = seed * 1664525 + 1013904223;
		const uint32_t r = seed >> 8;
		const bool tcp = r & 1, outward = r & 2;
		const uint32_t inner = CUSTOMER + (r >> 2 & 3);
		const uint16_t inner_port = (uint16_t)(1020 + (r >> 4 & 15));
		struct flow f = { tcp ? IPPROTO_TCP : IPPROTO_UDP, inner, inner_port, SERVER + (r >> 8 & 3),
			(uint16_t)(1 + (r >> 10 & 3)) };
		const uint8_t flags =
			(uint8_t[]){ TCP_SYN, TCP_ACK, TCP_SYN | TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST }[r % 5];
		uint16_t port = 0;

		if (r % 97 == 0)
			assert_int_equal(nat_set(n, "mapping", behaviours[r / 97 % 3]), 0);
		if (r % 89 == 0)
			assert_int_equal(nat_set(n, "filtering", behaviours[r / 89 % 3]), 0);
		if (r % 83 == 0)
			assert_int_equal(nat_set(n, "ports", ports[r / 83 % 4]), 0);
		if (r % 4999 == 0)
			nat_flush(n);
		now_ms += r % 7;
		if (outward) {
			if (send_flags(n, SIDE_INSIDE, f, flags, now_ms, &port) == REASON_NONE)
				owner[tcp][port] = inner << 8 ^ inner_port;
			continue;
		}
		port = (uint16_t)(1024 + (r >> 12) % 77);
		f = (struct flow){ f.proto, f.dst, f.dst_port, OUTER, port };
		uint8_t bytes[40] = { 0x45 };
		put(bytes + 2, 40, 2);
		bytes[9] = f.proto;
		put(bytes + 12, f.src, 4);
		put(bytes + 16, f.dst, 4);
		put(bytes + 20, f.src_port, 2);
		put(bytes + 22, f.dst_port, 2);
		put(bytes + 24, 20, 2);
		bytes[32] = 0x50;
		bytes[33] = flags;
		const struct verdict v = nat_handle(n, SIDE_OUTSIDE, bytes, 40, now_ms);
		if (v.reason != REASON_NONE)
			continue;
		/* Whom it reaches is whoever last sent from that outer endpoint. */
		const uint32_t to =
			(uint32_t)bytes[16] << 24 | (uint32_t)bytes[17] << 16 | (uint32_t)bytes[18] << 8 | bytes[19];
		const uint32_t to_port = (uint32_t)bytes[22] << 8 | bytes[23];
		assert_int_equal(owner[tcp][port], to << 8 ^ to_port);
	}
	nat_free(n);
}

static void losses_are_as_many_as_told_and_the_same_again(void **state)
{
	unsigned lost[2] = { 0 };

	(void)state;
	for (int round = 0; round < 2; round++) {
		struct nat *n = NAT("--loss=12.5", "--seed=5");

		for (int i = 0; i < 100000; i++)
			lost[round] += out(n, udp_out, 0) == REASON_LOSS;
		nat_free(n);
	}
	assert_in_range(lost[0], 12000, 13000);
	assert_int_equal(lost[0], lost[1]);
}

/* The outer ports of so many inner ones, one after the other. */
static void outer_ports(struct nat *n, uint16_t *ports, size_t count)
{
	struct flow f = udp_out;

	for (size_t i = 0; i < count; i++, f.src_port++)
		assert_int_equal(send_flags(n, SIDE_INSIDE, f, 0, 0, &ports[i]), REASON_NONE);
}

static void a_counter_begins_where_it_is_told_steps_and_wraps(void **state)
{
	static const struct {
		const char *ports, *first, *step;
		uint16_t given[4];
	} rows[] = {
		{ "--ports=increment", "--port-first=65533", "--port-step=1", { 65533, 65534, 65535, 1024 } },
		{ "--ports=increment", "--port-first=65533", "--port-step=2", { 65533, 65535, 1025, 1027 } },
		{ "--ports=decrement", "--port-first=1025", "--port-step=1", { 1025, 1024, 65535, 65534 } },
		{ "--ports=decrement", "--port-first=1026", "--port-step=4", { 1026, 65534, 65530, 65526 } },
		{ "--ports=increment", "--port-first=7", "--port-step=1", { 1024, 1025, 1026, 1027 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nat *n = NAT(rows[i].ports, rows[i].first, rows[i].step);
		uint16_t ports[4];

		outer_ports(n, ports, 4);
		assert_memory_equal(ports, rows[i].given, sizeof(ports));
		nat_free(n);
	}
}

static void other_customers_take_0_to_n_ports_between(void **state)
{
	struct nat *n = NAT("--ports=increment", "--others=3");
	unsigned gaps[4] = { 0 };
	uint16_t ports[1000];

	(void)state;
	outer_ports(n, ports, 1000);
	for (size_t i = 1; i < 1000; i++) {
		assert_in_range(ports[i] - ports[i - 1], 1, 4);
		gaps[ports[i] - ports[i - 1] - 1]++;
	}
	for (size_t i = 0; i < 4; i++)
		assert_in_range(gaps[i], 150, 350);
	nat_free(n);
}

/* What nat_handle() says of an outbound datagram. */
static struct verdict sent(struct nat *n)
{
	static uint8_t bytes[28];

	memcpy(bytes, (uint8_t[28]){ 0x45, 0, 0, 28, [9] = IPPROTO_UDP, [25] = 8 }, 28);
	put(bytes + 12, CUSTOMER, 4);
	put(bytes + 16, SERVER, 4);
	put(bytes + 20, 4000, 2);
	return nat_handle(n, SIDE_INSIDE, bytes, sizeof(bytes), 0);
}

static void jitter_delays_each_packet_alone_within_its_bounds(void **state)
{
	struct nat *n = NAT("--delay=100", "--jitter=9");
	unsigned delays[10] = { 0 };

	(void)state;
	for (int i = 0; i < 10000; i++) {
		const struct verdict v = sent(n);

		assert_int_equal(v.copies, 1);
		assert_in_range(v.delay_ms[0], 100, 109);
		delays[v.delay_ms[0] - 100]++;
	}
	for (size_t i = 0; i < 10; i++)
		assert_in_range(delays[i], 800, 1200);
	assert_int_equal(nat_set(n, "jitter", "0"), 0);
	assert_int_equal(sent(n).delay_ms[0], 100);
	nat_free(n);
}

static void packets_come_twice_as_often_as_told_each_in_its_own_time(void **state)
{
	struct nat *n = NAT("--duplicate=25", "--jitter=9");
	unsigned twice = 0, apart = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		const struct verdict v = sent(n);

		assert_in_range(v.copies, 1, 2);
		twice += v.copies == 2;
		apart += v.copies == 2 && v.delay_ms[0] != v.delay_ms[1];
	}
	assert_in_range(twice, 2300, 2700);
	assert_in_range(apart, twice * 8 / 10, twice);
	assert_int_equal(nat_set(n, "loss", "100"), 0);
	assert_int_equal(sent(n).copies, 0);
	nat_free(n);
}

static void an_alg_writes_the_inner_address_into_inbound_payloads(void **state)
{
	struct nat *n = NAT("--alg");

	(void)state;
	for (int on = 1; on >= 0; on--) {
		uint8_t bytes[40] = { 0x45, 0, 0, 40, [9] = IPPROTO_UDP, [25] = 20 };
		uint8_t *payload = bytes + 28;

		assert_int_equal(nat_set(n, "alg", on ? "on" : "off"), 0);
		assert_int_equal(out(n, udp_out, 0), REASON_NONE);
		put(bytes + 12, SERVER, 4);
		put(bytes + 16, OUTER, 4);
		put(bytes + 20, 3478, 2);
		put(bytes + 22, 4000, 2);
		put(payload + 1, OUTER, 4);
		put(payload + 7, OUTER ^ 0x2112A442, 4); /* XOR-MAPPED-ADDRESS is what this is no prey for */
		const struct verdict v = nat_handle(n, SIDE_OUTSIDE, bytes, sizeof(bytes), 0);
		uint8_t expected[12] = { 0 };
		put(expected + 1, on ? CUSTOMER : OUTER, 4);
		put(expected + 7, OUTER ^ 0x2112A442, 4);
		assert_int_equal(v.reason, REASON_NONE);
		assert_memory_equal(v.bytes + 28, expected, sizeof(expected));
	}
	nat_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_udp_mapping_lives_its_time_to_the_millisecond),
		T(inbound_packets_refresh_only_when_told_even_those_of_strangers),
		T(a_filters_permission_ends_with_its_session_not_with_the_mapping),
		T(tcp_sessions_have_the_times_of_their_states),
		T(a_closing_session_lets_nobody_in_but_may_begin_anew),
		T(a_tcp_mapping_goes_with_its_last_session),
		T(only_a_syn_makes_a_mapping),
		T(one_connection_has_one_mapping),
		T(every_port_is_given_once_then_none),
		T(a_full_table_refuses_and_is_usable_again_when_it_has_emptied),
		T(one_mapping_can_have_every_session_and_stays_quick),
		T(an_outer_endpoint_belongs_to_one_inner_endpoint_whatever_happens),
		T(losses_are_as_many_as_told_and_the_same_again),
		T(a_counter_begins_where_it_is_told_steps_and_wraps),
		T(other_customers_take_0_to_n_ports_between),
		T(jitter_delays_each_packet_alone_within_its_bounds),
		T(packets_come_twice_as_often_as_told_each_in_its_own_time),
		T(an_alg_writes_the_inner_address_into_inbound_payloads),
	};

	return RUN(tests);
}
