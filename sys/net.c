/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/net.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>

#include "sys/cleanup.h"

static int option_on(int fd, int level, int name)
{
	return setsockopt(fd, level, name, &(int){ 1 }, sizeof(int)) < 0 ? -errno : 0;
}

int net_open(int *out_fd, int type, const struct endpoint *local, unsigned flags)
{
	const bool v6 = local->family == ENDPOINT_IPV6;
	struct sockaddr_storage addr;
	const socklen_t len = net_sockaddr(&addr, local);
	CLEANUP(close_fd) int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (v6)
		err = option_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (err == 0 && flags & NET_REUSE)
		err = option_on(fd, SOL_SOCKET, SO_REUSEADDR);
	if (err == 0 && flags & NET_BESIDE)
		err = option_on(fd, SOL_SOCKET, SO_REUSEPORT);
	if (err == 0 && flags & NET_PKTINFO)
		err = v6 ? option_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO) : option_on(fd, IPPROTO_IP, IP_PKTINFO);
	if (err == 0 && flags & NET_FREEBIND)
		err = option_on(fd, IPPROTO_IP, IP_FREEBIND); /* for IPv6 too */
	if (err < 0)
		return err;
	if (bind(fd, (const struct sockaddr *)&addr, len) < 0)
		return -errno;
	*out_fd = fd;
	fd = -1; /* handed over */
	return 0;
}

void net_fragments(int fd, bool may)
{
	/* PROBE: don't fragment, whatever path MTU somebody's ICMP has named. */
	setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &(int){ may ? IP_PMTUDISC_WANT : IP_PMTUDISC_PROBE }, sizeof(int));
}

uint32_t net_dropped(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 ? 0 : info[SK_MEMINFO_DROPS];
}

int net_local(int fd, struct endpoint *out)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	*out = net_endpoint(&addr);
	return 0;
}

static void buffer_set(int fd, int forced, int plain, int bytes)
{
	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) < 0) /* beyond net.core.*mem_max: CAP_NET_ADMIN */
		setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof(bytes));
}

void net_buffers(int fd, int bytes)
{
	buffer_set(fd, SO_RCVBUFFORCE, SO_RCVBUF, bytes);
	buffer_set(fd, SO_SNDBUFFORCE, SO_SNDBUF, bytes);
}

void net_pktinfo_read(struct msghdr *msg, struct endpoint *to, unsigned *ifindex)
{
	*to = (struct endpoint){ 0 };
	*ifindex = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			*to = endpoint_ipv4(ntohl(info.ipi_addr.s_addr), 0);
			*ifindex = (unsigned)info.ipi_ifindex;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			*to = (struct endpoint){ .family = ENDPOINT_IPV6 };
			memcpy(to->ip, &info.ipi6_addr, 16);
			*ifindex = info.ipi6_ifindex;
		}
	}
}

int net_receive(int fd, void *buf, size_t max, struct endpoint *from, struct endpoint *to, unsigned *ifindex)
{
	struct sockaddr_storage addr = { 0 };
	struct net_control control;
	struct iovec iov = { buf, max < 65535 ? max : 65535 };
	struct msghdr msg = { .msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control) };
	const ssize_t n = recvmsg(fd, &msg, 0);

	if (n < 0)
		return -errno;
	*from = net_endpoint(&addr);
	net_pktinfo_read(&msg, to, ifindex);
	return (int)n;
}

void net_pktinfo_write(struct msghdr *msg, struct net_control *control, const struct endpoint *from, unsigned ifindex)
{
	struct cmsghdr *c = (struct cmsghdr *)control->room;

	*control = (struct net_control){ 0 };
	msg->msg_control = control;
	if (from->family == ENDPOINT_IPV6) {
		struct in6_pktinfo info = { .ipi6_ifindex = ifindex };

		memcpy(&info.ipi6_addr, from->ip, 16);
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		msg->msg_controllen = CMSG_SPACE(sizeof(info));
		return;
	}
	struct in_pktinfo info = { .ipi_ifindex = (int)ifindex };

	memcpy(&info.ipi_spec_dst, from->ip, 4);
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	msg->msg_controllen = CMSG_SPACE(sizeof(info));
}

int net_send(int fd, const void *bytes, size_t len, const struct endpoint *to, const struct endpoint *from, unsigned ifindex)
{
	struct sockaddr_storage addr;
	struct net_control control;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr msg = { .msg_name = &addr, .msg_namelen = net_sockaddr(&addr, to), .msg_iov = &iov, .msg_iovlen = 1 };

	if (from)
		net_pktinfo_write(&msg, &control, from, ifindex);
	return sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}
