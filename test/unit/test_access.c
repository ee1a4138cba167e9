/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <stdbool.h>

#include "lib/access.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static struct access rules_of(const char *const *texts, size_t count)
{
	struct access a = { 0 };

	for (size_t i = 0; i < count; i++)
		assert_int_equal(access_add(&a, texts[i]), 0);
	return a;
}
#define RULES(...) rules_of((const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void a_rule_is_read(void **state)
{
	struct access_rule r;

	(void)state;
	assert_int_equal(access_parse(&r, "allow 1024-65535 192.168.1.77/24 22"), 0);
	assert_true(r.allow);
	assert_int_equal(r.external.low, 1024);
	assert_int_equal(r.external.high, 65535);
	assert_int_equal(r.net, IP(192, 168, 1, 0));
	assert_int_equal(r.mask, 0xffffff00);
	assert_int_equal(r.internal.low, 22);
	assert_int_equal(r.internal.high, 22);
	assert_int_equal(access_parse(&r, "\t deny  0-65535\t0.0.0.0/0 0-65535 "), 0);
	assert_false(r.allow);
	assert_int_equal(r.mask, 0);
	assert_int_equal(access_parse(&r, "deny 1 10.0.0.7 1"), 0);
	assert_int_equal(r.mask, UINT32_MAX);
}

static void what_is_no_rule_is_refused(void **state)
{
	static const char *const wrong[] = { "", "allow", "permit 1 10.0.0.0/8 1", "allow 1 10.0.0.0/8", "allow 1 10.0.0.0/8 1 more",
		"allow 65536 10.0.0.0/8 1", "allow 2-1 10.0.0.0/8 1", "allow 1- 10.0.0.0/8 1", "allow -1 10.0.0.0/8 1",
		"allow 1 10.0.0.0/33 1", "allow 1 10.0.0.0/ 1", "allow 1 10.0.0/8 1", "allow 1 ::1/128 1", "allow 1 10.0.0.0/8/8 1",
		"allow 1x 10.0.0.0/8 1", "allow 99999999999999999999 10.0.0.0/8 1", "allow 1 10.0.0.0/8 1-2-3", "allowed 1 10.0.0.0/8 1",
		"allow 00000000000000000000000000000000000000001 10.0.0.0/8 1" };
	struct access_rule r = { .allow = true };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (access_parse(&r, wrong[i]) != -EINVAL)
			fail_msg("'%s' was read as a rule", wrong[i]);
		assert_true(r.allow); /* a failure leaves it untouched */
	}
}

static void without_rules_all_is_allowed(void **state)
{
	const struct access a = { 0 };

	(void)state;
	assert_true(access_allows(&a, IP(10, 0, 0, 1), 80, 65535));
	assert_int_equal(access_next(&a, 0, 1, 20000, 29999), 20000);
	assert_int_equal(access_next(&a, 0, 1, 0, 29999), 1);
}

static void the_first_rule_that_fits_decides(void **state)
{
	const struct access a = RULES("deny 0-65535 192.168.1.13/32 0-65535", "allow 1024-65535 192.168.1.0/24 1024-65535",
		"allow 2222 192.168.1.10/32 22", "deny 0-65535 0.0.0.0/0 0-65535", "allow 0-65535 0.0.0.0/0 0-65535");

	(void)state;
	assert_true(access_allows(&a, IP(192, 168, 1, 10), 6881, 20000));
	assert_false(access_allows(&a, IP(192, 168, 1, 13), 6881, 20000));
	assert_false(access_allows(&a, IP(192, 168, 2, 10), 6881, 20000));
	assert_false(access_allows(&a, IP(192, 168, 1, 10), 80, 20000));
	assert_false(access_allows(&a, IP(192, 168, 1, 10), 6881, 1023));
	assert_true(access_allows(&a, IP(192, 168, 1, 10), 22, 2222));
	assert_false(access_allows(&a, IP(192, 168, 1, 11), 22, 2222));
}

static void the_next_allowed_port_is_found_past_those_denied(void **state)
{
	const struct access a = RULES("allow 25000-25009 10.0.0.0/8 0-65535", "deny 20000-20999 0.0.0.0/0 0-65535",
		"deny 20500-28000 10.1.0.0/16 0-65535", "deny 29000-65535 0.0.0.0/0 0-65535");

	(void)state;
	assert_int_equal(access_next(&a, IP(10, 1, 0, 1), 1, 20000, 29999), 25000);
	assert_int_equal(access_next(&a, IP(10, 1, 0, 1), 1, 25010, 29999), 28001);
	assert_int_equal(access_next(&a, IP(10, 2, 0, 1), 1, 20000, 29999), 21000);
	assert_int_equal(access_next(&a, IP(10, 2, 0, 1), 1, 29000, 29999), 0);
	assert_int_equal(access_next(&a, IP(10, 2, 0, 1), 1, 65535, 65535), 0);
	assert_int_equal(access_next(&a, IP(10, 1, 0, 1), 1, 20000, 24999), 0);
}

static void there_is_an_end_to_rules(void **state)
{
	struct access a = { 0 };

	(void)state;
	for (size_t i = 0; i < ACCESS_RULES_MAX; i++)
		assert_int_equal(access_add(&a, "allow 1 10.0.0.1 1"), 0);
	assert_int_equal(access_add(&a, "allow 1 10.0.0.1 1"), -ENOSPC);
	assert_int_equal(access_add(&a, "nonsense"), -EINVAL);
	assert_int_equal(a.count, ACCESS_RULES_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(a_rule_is_read),
		T(what_is_no_rule_is_refused),
		T(without_rules_all_is_allowed),
		T(the_first_rule_that_fits_decides),
		T(the_next_allowed_port_is_found_past_those_denied),
		T(there_is_an_end_to_rules),
	};

	return RUN(tests);
}
