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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_ipv4_endpoint_is_written_and_read),
		T(an_ipv6_endpoint_has_brackets),
		T(what_is_no_address_is_refused),
	};

	return RUN(tests);
}
