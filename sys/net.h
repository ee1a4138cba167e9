/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * net - sockets: opening them, and the ancillary data that says which address a
 * datagram was sent to and which one answers it.
 */
#ifndef SYS_NET_H
#define SYS_NET_H

#include "sys/sockaddr.h"

enum net_flags {
	NET_REUSE = 1,	 /* SO_REUSEADDR */
	NET_PKTINFO = 2, /* IP_PKTINFO / IPV6_RECVPKTINFO, for net_receive */
	NET_BESIDE = 4,	 /* SO_REUSEPORT: beside another socket of this user that allows it */
	NET_FREEBIND = 8, /* an address that is not there yet will do */
};
/* Opens a non-blocking socket (SOCK_DGRAM or SOCK_STREAM) bound to an endpoint. Negative errno. */
int net_open(int *out_fd, int type, const struct endpoint *local, unsigned flags);
/* Asks the kernel to queue so many bytes each way; what it grants without CAP_NET_ADMIN may be less. */
void net_buffers(int fd, int bytes);
/*
 * IPv4: whether what is sent may be fragmented, which is how a socket begins. What may not
 * be needs no ID (RFC 6864, atomic datagrams), and to choose one is 5 % of the kernel's work
 * on a short datagram. What is longer than the interface's MTU then is not sent: -EMSGSIZE.
 */
void net_fragments(int fd, bool may);
/* How many datagrams the socket's queue had no room for, so far. */
uint32_t net_dropped(int fd);
/* The socket's own local endpoint. */
int net_local(int fd, struct endpoint *out);

/* Room for the ancillary data of one datagram, whose address family may be either. */
struct net_control {
	_Alignas(struct cmsghdr) uint8_t room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};
/* What net_receive and net_send do with it, for those who receive and send many at a time. */
void net_pktinfo_read(struct msghdr *msg, struct endpoint *to, unsigned *ifindex);
void net_pktinfo_write(struct msghdr *msg, struct net_control *control, const struct endpoint *from, unsigned ifindex);

/*
 * One datagram: from whom, to which local address (family NONE without NET_PKTINFO; its
 * port is not set) and through which interface (0 likewise). Returns its length (cut to
 * max: at most 65535), -EAGAIN when none waits, other negative errno.
 */
int net_receive(int fd, void *buf, size_t max, struct endpoint *from, struct endpoint *to, unsigned *ifindex);
/* Sends one datagram, from the given local address and interface if any (NULL, 0: the kernel's choice). */
int net_send(int fd, const void *bytes, size_t len, const struct endpoint *to, const struct endpoint *from, unsigned ifindex);

#endif
