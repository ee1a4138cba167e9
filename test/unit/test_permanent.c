/* SPDX-License-Identifier: GPL-2.0-or-later */
/* [mapping NAME] sections, as sys/ini reads them into gateway/permanent. */
#include "test/unit/test.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/state/permanent.h"
#include "sys/ini.h"

struct config {
	uint32_t number;
	struct permanent all[PERMANENTS_MAX];
	size_t count;
};

static void *begin_section(void *c, const char *name, char said[OPTION_WHY_MAX])
{
	struct config *config = c;

	return permanent_add(config->all, &config->count, name, said);
}

static int end_section(void *c, const void *element, char said[OPTION_WHY_MAX])
{
	const struct config *config = c;

	return permanent_check(config->all, element, said);
}

static const struct option_row rows[] = {
	{ .name = "number", .kind = OPTION_U32, .offset = offsetof(struct config, number), .max = 100 },
	OPTIONS_END,
};
static const struct option_group group = { .kind = "mapping", .rows = permanent_rows, .begin = begin_section, .end = end_section };

/* What the last file said. */
static struct config config;
static char values[INI_TEXT_MAX + 1], why[INI_WHY_MAX];

static int set(const char *text)
{
	const struct ini file = { .rows = rows, .section = "gateway", .group = &group, .path = "a.conf", .text = text, .len = strlen(text),
		.values = values };

	config = (struct config){ .number = 7 };
	strcpy(why, "nothing");
	return ini_set(&file, &config, why);
}

static void assert_refused(const char *text, const char *message)
{
	assert_int_equal(set(text), -EINVAL);
	assert_string_equal(why, message);
}

#define WEB "[mapping web]\nprotocol = tcp\ninternal_ip = 192.168.1.20\ninternal_port = 443\n"

static void sections_are_mappings(void **state)
{
	const struct permanent *p = config.all;

	(void)state;
	assert_int_equal(set("[gateway]\nnumber = 1\n" WEB "relay_port = 20443\n[mapping dns] # ours\nprotocol = udp\ninternal_ip = wan\n"
			     "internal_port = 53\n[gateway]\n"), 0);
	assert_int_equal(config.number, 1);
	assert_int_equal(config.count, 2);
	assert_string_equal(p[0].name, "web");
	assert_int_equal(p[0].protocol, LEASE_TCP);
	assert_int_equal(p[0].internal_ip, 0xc0a80114);
	assert_int_equal(p[0].internal_port, 443);
	assert_int_equal(p[0].relay_port, 20443);
	assert_string_equal(p[1].name, "dns");
	assert_int_equal(p[1].protocol, LEASE_UDP);
	assert_true(p[1].on_wan);
	assert_int_equal(p[1].relay_port, 0);
}

static void what_a_section_lacks_is_said_with_its_line(void **state)
{
	(void)state;
	assert_refused("[mapping web]\n", "a.conf:1: section '[mapping web]': wants its protocol");
	assert_refused("\n[mapping web]\nprotocol=tcp\n[gateway]\n", "a.conf:2: section '[mapping web]': wants its internal_ip");
	assert_refused("[mapping web]\nprotocol=tcp\ninternal_ip=wan\n[mapping b]\n", "a.conf:1: section '[mapping web]': wants its internal_port");
}

static void a_wrong_value_of_a_section_is_named_with_its_line(void **state)
{
	(void)state;
	assert_refused("[mapping a]\nprotocol = icmp\n", "a.conf:2: protocol 'icmp': must be tcp or udp");
	assert_refused("[mapping a]\ninternal_ip = 127.0.0.1\n", "a.conf:2: internal_ip '127.0.0.1': must be a host's IPv4 address, or wan for the line's own");
	assert_refused("[mapping a]\ninternal_ip = 224.0.0.1\n", "a.conf:2: internal_ip '224.0.0.1': must be a host's IPv4 address, or wan for the line's own");
	assert_refused("[mapping a]\ninternal_ip = host\n", "a.conf:2: internal_ip 'host': must be a host's IPv4 address, or wan for the line's own");
	assert_refused("[mapping a]\ninternal_port = 0\n", "a.conf:2: internal_port '0': must be a number from 1 to 65535");
	assert_refused("[mapping a]\nrelay_port = 80\n", "a.conf:2: relay_port '80': must be a number from 1024 to 65535");
	assert_refused("[mapping a]\nnumber = 5\n", "a.conf:2: key 'number': no such key in [mapping]");
	assert_refused("[gateway]\nprotocol = tcp\n", "a.conf:2: key 'protocol': no such key in [gateway]");
	assert_refused(WEB "internal_port = 443\n", "a.conf:5: key 'internal_port' '443': must be given once only");
}

static void two_sections_are_not_in_each_others_way(void **state)
{
	(void)state;
	assert_refused(WEB WEB, "a.conf:5: section '[mapping web]': the name must be of letters, digits, '-', '_' and '.', and no other section's");
	assert_refused(WEB "[mapping b]\nprotocol=tcp\ninternal_ip=192.168.1.20\ninternal_port=443\n",
		"a.conf:5: section '[mapping b]': internal_port 443 of that host is [mapping web]'s");
	assert_refused(WEB "relay_port=2000\n[mapping b]\nprotocol=tcp\ninternal_ip=192.168.1.21\ninternal_port=443\nrelay_port=2000\n",
		"a.conf:6: section '[mapping b]': relay_port 2000 is [mapping web]'s");
	assert_int_equal(set(WEB "relay_port=2000\n[mapping b]\nprotocol=udp\ninternal_ip=192.168.1.20\ninternal_port=443\nrelay_port=2000\n"), 0);
}

static void a_section_of_another_kind_is_refused(void **state)
{
	static const char message[] = "a.conf:1: section '%s': must be [gateway] or [mapping NAME]";
	static const char *const bad[] = { "[mapping]", "[mapping ]", "[mappings a]", "[mapping a] b", "[mapping a", "[Mapping a]",
		"[mapping nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn]" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char said[INI_WHY_MAX];

		snprintf(said, sizeof(said), message, bad[i]);
		assert_refused(bad[i], said);
	}
	assert_refused("[mapping a b]", "a.conf:1: section '[mapping a b]': the name must be of letters, digits, '-', '_' and '.', and no other section's");
}

/* inih keeps so many bytes of a section's name. */
static void the_longest_name_is_read_whole(void **state)
{
	(void)state;
	assert_int_equal(set("[mapping nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn]\nprotocol=tcp\ninternal_ip=wan\ninternal_port=1\n"), 0);
	assert_int_equal(strlen(config.all[0].name), 39);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sections_are_mappings),
		T(what_a_section_lacks_is_said_with_its_line),
		T(a_wrong_value_of_a_section_is_named_with_its_line),
		T(two_sections_are_not_in_each_others_way),
		T(a_section_of_another_kind_is_refused),
		T(the_longest_name_is_read_whole),
	};

	return RUN(tests);
}
