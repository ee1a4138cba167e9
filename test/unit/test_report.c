/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "probe/config.h"
#include "probe/report.h"
#include "sys/info.h"

static const struct endpoint server = { .family = ENDPOINT_IPV4, .port = 3478, .ip = { 198, 51, 100, 1 } };

static struct report report_of(const struct discovery_verdict *v)
{
	struct report r = { .asked = "stun.example.org:3478" };

	info_of_verdict(&r.info, v, &server, 5040);
	return r;
}

static struct discovery_verdict full_cone(void)
{
	return (struct discovery_verdict){ .type = STUNWAY_FULL_CONE, .confidence = 0.999, .mapping = STUNWAY_ENDPOINT_INDEPENDENT,
		.filtering = STUNWAY_ENDPOINT_INDEPENDENT, .port_mode = STUNWAY_PORTS_RANDOM, .outer = endpoint_ipv4(0xcb007109, 40001),
		.local = endpoint_ipv4(0xc0a80105, 5000), .rtt_ms = 12 };
}

static const char *info_for(enum stunway_type type, unsigned notes)
{
	static struct report r;
	const struct discovery_verdict v = { .type = type, .notes = notes, .code = 401 };

	r = report_of(&v);
	return r.info.info;
}

static const char *table(const struct report *r)
{
	static char text[4096];
	FILE *f = fmemopen(text, sizeof(text), "w");

	report_table(f, r, false);
	fclose(f);
	return text;
}

static void json_has_the_keys_of_the_manual_in_their_order(void **state)
{
	const struct discovery_verdict v = full_cone();
	const struct report r = report_of(&v);
	char text[REPORT_JSON_MAX];

	(void)state;
	assert_string_equal(report_json(text, &r),
		"{\"type\":\"FullCone\",\"external\":{\"address\":\"203.0.113.9\",\"port\":40001},"
		"\"local\":{\"address\":\"192.168.1.5\",\"port\":5000},\"info\":\"\",\"port_mode\":\"Random\","
		"\"mapping\":\"endpoint-independent\",\"filtering\":\"endpoint-independent\",\"confidence\":0.999,"
		"\"server\":\"198.51.100.1:3478\",\"rtt_ms\":12,\"loss\":0,\"alg\":false,\"many_addresses\":false}");
}

static void json_without_an_answer_has_null_and_the_server_as_it_was_named(void **state)
{
	struct report r = { .asked = "stun.\"example\":1" };
	const struct endpoint none = { 0 };
	char text[REPORT_JSON_MAX];

	(void)state;
	info_of_fault(&r.info, &none, "cannot resolve '%s'", "x\ny");
	assert_string_equal(report_json(text, &r),
		"{\"type\":\"Error\",\"external\":null,\"local\":null,\"info\":\"cannot resolve 'x\\u000ay'\",\"port_mode\":\"\","
		"\"mapping\":\"\",\"filtering\":\"\",\"confidence\":1,\"server\":\"stun.\\u0022example\\u0022:1\","
		"\"rtt_ms\":0,\"loss\":0,\"alg\":false,\"many_addresses\":false}");
}

static void json_has_the_extras_only_when_they_were_asked_for(void **state)
{
	const struct discovery_verdict v = full_cone();
	struct report r = report_of(&v);
	char text[REPORT_JSON_MAX];

	(void)state;
	r.tcp = r.hairpin = r.lifetime = (struct report_extra){ .asked = true };
	r.tcp_mapping = STUNWAY_ADDRESS_DEPENDENT;
	r.hairpin_result.answer = HAIRPIN_NO;
	r.lifetime_progress = (struct lifetime_progress){ .reason = LIFETIME_OK, .alive_s = 118, .dead_s = 122, .estimate_s = 120 };
	assert_non_null(strstr(report_json(text, &r), ",\"tcp_mapping\":\"address-dependent\",\"tcp_external\":null,\"tcp_info\":\"\","
		"\"hairpin\":false,\"hairpin_info\":\"no: hosts behind this NAT do not reach each other by outer addresses\","
		"\"lifetime_s\":120,\"lifetime_min_s\":118,\"lifetime_max_s\":122,\"lifetime_info\":\"120 s (more than 118, at most 122)\"}"));
	r.lifetime_progress = (struct lifetime_progress){ .reason = LIFETIME_REFUSED, .code = 420 };
	assert_non_null(strstr(report_json(text, &r), "\"lifetime_s\":null,\"lifetime_min_s\":null,\"lifetime_max_s\":null,"
		"\"lifetime_info\":\"unknown: the server answers RESPONSE-PORT, which the test needs, with STUN error 420\"}"));
}

static void the_longest_json_fits(void **state)
{
	struct report r = { 0 };
	static char asked[CONFIG_HOST_MAX + 16];
	char text[REPORT_JSON_MAX];

	(void)state;
	memset(asked, 1, sizeof(asked) - 1);
	memset(r.info.info, 1, sizeof(r.info.info) - 1);
	r.asked = asked;
	r.tcp = r.hairpin = r.lifetime = (struct report_extra){ .asked = true };
	memset(r.tcp.why, 'x', sizeof(r.tcp.why) - 1);
	report_json(text, &r);
	assert_int_equal(text[strlen(text) - 1], '}');
}

static void the_table_is_aligned_and_says_what_the_type_means(void **state)
{
	const struct discovery_verdict v = full_cone();
	struct report r = report_of(&v);

	(void)state;
	assert_string_equal(table(&r),
		"type         FullCone (certain to 99.9 %)\n"
		"meaning      strangers reach an external port for as long as it is kept open: servers and games work, no hole punching needed\n"
		"external     203.0.113.9:40001\n"
		"local        192.168.1.5:5000\n"
		"mapping      endpoint-independent\n"
		"filtering    endpoint-independent\n"
		"ports        Random\n"
		"server       198.51.100.1:3478, round trip 12 ms\n");
	r.hairpin.asked = r.tcp.asked = true;
	strcpy(r.tcp.why, "the server names no second address");
	r.hairpin_result.answer = HAIRPIN_YES;
	assert_non_null(strstr(table(&r), "\nTCP mapping  not to be told: the server names no second address\nhairpin      yes\n"));
}

static void the_exit_code_follows_from_the_type(void **state)
{
	(void)state;
	for (enum stunway_type type = STUNWAY_UNKNOWN; type <= STUNWAY_SYMMETRIC_NAT; type++) {
		const struct report r = { .info.type = type };

		assert_int_equal(report_exit_code(&r), type <= STUNWAY_ERROR ? 1 : type == STUNWAY_BLOCKED ? 3 : 0);
	}
}

static void info_says_why_and_nothing_where_there_is_nothing_to_say(void **state)
{
	(void)state;
	assert_string_equal(info_for(STUNWAY_FULL_CONE, 0), "");
	assert_string_equal(info_for(STUNWAY_FULL_CONE, DISCOVERY_POOL), "");
	assert_string_equal(info_for(STUNWAY_BLOCKED, 0), "no answer from 198.51.100.1:3478 in 5.0 s: UDP is blocked, or the server is down");
	assert_string_equal(info_for(STUNWAY_BLOCKED, DISCOVERY_TCP_ANSWERS),
		"no answer from 198.51.100.1:3478 in 5.0 s, though its host is up: UDP is blocked, or no STUN server is there");
	assert_string_equal(info_for(STUNWAY_ERROR, DISCOVERY_REFUSED), "198.51.100.1:3478 answers with STUN error 401");
	assert_string_equal(info_for(STUNWAY_UNKNOWN, 0), "the evidence does not suffice");
	assert_string_equal(info_for(STUNWAY_UNKNOWN, DISCOVERY_NO_OTHER),
		"the server names no second address, so mapping and filtering cannot be told");
	assert_string_equal(info_for(STUNWAY_UNKNOWN, DISCOVERY_OTHER_SILENT | DISCOVERY_SHORT_OF_TIME),
		"the server's second address does not answer, so not everything can be told; the time was too short for enough evidence");
	assert_true(strlen(info_for(STUNWAY_UNKNOWN, ~0u)) < STUNWAY_INFO_MAX); /* cut, not overrun */
}

static void text_functions_know_every_value_and_no_other(void **state)
{
	(void)state;
	assert_string_equal(stunway_type_text(STUNWAY_PORT_RESTRICTED_CONE), "PortRestrictedCone");
	assert_string_equal(stunway_type_text((enum stunway_type)99), "");
	assert_string_equal(stunway_type_text((enum stunway_type)-1), "");
	assert_string_equal(stunway_behavior_text(STUNWAY_ADDRESS_AND_PORT_DEPENDENT), "address-and-port-dependent");
	assert_string_equal(stunway_behavior_text(STUNWAY_BEHAVIOR_UNKNOWN), "");
	assert_string_equal(stunway_port_mode_text(STUNWAY_PORTS_UNKNOWN), "");
	assert_string_equal(stunway_port_mode_text(STUNWAY_PORTS_DECREMENT), "Decrement");
}

static void a_server_is_a_name_or_a_literal_with_or_without_a_port(void **state)
{
	const struct {
		const char *text, *host; /* NULL: refused */
		uint16_t port;
	} rows[] = {
		{ "stun.example.org", "stun.example.org", 1 },
		{ "stun.example.org:65535", "stun.example.org", 65535 },
		{ "198.51.100.1:3479", "198.51.100.1", 3479 },
		{ "2001:db8::1", "2001:db8::1", 1 },
		{ "[2001:db8::1]", "2001:db8::1", 1 },
		{ "[2001:db8::1]:3479", "2001:db8::1", 3479 },
		{ "", NULL, 0 },
		{ ":3478", NULL, 0 },
		{ "a:", NULL, 0 },
		{ "a:0", NULL, 0 },
		{ "a:65536", NULL, 0 },
		{ "a:18446744073709551617", NULL, 0 },
		{ "a:+1", NULL, 0 },
		{ "a:1x", NULL, 0 },
		{ "a b", NULL, 0 },
		{ "http://a", NULL, 0 },
		{ "[::1", NULL, 0 },
		{ "[::1]x", NULL, 0 },
		{ "[]:1", NULL, 0 },
		{ "[198.51.100.1]:1", NULL, 0 },
		{ "a:b:c", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char host[CONFIG_HOST_MAX];
		uint16_t port = 1;
		const int err = config_host_read(host, &port, rows[i].text);

		assert_int_equal(err, rows[i].host ? 0 : -EINVAL);
		if (rows[i].host) {
			assert_string_equal(host, rows[i].host);
			assert_int_equal(port, rows[i].port);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(json_has_the_keys_of_the_manual_in_their_order),
		T(json_without_an_answer_has_null_and_the_server_as_it_was_named),
		T(json_has_the_extras_only_when_they_were_asked_for),
		T(the_longest_json_fits),
		T(the_table_is_aligned_and_says_what_the_type_means),
		T(the_exit_code_follows_from_the_type),
		T(info_says_why_and_nothing_where_there_is_nothing_to_say),
		T(text_functions_know_every_value_and_no_other),
		T(a_server_is_a_name_or_a_literal_with_or_without_a_port),
	};

	return RUN(tests);
}
