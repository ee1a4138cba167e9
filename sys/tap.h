/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap - sees the UDP datagrams that reach an interface for one port, before the firewall
 * drops them: a filtering test must not mistake the router's own firewall for the carrier's.
 *
 * An AF_PACKET socket with a BPF filter on the port. To open one needs CAP_NET_RAW, to aim it
 * elsewhere does not: a program that gives the right up reserves the socket before.
 */
#ifndef SYS_TAP_H
#define SYS_TAP_H

#include <uv.h>

#include "lib/endpoint.h"

struct tap;

typedef void tap_receive_fn(void *owner, const struct endpoint *from, const uint8_t *bytes, size_t len);

/* For the one tap at a time of a program that will not have the right any more. Negative errno. */
int tap_reserve(void);
/* IPv4 datagrams to local (address and port) that arrive on an interface. Negative errno. */
int tap_open(struct tap **out, uv_loop_t *loop, unsigned ifindex, const struct endpoint *local, tap_receive_fn *receive,
	void *owner);
void tap_close(struct tap *t); /* NULL is fine */

#endif
