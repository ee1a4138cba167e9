/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack - forgets the kernel's connections that a changed mapping must not keep.
 *
 * A flow that began before a rule bypasses it, and one that a rule made survives it. So
 * after each change of the firewall's maps the flows of its port are scrubbed. Works with
 * CAP_NET_ADMIN alone.
 */
#ifndef SYS_CONNTRACK_H
#define SYS_CONNTRACK_H

#include <stddef.h>
#include <stdint.h>

struct conntrack;

struct conntrack_port {
	uint32_t ip;	  /* host order */
	uint8_t protocol; /* 6 or 17 */
	uint16_t port;
	uint32_t host_ip; /* host order; flows between this host and the port are right as they are and stay. 0: none is */
	uint16_t host_port;
};

/*
 * Its socket stays open: the kernel lets a netlink socket's close wait for nf_tables'
 * last deletion, some 8 ms. Negative errno.
 */
int conntrack_open(struct conntrack **out);
/*
 * Deletes the IPv4 flows that were sent to one of these ports, and those that a host with
 * another address sends out as such a port. Our own sockets' flows from there stay. The
 * kernel walks its whole table, so many ports at once cost as much as one. Returns how
 * many were deleted, or a negative errno.
 */
int conntrack_scrub(struct conntrack *ct, const struct conntrack_port *ports, size_t count);
void conntrack_close(struct conntrack *ct); /* NULL is fine */

#endif
