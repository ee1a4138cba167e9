/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/nftables.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
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

/* Sends a message and hands each answer to cb until its end. */
static int talk(struct nftables *s, const struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	char buf[ANSWER_BYTES];
	int more = MNL_CB_OK;

	if (mnl_socket_sendto(s->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		const ssize_t n = mnl_socket_recvfrom(s->nl, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		more = mnl_cb_run(buf, (size_t)n, s->seq, mnl_socket_get_portid(s->nl), cb, data);
	}
	return more < 0 ? -errno : 0;
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

void nftables_close(struct nftables *s)
{
	if (!s)
		return;
	if (s->nl)
		mnl_socket_close(s->nl);
	free(s);
}
