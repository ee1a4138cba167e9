/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/udp.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/cleanup.h"
#include "sys/net.h"

#define DATAGRAM_MAX 1500
#define BURST	     32 /* datagrams per wake-up, so that others have their turn */

struct udp {
	uv_poll_t poll;
	int fd;
	uint16_t port;
	udp_receive_fn *receive;
	void *owner;
};

static void readable(uv_poll_t *poll, int status, int events)
{
	struct udp *u = poll->data;
	uint8_t buf[DATAGRAM_MAX];

	(void)status, (void)events; /* errors come out of recvmsg */
	for (int i = 0; i < BURST && !uv_is_closing((const uv_handle_t *)poll); i++) {
		struct endpoint from, to;
		unsigned ifindex;
		const int n = net_receive(u->fd, buf, sizeof(buf), &from, &to, &ifindex);

		if (n == -EAGAIN)
			return;
		if (n >= 0)
			u->receive(u->owner, &from, buf, (size_t)n);
		/* else an ICMP error of some earlier sending: read on */
	}
}

int udp_open(struct udp **out, uv_loop_t *loop, const struct endpoint *local, udp_receive_fn *receive, void *owner)
{
	CLEANUP(close_fd) int fd = -1;
	struct endpoint bound;
	struct udp *u;
	int err = net_open(&fd, SOCK_DGRAM, local, 0);

	if (err == 0)
		err = net_local(fd, &bound);
	if (err < 0)
		return err;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	*u = (struct udp){ .fd = fd, .port = bound.port, .receive = receive, .owner = owner };
	u->poll.data = u;
	err = uv_poll_init(loop, &u->poll, fd);
	if (err < 0) {
		free(u);
		return err;
	}
	uv_poll_start(&u->poll, UV_READABLE, readable);
	fd = -1; /* handed over */
	*out = u;
	return 0;
}

int udp_send(struct udp *u, const struct endpoint *to, const void *bytes, size_t len)
{
	return net_send(u->fd, bytes, len, to, NULL, 0);
}

uint16_t udp_port(const struct udp *u)
{
	return u->port;
}

static void closed(uv_handle_t *handle)
{
	free(handle->data);
}

void udp_close(struct udp *u)
{
	if (!u)
		return;
	uv_close((uv_handle_t *)&u->poll, closed);
	close(u->fd);
}
