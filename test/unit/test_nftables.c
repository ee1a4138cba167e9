/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What sys/nftables reads in the kernel's words, where a kernel of ours does not say them: many are built without flowtables. */
#include "test/unit/test.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>

#include "sys/nftables.h"

static struct nlmsghdr *rule_begin(char *buf, uint8_t family, const char *table)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfh = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfh));

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE;
	nfh->nfgen_family = family;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, "forward");
	return nlh;
}

/* "meta l4proto { tcp, udp } flow add @ft": one expression of it, as nf_tables_fill_expr_info writes it. */
static void expression(struct nlmsghdr *nlh, const char *name, uint16_t attribute, const char *text)
{
	struct nlattr *element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM), *data;

	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, name);
	data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	mnl_attr_put_strz(nlh, attribute, text);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, element);
}

static void read_rule(char *said, size_t max, uint8_t family, const char *table, const char *name, const char *flowtable)
{
	char buf[MNL_NLMSG_HDRLEN + 4096];
	struct nlmsghdr *nlh = rule_begin(buf, family, table);
	struct nlattr *expressions = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);

	expression(nlh, "lookup", NFTA_LOOKUP_SET, "__set0");
	expression(nlh, name, NFTA_FLOW_TABLE_NAME, flowtable);
	mnl_attr_nest_end(nlh, expressions);
	nftables_offload_read(nlh, said, max);
}

static void flowtables_that_rules_lead_to_are_named_once(void **state)
{
	char said[200] = "";

	(void)state;
	read_rule(said, sizeof(said), NFPROTO_INET, "fw4", "counter", "ft");
	assert_string_equal(said, "");
	read_rule(said, sizeof(said), NFPROTO_INET, "fw4", "flow_offload", "ft");
	assert_string_equal(said, "table inet fw4 flowtable ft");
	read_rule(said, sizeof(said), NFPROTO_INET, "fw4", "flow_offload", "ft");
	read_rule(said, sizeof(said), NFPROTO_IPV4, "filter", "flow_offload", "f");
	read_rule(said, sizeof(said), NFPROTO_INET, "fw4", "flow_offload", "f"); /* a beginning of another's name */
	assert_string_equal(said, "table inet fw4 flowtable ft, table ip filter flowtable f, table inet fw4 flowtable f");
}

static void more_than_there_is_room_for_is_cut(void **state)
{
	char said[64] = "", table[40];

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(table, sizeof(table), "a_table_of_some_length_%d", i);
		read_rule(said, sizeof(said), NFPROTO_INET, table, "flow_offload", "ft");
	}
	assert_int_equal(strlen(said), sizeof(said) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(flowtables_that_rules_lead_to_are_named_once), T(more_than_there_is_room_for_is_cut) };

	return RUN(tests);
}
