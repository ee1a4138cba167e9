/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>

#include "lib/endpoint.h"

static void an_ipv4_endpoint_is_written_and_read(void **state)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse_ip(&e, "203.0.113.9", 40001), 0);
	assert_string_equal(endpoint_text(&e, text), "203.0.113.9:40001");
	assert_int_equal(endpoint_ip32(&e), 0xcb007109u);
	struct endpoint same = endpoint_ipv4(0xcb007109u, 40001);
	assert_true(endpoint_equal(&e, &same));
}

static void an_ipv6_endpoint_has_brackets(void **state)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse_ip(&e, "2001:db8:ffff:ffff:ffff:ffff:255.255.255.255", 65535), 0);
	assert_string_equal(endpoint_text(&e, text), "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	assert_int_equal(endpoint_ip32(&e), 0);
}

static void what_is_no_address_is_refused(void **state)
{
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse_ip(&e, "192.0.2", 1), -EINVAL);
	assert_int_equal(endpoint_parse_ip(&e, "example.org", 1), -EINVAL);
	assert_int_equal(endpoint_parse_ip(&e, "", 1), -EINVAL);
}

static struct endpoint at(const char *ip)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse_ip(&e, ip, 1), 0);
	return e;
}

static void a_host_has_a_unicast_address_and_a_port(void **state)
{
	static const char *const good[] = { "1.0.0.1", "127.0.0.1", "192.168.1.1", "223.255.255.255", "::1", "2001:db8::1", "fe80::1" };
	static const char *const bad[] = { "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "ff02::1" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct endpoint e = at(good[i]);

		assert_true(endpoint_is_host(&e));
		e.port = 0;
		assert_false(endpoint_is_host(&e));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct endpoint e = at(bad[i]);

		assert_false(endpoint_is_host(&e));
	}
	assert_false(endpoint_is_host(&(struct endpoint){ .port = 1 }));
}

static void local_is_what_the_internet_does_not_route(void **state)
{
	static const char *const local[] = { "10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1", "100.127.255.1",
		"169.254.1.1", "127.0.0.1", "::1", "fe80::1", "febf::1", "fc00::1", "fd00::1" };
	static const char *const global[] = { "9.255.255.255", "11.0.0.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "100.63.0.1",
		"100.128.0.1", "203.0.113.1", "2001:db8::1", "fec0::1", "::2" };

	(void)state;
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
		const struct endpoint e = at(local[i]);

		assert_true(endpoint_is_local(&e));
	}
	for (size_t i = 0; i < sizeof(global) / sizeof(global[0]); i++) {
		const struct endpoint e = at(global[i]);

		assert_false(endpoint_is_local(&e));
	}
}

static void an_endpoint_is_read_with_its_port(void **state)
{
	static const char *const wrong[] = { "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:99999999999", "127.0.0.1:8x",
		"127.0.0.1: 8", "[127.0.0.1]:8", "::1:8", "[::1]", "[::1:8", "[]:8", "localhost:8", "127.0.0.1:-8" };
	static const char *const right[] = { "127.0.0.1:9699", "0.0.0.0:1", "[::1]:65535", "[2001:db8::7]:80" };
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e = { .port = 7 };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (endpoint_parse(&e, wrong[i]) != -EINVAL)
			fail_msg("'%s' was read", wrong[i]);
		assert_int_equal(e.port, 7);
	}
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		assert_int_equal(endpoint_parse(&e, right[i]), 0);
		assert_string_equal(endpoint_text(&e, text), right[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_ipv4_endpoint_is_written_and_read),
		T(an_ipv6_endpoint_has_brackets),
		T(what_is_no_address_is_refused),
		T(a_host_has_a_unicast_address_and_a_port),
		T(an_endpoint_is_read_with_its_port),
		T(local_is_what_the_internet_does_not_route),
	};

	return RUN(tests);
}
