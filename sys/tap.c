/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/datagram.h"
#include "sys/cleanup.h"

#define DATAGRAM_MAX 1500
#define BURST	     32 /* packets per wake-up, so that others have their turn */

struct tap {
	uv_poll_t poll;
	int fd;
	struct endpoint local;
	tap_receive_fn *receive;
	void *owner;
};

/* IPv4, UDP, not a later fragment, this destination port. Offsets count from the IP header. */
static int attach_filter(int fd, uint16_t port)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 4, 0),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
		BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, DATAGRAM_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int aim(int fd, unsigned ifindex)
{
	const struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)ifindex };

	return bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

/* The reserved socket, of which a tap has a copy while there is one; -1 without. */
static int reserved = -1;

/* Aimed at nothing that comes by: an idle tap must not cost the line's packets anything. */
static void idle(void)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = { .len = 1, .filter = &nothing };

	if (reserved >= 0 && setsockopt(reserved, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0)
		aim(reserved, if_nametoindex("lo"));
}

int tap_reserve(void)
{
	reserved = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (reserved < 0)
		return -errno;
	idle();
	return 0;
}

/* Protocol 0: nothing is received before the filter stands and the interface is bound. */
static int packet_socket(void)
{
	const int fd = reserved >= 0 ? fcntl(reserved, F_DUPFD_CLOEXEC, 0) : socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static void unpack(struct tap *t, const uint8_t *packet, size_t len)
{
	struct datagram d;

	if (datagram_decode(&d, packet, len) == 0 && endpoint_equal(&d.to, &t->local))
		t->receive(t->owner, &d.from, d.bytes, d.len);
}

static void readable(uv_poll_t *poll, int status, int events)
{
	struct tap *t = poll->data;
	uint8_t packet[DATAGRAM_MAX];

	(void)status, (void)events;
	for (int i = 0; i < BURST && !uv_is_closing((const uv_handle_t *)poll); i++) {
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		const ssize_t n = recvfrom(t->fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &from_len);

		if (n < 0)
			return;
		if (from.sll_pkttype == PACKET_HOST)
			unpack(t, packet, (size_t)n);
	}
}

int tap_open(struct tap **out, uv_loop_t *loop, unsigned ifindex, const struct endpoint *local, tap_receive_fn *receive,
	void *owner)
{
	CLEANUP(close_fd) int fd = packet_socket();
	struct tap *t;
	int err;

	if (fd < 0)
		return fd;
	err = attach_filter(fd, local->port);
	if (err == 0)
		err = aim(fd, ifindex);
	if (err < 0)
		return err;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	*t = (struct tap){ .fd = fd, .local = *local, .receive = receive, .owner = owner };
	t->poll.data = t;
	err = uv_poll_init(loop, &t->poll, fd);
	if (err < 0) {
		free(t);
		return err;
	}
	uv_poll_start(&t->poll, UV_READABLE, readable);
	fd = -1; /* handed over */
	*out = t;
	return 0;
}

static void closed(uv_handle_t *handle)
{
	free(handle->data);
}

void tap_close(struct tap *t)
{
	if (!t)
		return;
	uv_close((uv_handle_t *)&t->poll, closed);
	close(t->fd);
	idle();
}
