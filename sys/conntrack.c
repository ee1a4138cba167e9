/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DOOMED_MAX 1024 /* deleted per pass; passes go on until one finds none */
#define PASSES_MAX 16
#define DUMP_BYTES 32768 /* what the kernel fills at once */

struct tuple {
	uint32_t src, dst; /* host order */
	uint16_t src_port, dst_port;
	uint8_t protocol;
};

struct conntrack {
	struct mnl_socket *nl;
	uint32_t seq;
};

struct scrub {
	const struct conntrack_port *ports;
	size_t port_count;
	size_t count;
	struct tuple doomed[DOOMED_MAX]; /* their original direction */
};

static int ip_read(const struct nlattr *a, void *data)
{
	struct tuple *t = data;

	if (mnl_attr_get_type(a) == CTA_IP_V4_SRC && mnl_attr_get_payload_len(a) == 4)
		t->src = ntohl(mnl_attr_get_u32(a));
	if (mnl_attr_get_type(a) == CTA_IP_V4_DST && mnl_attr_get_payload_len(a) == 4)
		t->dst = ntohl(mnl_attr_get_u32(a));
	return MNL_CB_OK;
}

static int proto_read(const struct nlattr *a, void *data)
{
	struct tuple *t = data;

	if (mnl_attr_get_type(a) == CTA_PROTO_NUM)
		t->protocol = mnl_attr_get_u8(a);
	if (mnl_attr_get_type(a) == CTA_PROTO_SRC_PORT)
		t->src_port = ntohs(mnl_attr_get_u16(a));
	if (mnl_attr_get_type(a) == CTA_PROTO_DST_PORT)
		t->dst_port = ntohs(mnl_attr_get_u16(a));
	return MNL_CB_OK;
}

static int tuple_read(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == CTA_TUPLE_IP)
		mnl_attr_parse_nested(a, ip_read, data);
	if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO)
		mnl_attr_parse_nested(a, proto_read, data);
	return MNL_CB_OK;
}

static int flow_read(const struct nlattr *a, void *data)
{
	struct tuple *tuples = data;

	if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG)
		mnl_attr_parse_nested(a, tuple_read, &tuples[0]);
	if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY)
		mnl_attr_parse_nested(a, tuple_read, &tuples[1]);
	return MNL_CB_OK;
}

/* Whether a port is among those to be scrubbed, and the flow another host's than the one that may stay. */
static bool is_wrong(const struct scrub *s, uint32_t ip, uint8_t protocol, uint16_t port, uint32_t host_ip, uint16_t host_port)
{
	for (size_t i = 0; i < s->port_count; i++) {
		const struct conntrack_port *p = &s->ports[i];

		if (p->port == port && p->ip == ip && p->protocol == protocol)
			return host_ip != p->host_ip || host_port != p->host_port;
	}
	return false;
}

static bool is_doomed(const struct scrub *s, const struct tuple *original, const struct tuple *reply)
{
	if (is_wrong(s, original->dst, original->protocol, original->dst_port, reply->src, reply->src_port))
		return true; /* came in */
	return original->src != reply->dst && /* goes out */
		is_wrong(s, reply->dst, original->protocol, reply->dst_port, original->src, original->src_port);
}

static int flow_seen(const struct nlmsghdr *nlh, void *data)
{
	struct scrub *s = data;
	struct tuple tuples[2] = { 0 };

	mnl_attr_parse(nlh, sizeof(struct nfgenmsg), flow_read, tuples);
	if (is_doomed(s, &tuples[0], &tuples[1]) && s->count < DOOMED_MAX)
		s->doomed[s->count++] = tuples[0];
	return MNL_CB_OK;
}

static struct nlmsghdr *message(char *buf, uint16_t type, uint16_t flags, uint32_t seq)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfh;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = seq;
	nfh = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfh));
	nfh->nfgen_family = AF_INET;
	nfh->version = NFNETLINK_V0;
	return nlh;
}

/* Sends a message and hands each answer to cb until its end. */
static int talk(struct conntrack *ct, const struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	const unsigned port = mnl_socket_get_portid(ct->nl);
	char buf[DUMP_BYTES];
	int more = MNL_CB_OK;

	if (mnl_socket_sendto(ct->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		const ssize_t n = mnl_socket_recvfrom(ct->nl, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		more = mnl_cb_run(buf, (size_t)n, nlh->nlmsg_seq, port, cb, data);
		if (more < 0)
			return -errno;
	}
	return 0;
}

static int delete_flow(struct conntrack *ct, const struct tuple *t)
{
	char buf[512];
	struct nlmsghdr *nlh = message(buf, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, ++ct->seq);
	struct nlattr *tuple = mnl_attr_nest_start(nlh, CTA_TUPLE_ORIG);
	struct nlattr *part = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
	int err;

	mnl_attr_put_u32(nlh, CTA_IP_V4_SRC, htonl(t->src));
	mnl_attr_put_u32(nlh, CTA_IP_V4_DST, htonl(t->dst));
	mnl_attr_nest_end(nlh, part);
	part = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(nlh, CTA_PROTO_NUM, t->protocol);
	mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(t->src_port));
	mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(t->dst_port));
	mnl_attr_nest_end(nlh, part);
	mnl_attr_nest_end(nlh, tuple);
	err = talk(ct, nlh, NULL, NULL);
	return err == -ENOENT ? 0 : err; /* it ended by itself meanwhile */
}

static int scrub_once(struct conntrack *ct, struct scrub *s)
{
	char buf[256];
	const struct nlmsghdr *nlh = message(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, ++ct->seq);
	int err = talk(ct, nlh, flow_seen, s);

	for (size_t i = 0; i < s->count && err == 0; i++)
		err = delete_flow(ct, &s->doomed[i]);
	return err;
}

int conntrack_scrub(struct conntrack *ct, const struct conntrack_port *ports, size_t count)
{
	struct scrub *s = calloc(1, sizeof(*s));
	int deleted = 0, err = 0;

	if (!s)
		return -ENOMEM;
	*s = (struct scrub){ .ports = ports, .port_count = count };
	for (int pass = 0; pass < PASSES_MAX && err == 0; pass++) {
		s->count = 0;
		err = scrub_once(ct, s);
		deleted += (int)s->count;
		if (s->count < DOOMED_MAX)
			break;
	}
	free(s);
	return err < 0 ? err : deleted;
}

int conntrack_open(struct conntrack **out)
{
	struct conntrack *ct = calloc(1, sizeof(*ct));
	int err;

	if (!ct)
		return -ENOMEM;
	ct->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!ct->nl || mnl_socket_bind(ct->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		conntrack_close(ct);
		return err;
	}
	*out = ct;
	return 0;
}

void conntrack_close(struct conntrack *ct)
{
	if (!ct)
		return;
	if (ct->nl)
		mnl_socket_close(ct->nl);
	free(ct);
}
