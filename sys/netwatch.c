/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/netwatch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEWGEN	   (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)
#define MESSAGES   16384 /* bytes of them at once; what does not fit is cut, and cut is a change too */
#define READS_MAX  64	 /* per turn of the loop */

struct source {
	struct netwatch *watch;
	struct mnl_socket *nl;
	uv_poll_t poll;
	uv_timer_t burst;
	mnl_cb_t message;
	void (*changed)(void *owner);
};

struct netwatch {
	void *owner;
	struct source interfaces, ruleset;
	unsigned handles; /* not closed yet */
	bool closed;
};

static void burst_over(uv_timer_t *timer)
{
	const struct source *s = timer->data;

	s->changed(s->watch->owner);
}

/* Not put off by more: a burst without an end is told all the same. */
static void note(struct source *s)
{
	if (!uv_is_active((const uv_handle_t *)&s->burst))
		uv_timer_start(&s->burst, burst_over, NETWATCH_MS, 0);
}

static int interface_message(const struct nlmsghdr *nlh, void *data)
{
	(void)nlh;
	note(data);
	return MNL_CB_OK;
}

static int process_read(const struct nlattr *a, void *data)
{
	uint32_t *pid = data;

	if (mnl_attr_get_type(a) == NFTA_GEN_PROC_PID && mnl_attr_get_payload_len(a) == 4)
		*pid = ntohl(mnl_attr_get_u32(a));
	return MNL_CB_OK;
}

/* The kernel numbers threads. */
static bool is_ours(uint32_t thread)
{
	return thread != 0 && syscall(SYS_tgkill, getpid(), thread, 0) == 0;
}

/* Each transaction ends with one of these, which says whose it was. */
static int ruleset_message(const struct nlmsghdr *nlh, void *data)
{
	uint32_t pid = 0;

	if (nlh->nlmsg_type == NEWGEN && mnl_attr_parse(nlh, sizeof(struct nfgenmsg), process_read, &pid) >= 0 && is_ours(pid))
		return MNL_CB_OK;
	note(data);
	return MNL_CB_OK;
}

static void readable(uv_poll_t *poll, int status, int events)
{
	struct source *s = poll->data;
	char buf[MESSAGES];

	(void)events;
	if (status < 0) /* libuv polls no more after an error, and lost messages are one */
		uv_poll_start(poll, UV_READABLE, readable);
	for (int i = 0; i < READS_MAX; i++) {
		const ssize_t n = mnl_socket_recvfrom(s->nl, buf, sizeof(buf));

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		/* ENOBUFS: messages were lost. Whatever else: who knows. */
		if (n <= 0 || mnl_cb_run(buf, (size_t)n, 0, 0, s->message, s) < 0)
			note(s);
	}
}

/* Of a ruleset's change with its thousands of elements only the last message is wanted: it travels alone. */
static int only_newgen(const struct mnl_socket *nl)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), /* k below: filters read as the network does */
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	code[1].k = htons(NEWGEN);
	return setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int source_open(struct source *s, uv_loop_t *loop, int bus, unsigned groups)
{
	int err;

	s->nl = mnl_socket_open2(bus, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!s->nl)
		return -errno;
	err = bus == NETLINK_NETFILTER ? only_newgen(s->nl) : 0;
	if (err == 0 && mnl_socket_bind(s->nl, groups, MNL_SOCKET_AUTOPID) < 0)
		err = -errno;
	if (err == 0)
		err = uv_poll_init(loop, &s->poll, mnl_socket_get_fd(s->nl));
	if (err < 0) {
		mnl_socket_close(s->nl);
		s->nl = NULL;
		return err;
	}
	uv_timer_init(loop, &s->burst);
	s->poll.data = s->burst.data = s;
	s->watch->handles += 2;
	return uv_poll_start(&s->poll, UV_READABLE, readable);
}

int netwatch_open(struct netwatch **out, uv_loop_t *loop, const struct netwatch_callbacks *callbacks, void *owner)
{
	struct netwatch *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->owner = owner;
	w->interfaces = (struct source){ .watch = w, .message = interface_message, .changed = callbacks->interfaces };
	w->ruleset = (struct source){ .watch = w, .message = ruleset_message, .changed = callbacks->ruleset };
	err = source_open(&w->interfaces, loop, NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE);
	if (err == 0 && callbacks->ruleset)
		err = source_open(&w->ruleset, loop, NETLINK_NETFILTER, 1 << (NFNLGRP_NFTABLES - 1));
	if (err < 0)
		netwatch_close(w);
	else
		*out = w;
	return err;
}

static void handle_closed(uv_handle_t *handle)
{
	struct netwatch *w = ((struct source *)handle->data)->watch;

	if (--w->handles == 0)
		free(w);
}

static void source_close(struct source *s)
{
	if (!s->nl)
		return;
	uv_close((uv_handle_t *)&s->poll, handle_closed);
	uv_close((uv_handle_t *)&s->burst, handle_closed);
	mnl_socket_close(s->nl);
}

void netwatch_close(struct netwatch *w)
{
	if (!w || w->closed)
		return;
	w->closed = true;
	if (w->handles == 0) {
		free(w);
		return;
	}
	source_close(&w->interfaces);
	source_close(&w->ruleset);
}
