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

#include <stdint.h>

/*
 * Deletes the IPv4 flows of a protocol (6, 17) that came to ip:port from outside, and those
 * that another host sends out as ip:port. Our own sockets' flows from ip:port stay. ip is in
 * host order. Returns how many were deleted, or a negative errno.
 */
int conntrack_scrub(uint8_t protocol, uint32_t ip, uint16_t port);

#endif
