/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "sys/netif.h"

static uint32_t ip(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (uint32_t)a << 24 | (uint32_t)b << 16 | (uint32_t)c << 8 | d;
}

/* All of 172.16.0.0/12, which by the letters of the address is easily got wrong. */
static void private_addresses_are_those_of_rfc1918_and_rfc6598(void **state)
{
	static const uint8_t edges[][4] = { { 10, 0, 0, 0 }, { 10, 255, 255, 255 }, { 172, 16, 0, 0 }, { 172, 31, 255, 255 },
		{ 192, 168, 0, 0 }, { 192, 168, 255, 255 }, { 100, 64, 0, 0 }, { 100, 127, 255, 255 } };

	(void)state;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		const uint32_t edge = ip(edges[i][0], edges[i][1], edges[i][2], edges[i][3]);

		assert_true(netif_ip_is_private(edge));
		assert_false(netif_ip_is_private(i % 2 ? edge + 1 : edge - 1));
	}
}

static void neighbours_are_hosts_of_the_interface_s_subnets(void **state)
{
	const struct netif n = { .subnets = { { ip(172, 20, 1, 1), ip(255, 255, 255, 0) }, { ip(10, 0, 0, 1), ip(255, 255, 255, 252) } },
		.subnet_count = 2 };

	(void)state;
	assert_true(netif_is_neighbour(&n, ip(172, 20, 1, 254)));
	assert_true(netif_is_neighbour(&n, ip(10, 0, 0, 2)));
	assert_false(netif_is_neighbour(&n, ip(172, 20, 1, 0)));   /* the network */
	assert_false(netif_is_neighbour(&n, ip(172, 20, 1, 255))); /* everybody */
	assert_false(netif_is_neighbour(&n, ip(172, 20, 2, 1)));
	assert_false(netif_is_neighbour(&n, ip(10, 0, 0, 4)));
	assert_true(netif_owns(&n, ip(10, 0, 0, 1)));
	assert_false(netif_owns(&n, ip(10, 0, 0, 2)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(private_addresses_are_those_of_rfc1918_and_rfc6598),
		T(neighbours_are_hosts_of_the_interface_s_subnets),
	};

	return RUN(tests);
}
