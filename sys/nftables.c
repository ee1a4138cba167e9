/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/nftables.h"

#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES 32768 /* what the kernel fills at once */
#define TRIES	     4

struct nftables {
	struct mnl_socket *nl;
	uint32_t seq;
};

int nftables_open(struct nftables **out)
{
	struct nftables *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!s->nl || mnl_socket_bind(s->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		nftables_close(s);
		return err;
	}
	*out = s;
	return 0;
}

static struct nlmsghdr *begin(struct nftables *s, char *buf, uint16_t type, uint16_t flags, uint8_t family)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfh;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++s->seq;
	nfh = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfh));
	nfh->nfgen_family = family;
	nfh->version = NFNETLINK_V0;
	return nlh;
}

/* That somebody changed something during a dump does not matter. */
static void forgive(char *buf, ssize_t n)
{
	int left = (int)n;

	for (struct nlmsghdr *nlh = (void *)buf; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		nlh->nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
}

/* Sends a message and hands each answer to cb until its end. strict: -EINTR when somebody changed something meanwhile. */
static int talk_as(struct nftables *s, const struct nlmsghdr *nlh, mnl_cb_t cb, void *data, bool strict)
{
	char buf[ANSWER_BYTES];
	int more = MNL_CB_OK;

	if (mnl_socket_sendto(s->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		const ssize_t n = mnl_socket_recvfrom(s->nl, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		if (!strict)
			forgive(buf, n);
		more = mnl_cb_run(buf, (size_t)n, s->seq, mnl_socket_get_portid(s->nl), cb, data);
	}
	return more < 0 ? -errno : 0;
}

static int talk(struct nftables *s, const struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	return talk_as(s, nlh, cb, data, true);
}

int nftables_has(struct nftables *s, const char *table, const char *set, const void *key, size_t len)
{
	char buf[512];
	struct nlmsghdr *nlh = begin(s, buf, NFT_MSG_GETSETELEM, NLM_F_ACK, NFPROTO_INET);
	struct nlattr *elements, *element, *value;
	int err;

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	elements = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, key);
	mnl_attr_nest_end(nlh, value);
	mnl_attr_nest_end(nlh, element);
	mnl_attr_nest_end(nlh, elements);
	err = talk(s, nlh, NULL, NULL);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	return 1;
}

struct walk {
	const char *comment;
	struct nftables_rules *out;
};

/* What nft keeps with a rule is a list of type, length, value; type 0 is its comment, a string. */
static bool has_comment(const struct nlattr *userdata, const char *comment)
{
	const uint8_t *at = mnl_attr_get_payload(userdata), *end = at + mnl_attr_get_payload_len(userdata);
	const size_t len = strlen(comment) + 1;

	for (; end - at >= 2 && end - at >= 2 + at[1]; at += 2 + at[1])
		if (at[0] == 0 && at[1] == len && memcmp(at + 2, comment, len) == 0)
			return true;
	return false;
}

static int rule_attr(const struct nlattr *a, void *data)
{
	const struct walk *w = data;

	if (mnl_attr_get_type(a) == NFTA_RULE_USERDATA && w->comment && has_comment(a, w->comment))
		w->out->commented++;
	return MNL_CB_OK;
}

static int rule_seen(const struct nlmsghdr *nlh, void *data)
{
	struct walk *w = data;
	const uint8_t *at = mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg));
	const uint8_t *end = mnl_nlmsg_get_payload_tail(nlh);

	for (; at < end; at++)
		w->out->fingerprint = (w->out->fingerprint ^ *at) * 0x100000001b3; /* FNV-1a */
	w->out->count++;
	mnl_attr_parse(nlh, sizeof(struct nfgenmsg), rule_attr, w);
	return MNL_CB_OK;
}

int nftables_rules(struct nftables *s, const char *family, const char *table, const char *chain, const char *comment,
	struct nftables_rules *out)
{
	int err = -EINTR;

	for (int i = 0; i < TRIES && err == -EINTR; i++) { /* somebody changed them meanwhile */
		char buf[1024];
		struct nlmsghdr *nlh = begin(s, buf, NFT_MSG_GETRULE, NLM_F_DUMP, strcmp(family, "ip") == 0 ? NFPROTO_IPV4 : NFPROTO_INET);
		struct walk w = { comment, out };

		*out = (struct nftables_rules){ .fingerprint = 0xcbf29ce484222325 };
		mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
		if (chain)
			mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
		err = talk(s, nlh, rule_seen, &w);
	}
	return err == -ENOENT ? 0 : err;
}

static int table_attr(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == NFTA_TABLE_HANDLE && mnl_attr_get_payload_len(a) == 8)
		*(uint64_t *)data = be64toh(mnl_attr_get_u64(a));
	return MNL_CB_OK;
}

static int table_seen(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct nfgenmsg), table_attr, data);
}

int nftables_table(struct nftables *s, const char *table, uint64_t *handle)
{
	char buf[512];
	struct nlmsghdr *nlh = begin(s, buf, NFT_MSG_GETTABLE, NLM_F_ACK, NFPROTO_INET);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
	return talk(s, nlh, table_seen, handle);
}

/* --- counters: a message is a list of elements, each a key and an expression --- */

struct element {
	const struct nlattr *key; /* its value; NULL: none */
	uint64_t packets, bytes;
	nftables_counter_fn *seen;
	void *owner;
};

static int key_attr(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == NFTA_DATA_VALUE)
		((struct element *)data)->key = a;
	return MNL_CB_OK;
}

static int counter_attr(const struct nlattr *a, void *data)
{
	struct element *e = data;

	if (mnl_attr_get_type(a) == NFTA_COUNTER_PACKETS && mnl_attr_get_payload_len(a) == 8)
		e->packets = be64toh(mnl_attr_get_u64(a));
	if (mnl_attr_get_type(a) == NFTA_COUNTER_BYTES && mnl_attr_get_payload_len(a) == 8)
		e->bytes = be64toh(mnl_attr_get_u64(a));
	return MNL_CB_OK;
}

/* The sets asked for have no other expression. */
static int counter_expr_attr(const struct nlattr *a, void *data)
{
	return mnl_attr_get_type(a) == NFTA_EXPR_DATA ? mnl_attr_parse_nested(a, counter_attr, data) : MNL_CB_OK;
}

static int element_attr(const struct nlattr *a, void *data)
{
	switch (mnl_attr_get_type(a)) {
	case NFTA_SET_ELEM_KEY:
		return mnl_attr_parse_nested(a, key_attr, data);
	case NFTA_SET_ELEM_EXPR:
		return mnl_attr_parse_nested(a, counter_expr_attr, data);
	default:
		return MNL_CB_OK;
	}
}

static int element_seen(const struct nlattr *a, void *data)
{
	struct element *e = data;

	e->key = NULL;
	e->packets = e->bytes = 0;
	if (mnl_attr_parse_nested(a, element_attr, e) == MNL_CB_OK && e->key)
		e->seen(e->owner, mnl_attr_get_payload(e->key), mnl_attr_get_payload_len(e->key), e->packets, e->bytes);
	return MNL_CB_OK;
}

static int elements_attr(const struct nlattr *a, void *data)
{
	return mnl_attr_get_type(a) == NFTA_SET_ELEM_LIST_ELEMENTS ? mnl_attr_parse_nested(a, element_seen, data) : MNL_CB_OK;
}

static int elements_seen(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct nfgenmsg), elements_attr, data);
}

int nftables_counters(struct nftables *s, const char *table, const char *set, nftables_counter_fn *seen, void *owner)
{
	struct element e = { .seen = seen, .owner = owner };
	char buf[512];
	struct nlmsghdr *nlh = begin(s, buf, NFT_MSG_GETSETELEM, NLM_F_DUMP, NFPROTO_INET);

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	return talk_as(s, nlh, elements_seen, &e, false);
}

/* --- flowtables: a rule that leads to one has an expression that names it --- */

struct offload {
	char *buf;
	size_t max;
	const char *family, *table;
	const char *expression, *flowtable; /* of the expression at hand */
};

static const char *family_name(uint8_t family)
{
	return family == NFPROTO_INET ? "inet" : family == NFPROTO_IPV4 ? "ip" : family == NFPROTO_IPV6 ? "ip6" : "of another family";
}

static const char *text_of(const struct nlattr *a)
{
	return mnl_attr_validate(a, MNL_TYPE_NUL_STRING) < 0 ? NULL : mnl_attr_get_str(a);
}

static int flow_attr(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == NFTA_FLOW_TABLE_NAME)
		((struct offload *)data)->flowtable = text_of(a);
	return MNL_CB_OK;
}

static int flow_expr_attr(const struct nlattr *a, void *data)
{
	struct offload *o = data;

	if (mnl_attr_get_type(a) == NFTA_EXPR_NAME)
		o->expression = text_of(a); /* comes before its data */
	else if (mnl_attr_get_type(a) == NFTA_EXPR_DATA && o->expression && strcmp(o->expression, "flow_offload") == 0)
		return mnl_attr_parse_nested(a, flow_attr, o);
	return MNL_CB_OK;
}

/* Whether a list joined by ", " has it. */
static bool is_listed(const char *list, const char *one)
{
	const size_t len = strlen(one);

	for (const char *at = list; (at = strstr(at, one)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] == '\0' || at[len] == ','))
			return true;
	return false;
}

static int flow_expr_seen(const struct nlattr *a, void *data)
{
	struct offload *o = data;
	const size_t used = strlen(o->buf);
	char one[600];

	o->expression = o->flowtable = NULL;
	if (mnl_attr_parse_nested(a, flow_expr_attr, o) != MNL_CB_OK || !o->flowtable || !o->table)
		return MNL_CB_OK;
	snprintf(one, sizeof(one), "table %s %s flowtable %s", o->family, o->table, o->flowtable);
	if (!is_listed(o->buf, one))
		snprintf(o->buf + used, o->max - used, "%s%s", used ? ", " : "", one);
	return MNL_CB_OK;
}

static int flow_rule_attr(const struct nlattr *a, void *data)
{
	struct offload *o = data;

	if (mnl_attr_get_type(a) == NFTA_RULE_TABLE)
		o->table = text_of(a); /* comes before its expressions */
	else if (mnl_attr_get_type(a) == NFTA_RULE_EXPRESSIONS)
		return mnl_attr_parse_nested(a, flow_expr_seen, o);
	return MNL_CB_OK;
}

void nftables_offload_read(const struct nlmsghdr *rule, char *buf, size_t max)
{
	const struct nfgenmsg *nfh = mnl_nlmsg_get_payload(rule);
	struct offload o = { .buf = buf, .max = max, .family = family_name(nfh->nfgen_family) };

	mnl_attr_parse(rule, sizeof(*nfh), flow_rule_attr, &o);
}

static int flow_rule_seen(const struct nlmsghdr *nlh, void *data)
{
	const struct offload *o = data;

	nftables_offload_read(nlh, o->buf, o->max);
	return MNL_CB_OK;
}

static int flowtable_seen(const struct nlmsghdr *nlh, void *data)
{
	(void)nlh;
	*(bool *)data = true;
	return MNL_CB_OK;
}

/* Where there is no flowtable, as mostly, nobody's rules are read. A kernel that knows none of them has none. */
int nftables_offloads(struct nftables *s, char *buf, size_t max)
{
	struct offload o = { .buf = buf, .max = max };
	bool any = false;
	char message[256];
	int err = talk_as(s, begin(s, message, NFT_MSG_GETFLOWTABLE, NLM_F_DUMP, NFPROTO_UNSPEC), flowtable_seen, &any, false);

	buf[0] = '\0';
	if (err < 0 || !any)
		return err == -EINVAL || err == -EOPNOTSUPP ? 0 : err;
	return talk_as(s, begin(s, message, NFT_MSG_GETRULE, NLM_F_DUMP, NFPROTO_UNSPEC), flow_rule_seen, &o, false);
}

void nftables_close(struct nftables *s)
{
	if (!s)
		return;
	if (s->nl)
		mnl_socket_close(s->nl);
	free(s);
}
