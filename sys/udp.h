/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * udp - a UDP port under libuv. The callback may close it.
 */
#ifndef SYS_UDP_H
#define SYS_UDP_H

#include <uv.h>

#include "lib/endpoint.h"

struct udp;

typedef void udp_receive_fn(void *owner, const struct endpoint *from, const uint8_t *bytes, size_t len);

/* Binds exclusively: -EADDRINUSE when somebody has the port (0: any). */
int udp_open(struct udp **out, uv_loop_t *loop, const struct endpoint *local, udp_receive_fn *receive, void *owner);
/* Bytes are sent or lost, as UDP does; hard errors are returned. */
int udp_send(struct udp *u, const struct endpoint *to, const void *bytes, size_t len);
uint16_t udp_port(const struct udp *u);
void udp_close(struct udp *u); /* NULL is fine */

#endif
