/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What gateway/firewall/firewall_iptables.c has iptables do, asked of the texts it hands over: a fake takes them, no rule is made. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/firewall/firewall.h"
#include "test/unit/test.h"

/* What iptables-restore was given last, and what the programs are to say. */
struct fake {
	char given[1 << 20];
	size_t runs, command;
	const char *saved, *complaint;
	int status;
};

/* Of what is saved the table asked for, where filter comes first. */
static int fake_run(void *owner, size_t command, const char *input, char *output, size_t max)
{
	struct fake *fake = owner;
	const char *saved = fake->saved ? fake->saved : "", *nat = strstr(saved, "*nat");
	const char *table = firewall_commands[command][3];

	fake->runs++;
	fake->command = command;
	if (input)
		snprintf(fake->given, sizeof(fake->given), "%s", input);
	if (input)
		snprintf(output, max, "%s", fake->complaint ? fake->complaint : "");
	else if (strcmp(table, "nat") == 0)
		snprintf(output, max, "%s", nat ? nat : "");
	else
		snprintf(output, max, "%.*s", (int)(nat ? (size_t)(nat - saved) : strlen(saved)), saved);
	return fake->status == 127 || input ? fake->status : 0;
}

static struct fake fake;
static const struct firewall_backend *const backend = &firewall_iptables;

static struct firewall_config config(void)
{
	return (struct firewall_config){ .wan = "ppp0", .mark = 0x10, .mark_mask = 0x30, .run = fake_run, .run_owner = &fake };
}

static struct firewall *opened(void)
{
	const struct firewall_config c = config();
	struct firewall *f = NULL;
	char why[512] = "";

	memset(&fake, 0, sizeof(fake));
	assert_int_equal(backend->open(&f, &c, why, sizeof(why)), 0);
	return f;
}

static bool says(const char *line)
{
	const size_t len = strlen(line);

	for (const char *at = fake.given; (at = strstr(at, line)); at++)
		if ((at == fake.given || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

static size_t count(const char *what)
{
	size_t n = 0;

	for (const char *at = fake.given; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static const struct firewall_mapping udp = { .protocol = LEASE_UDP, .relay_port = 20001, .client_ip = 0xc0a8010a, .internal_port = 6881 };
static const struct firewall_mapping tcp = { .protocol = LEASE_TCP, .relay_port = 65535, .client_ip = 0xc0a8010b, .internal_port = 1 };

static void opening_jumps_from_the_first_place_and_only_for_the_lines_own_address(void **state)
{
	struct firewall *f = opened();

	(void)state;
	assert_true(says("-I PREROUTING -i \"ppp0\" -m addrtype --dst-type LOCAL --limit-iface-in -m comment --comment stunway -j STUNWAY-IN"));
	assert_true(says("-I POSTROUTING -o \"ppp0\" -m comment --comment stunway -j STUNWAY-OUT"));
	assert_true(says("-A STUNWAY-IN -p tcp -m tcp ! --syn -j RETURN"));
	assert_int_equal(count("*filter"), 0);
	backend->close(f);
}

static void a_mapping_is_a_rule_of_each_way_behind_its_block_of_ports(void **state)
{
	struct firewall *f = opened();

	(void)state;
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_true(says("-A STUNWAY-UDP-IN -p udp -m udp --dport 19968:20223 -j STUNWAY-UDP-IN-4e"));
	assert_true(says("-A STUNWAY-UDP-IN-4e -p udp -m udp --dport 20001 -j DNAT --to-destination 192.168.1.10:6881"));
	assert_true(says("-A STUNWAY-UDP-OUT-1a -p udp -m udp -s 192.168.1.10/32 --sport 6881 -j MASQUERADE --to-ports 20001"));
	assert_int_equal(backend->add(f, &tcp, 1), 0);
	assert_true(says("-A STUNWAY-TCP-IN -p tcp -m tcp --dport 65280:65535 -j STUNWAY-TCP-IN-ff"));
	assert_true(says("-A STUNWAY-TCP-OUT -p tcp -m tcp --sport 0:255 -j STUNWAY-TCP-OUT-00"));
	assert_int_equal(count("UDP"), 0); /* what stands is left alone */
	backend->close(f);
}

static void every_change_first_makes_sure_of_the_jumps(void **state)
{
	struct firewall *f = opened();

	(void)state;
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_true(strncmp(fake.given, "*nat\n-C PREROUTING", strlen("*nat\n-C PREROUTING")) == 0);
	assert_true(says("-C POSTROUTING -o \"ppp0\" -m comment --comment stunway -j STUNWAY-OUT"));
	assert_int_equal(count("\n-I "), 0);
	backend->close(f);
}

static void the_mark_is_set_before_a_mapping_is_looked_for_and_taken_from_whom_none_fits(void **state)
{
	struct firewall *f = opened();
	const char *set = strstr(fake.given, "-A STUNWAY-IN -j CONNMARK --set-xmark 0x10/0x30\n");
	const char *look = strstr(fake.given, "-A STUNWAY-IN -p tcp -j STUNWAY-TCP-IN\n");
	const char *clear = strstr(fake.given, "-A STUNWAY-IN -j CONNMARK --set-xmark 0x0/0x30\n");

	(void)state;
	assert_non_null(set);
	assert_true(set < look && look < clear);
	backend->close(f);
}

static void adding_again_is_one_rule_and_a_block_ends_with_its_last_mapping(void **state)
{
	struct firewall *f = opened();
	const struct firewall_mapping near = { .protocol = LEASE_UDP, .relay_port = 20002, .client_ip = 0xc0a8010a, .internal_port = 6882 };

	(void)state;
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_int_equal(backend->add(f, &near, 1), 0);
	assert_true(says("-A STUNWAY-UDP-IN-4e -p udp -m udp --dport 20002 -j DNAT --to-destination 192.168.1.10:6882"));
	assert_int_equal(count("4e - ["), 0); /* not emptied */
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_true(says("-C STUNWAY-UDP-IN-4e -p udp -m udp --dport 20001 -j DNAT --to-destination 192.168.1.10:6881"));
	assert_true(says("-C STUNWAY-IN -p udp -j STUNWAY-UDP-IN"));
	assert_int_equal(count("\n-A"), 0);
	assert_int_equal(backend->remove(f, &udp, 1), 0);
	assert_int_equal(count("-j DNAT"), 1);
	assert_int_equal(count("-X "), 0);
	assert_int_equal(backend->remove(f, &near, 1), 0);
	assert_int_equal(count("-j DNAT"), 0);
	assert_true(says(":STUNWAY-UDP-IN-4e - [0:0]"));
	assert_true(says("-X STUNWAY-UDP-IN-4e"));
	assert_true(says("-X STUNWAY-UDP-OUT-1a"));
	backend->close(f);
}

static void a_relay_port_has_one_mapping(void **state)
{
	struct firewall *f = opened();
	struct firewall_mapping other = udp;

	(void)state;
	other.internal_port = 22;
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_int_equal(backend->add(f, &other, 1), -EEXIST);
	assert_non_null(strstr(backend->error(f), "20001"));
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_int_equal(count(":22\n"), 0);
	backend->close(f);
}

static void what_failed_is_not_there_and_the_next_change_writes_all(void **state)
{
	struct firewall *f = opened();

	(void)state;
	assert_int_equal(backend->add(f, &udp, 1), 0);
	fake.status = 1;
	fake.complaint = "# Warning: iptables-legacy tables present\niptables-restore: line 2 failed\nmore\n";
	assert_int_equal(backend->add(f, &tcp, 1), -EIO);
	assert_string_equal(backend->error(f), "iptables-restore: line 2 failed");
	fake.complaint = "Could not fetch rule set generation id: Permission denied (you must be root)";
	assert_int_equal(backend->add(f, &tcp, 1), -EPERM);
	fake.status = 0;
	assert_int_equal(backend->exempt(f, LEASE_UDP, NULL, 0), 0);
	assert_int_equal(count("-j DNAT"), 1);
	assert_int_equal(count("--dport 20001"), 1);
	assert_int_equal(backend->exempt(f, LEASE_UDP, NULL, 0), 0);
	assert_int_equal(count("UDP-IN - ["), 0);
	backend->close(f);
}

static void servers_in_use_are_exempt_in_both_ways_before_anything_else(void **state)
{
	struct firewall *f = opened();
	const struct endpoint servers[] = { endpoint_ipv4(0xc6336401, 3478), { .family = ENDPOINT_IPV6, .port = 1 } };

	(void)state;
	assert_int_equal(backend->add(f, &udp, 1), 0);
	assert_int_equal(backend->exempt(f, LEASE_UDP, servers, 2), 0);
	assert_int_equal(backend->exempt(f, LEASE_TCP, servers, 1), 0);
	assert_true(says("-A STUNWAY-IN -p udp -m udp -s 198.51.100.1/32 --sport 3478 -j RETURN"));
	assert_true(says("-A STUNWAY-OUT -p tcp -m tcp -d 198.51.100.1/32 --dport 3478 -j RETURN"));
	assert_int_equal(count("/32"), 4);
	assert_int_equal(count("UDP-IN - ["), 0); /* mappings are left alone */
	assert_true(strstr(fake.given, "-A STUNWAY-IN -p udp -m udp -s") < strstr(fake.given, "-A STUNWAY-IN -j CONNMARK"));
	backend->close(f);
}

static void of_a_ruleset_only_what_is_ours_is_taken_away(void **state)
{
	struct firewall *f = opened();

	(void)state;
	fake.saved = "# Generated\n*mangle\n:FORWARD ACCEPT [1:2]\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n:STUNWAY-MINE - [0:0]\n"
		     "-A FORWARD -m connmark --mark 0x10/0x30 -m comment --comment stunway -j ACCEPT\n"
		     "-A FORWARD -m comment --comment \"no stunway -j ACCEPT\" -j DROP\nCOMMIT\n"
		     "*nat\n:PREROUTING ACCEPT [0:0]\n:STUNWAY-IN - [0:0]\n:STUNWAY-UDP-IN-4e - [0:0]\n"
		     "-A PREROUTING -i ppp9 -m comment --comment stunway -j STUNWAY-IN\n-A PREROUTING -j DOCKER\n"
		     "-A STUNWAY-IN -j CONNMARK --set-xmark 0x10/0x30\nCOMMIT\n# Completed";
	backend->close(f);
	assert_string_equal(fake.given, "*filter\n-D FORWARD -m connmark --mark 0x10/0x30 -m comment --comment stunway -j ACCEPT\nCOMMIT\n"
					"*nat\n:STUNWAY-IN - [0:0]\n:STUNWAY-UDP-IN-4e - [0:0]\n"
					"-D PREROUTING -i ppp9 -m comment --comment stunway -j STUNWAY-IN\n"
					"-X STUNWAY-IN\n-X STUNWAY-UDP-IN-4e\nCOMMIT\n");
}

static void what_iptables_would_take_for_something_else_is_refused(void **state)
{
	static const char *const chains[] = { "inet filter forward", "ip nat PREROUTING", "ip filter -F", "ip filter a23456789a23456789a2345678901" };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct firewall_config c = config();
		struct firewall *f = NULL;
		char why[512] = "";

		if (i < 4)
			c.accept_chains[c.accept_chain_count++] = chains[i];
		else
			c.wan = "ppp+";
		memset(&fake, 0, sizeof(fake));
		assert_int_equal(backend->open(&f, &c, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, i < 4 ? chains[i] : "ppp+"));
		assert_int_equal(fake.runs, 0);
	}
}

static void a_forward_chain_that_drops_is_named_unless_it_is_accepted(void **state)
{
	static const struct {
		const char *saved, *named;
	} cases[] = { { "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", "'ip filter FORWARD'" },
		{ "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n", "'ip filter FORWARD'" },
		{ "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i x -j DROP\n:INPUT DROP [0:0]\nCOMMIT\n", "" },
		{ "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m connmark --mark 0x10/0x30 -j ACCEPT\nCOMMIT\n", "" },
		{ "*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n", "" } };
	struct firewall_config c = config();
	char buf[512] = "";
	struct firewall *f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		f = opened();
		fake.saved = cases[i].saved;
		backend->obstacles(f, FIREWALL_FORWARD, buf, sizeof(buf));
		assert_string_equal(buf, cases[i].named);
		backend->close(f);
	}
	c.accept_chains[c.accept_chain_count++] = "ip filter FORWARD";
	memset(&fake, 0, sizeof(fake));
	assert_int_equal(backend->open(&f, &c, buf, sizeof(buf)), 0);
	assert_true(says("-I FORWARD -m connmark --mark 0x10/0x30 -m comment --comment stunway -j ACCEPT"));
	fake.saved = cases[0].saved;
	backend->obstacles(f, FIREWALL_FORWARD, buf, sizeof(buf));
	assert_string_equal(buf, "");
	backend->close(f);
}

static void many_mappings_cost_a_change_one_block(void **state)
{
	struct firewall *f = opened();
	struct firewall_mapping m = udp;

	(void)state;
	for (uint32_t i = 0; i < 4000; i++) {
		m.relay_port = (uint16_t)(20000 + i);
		m.client_ip = 0xc0a80001 + i;
		assert_int_equal(backend->add(f, &m, 1), 0);
	}
	assert_int_equal(count("-j DNAT"), 1);
	assert_int_equal(backend->remove(f, &m, 1), 0);
	assert_in_range(count("-j DNAT"), 150, 256);
	assert_int_equal(fake.runs, 4000 + 4); /* one program each, beside opening's three */
	backend->close(f);
}

static void hairpin_follows_the_outer_endpoint_and_the_latest_to_have_it(void **state)
{
	struct firewall *f = opened();
	struct firewall_mapping a = udp, b = udp;
	const struct firewall_reach one = { .mapping = &a }, two = { .mapping = &b };

	(void)state;
	b.relay_port = 20002;
	b.internal_port = 6882;
	assert_int_equal(backend->add(f, &a, 1), 0);
	assert_int_equal(backend->add(f, &b, 1), 0);
	a.outer = b.outer = endpoint_ipv4(0xcb007101, 41000);
	assert_int_equal(backend->reach(f, &one, 1), 0);
	assert_true(says("-A STUNWAY-UDP-TURN -p udp -m udp --dport 40960:41215 -j STUNWAY-UDP-TURN-a0"));
	assert_true(says("-A STUNWAY-UDP-TURN-a0 -p udp -m udp -d 203.0.113.1/32 --dport 41000 -j DNAT --to-destination 192.168.1.10:6881"));
	assert_int_equal(count("--dport 20001"), 0);
	assert_int_equal(backend->reach(f, &two, 1), 0);
	assert_true(says(":STUNWAY-UDP-TURN-a0 - [0:0]"));
	assert_true(says("-A STUNWAY-UDP-TURN-a0 -p udp -m udp -d 203.0.113.1/32 --dport 41000 -j DNAT --to-destination 192.168.1.10:6882"));
	assert_int_equal(count(":6881"), 0);
	a.outer.port = 9;
	assert_int_equal(backend->add(f, &a, 1), 0); /* says the new one by the way */
	assert_true(says("-C STUNWAY-UDP-TURN-00 -p udp -m udp -d 203.0.113.1/32 --dport 9 -j DNAT --to-destination 192.168.1.10:6881"));
	b.outer = (struct endpoint){ 0 };
	assert_int_equal(backend->reach(f, &two, 1), 0);
	assert_int_equal(count("41000"), 0);
	assert_int_equal(count("--dport 9 "), 1);
	assert_true(says("-X STUNWAY-UDP-TURN-a0"));
	backend->close(f);
}

static void each_form_runs_its_own_programs_and_says_when_they_are_not_there(void **state)
{
	static const struct firewall_backend *const forms[] = { &firewall_iptables, &firewall_iptables_nft, &firewall_iptables_legacy };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		const struct firewall_config c = config();
		struct firewall *f;
		char why[512];

		memset(&fake, 0, sizeof(fake));
		assert_int_equal(forms[i]->open(&f, &c, why, sizeof(why)), 0);
		assert_true(strncmp(firewall_commands[fake.command][1], forms[i]->name, strlen(forms[i]->name)) == 0);
		assert_string_equal(firewall_commands[fake.command][1] + strlen(forms[i]->name), "-restore");
		forms[i]->close(f);
	}
	const struct firewall_config c = config();
	struct firewall *f;
	char why[512];

	fake.status = 127;
	assert_true(backend->open(&f, &c, why, sizeof(why)) < 0);
	assert_string_equal(why, "iptables-save is not installed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(opening_jumps_from_the_first_place_and_only_for_the_lines_own_address),
		T(a_mapping_is_a_rule_of_each_way_behind_its_block_of_ports),
		T(every_change_first_makes_sure_of_the_jumps),
		T(the_mark_is_set_before_a_mapping_is_looked_for_and_taken_from_whom_none_fits),
		T(adding_again_is_one_rule_and_a_block_ends_with_its_last_mapping),
		T(a_relay_port_has_one_mapping),
		T(what_failed_is_not_there_and_the_next_change_writes_all),
		T(servers_in_use_are_exempt_in_both_ways_before_anything_else),
		T(of_a_ruleset_only_what_is_ours_is_taken_away),
		T(what_iptables_would_take_for_something_else_is_refused),
		T(a_forward_chain_that_drops_is_named_unless_it_is_accepted),
		T(many_mappings_cost_a_change_one_block),
		T(hairpin_follows_the_outer_endpoint_and_the_latest_to_have_it),
		T(each_form_runs_its_own_programs_and_says_when_they_are_not_there),
	};

	return RUN(tests);
}
