/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * anchor - a connection to a web server that holds a TCP port's mapping in the carrier's NAT.
 *
 * For where no STUN server keeps a TCP connection: HEAD / over one persistent HTTP/1.1
 * connection from the relay port, again every interval. When the host closes it, says
 * nothing within the interval, or speaks no HTTP, another is taken, after 1 s, 2 s … 30 s
 * while none answers. Whoever holds the anchor asks a STUN server, from the same port,
 * each time that the anchor stands anew: the outer port may be another.
 */
#ifndef GATEWAY_ANCHOR_H
#define GATEWAY_ANCHOR_H

#include <uv.h>

#include "gateway/hole/servers.h"

struct anchor;

/* The anchor stands (again), or a host was no help. The callee may close the anchor. */
typedef void anchor_event_fn(void *owner);

/* hosts and its list are borrowed. The port of local is that of the hole. */
int anchor_open(struct anchor **out, uv_loop_t *loop, struct servers *hosts, const struct endpoint *local, uint32_t interval_ms,
	anchor_event_fn *event, void *owner);
void anchor_interval(struct anchor *a, uint32_t interval_ms);
bool anchor_stands(const struct anchor *a);
/* Whether it stands, or at least one host was tried in vain: no use waiting for it. */
bool anchor_settled(const struct anchor *a);
/* Connects anew: the public address is another. */
void anchor_renew(struct anchor *a);
void anchor_close(struct anchor *a); /* NULL is fine */

#endif
