/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dial - a TCP connection under libuv that carries STUN messages, or whatever bytes.
 *
 * Callbacks may close the dial they come from.
 */
#ifndef SYS_DIAL_H
#define SYS_DIAL_H

#include <uv.h>

#include "lib/endpoint.h"

struct dial;

struct dial_callbacks {
	void (*established)(void *owner, struct dial *d);
	/* One whole STUN message. */
	void (*message)(void *owner, struct dial *d, const uint8_t *bytes, size_t len);
	/* If set: what arrived, as it comes, and `message` is not called. */
	void (*bytes)(void *owner, struct dial *d, const uint8_t *bytes, size_t len);
	/* Refused, closed, or it spoke no STUN: the connection is over; the callee calls dial_close. */
	void (*broken)(void *owner, struct dial *d);
};

/* Connects from a local endpoint that other sockets with SO_REUSEADDR may share. Negative errno when that fails at once. */
int dial_open(struct dial **out, uv_loop_t *loop, const struct endpoint *local, const struct endpoint *server,
	const struct dial_callbacks *callbacks, void *owner);
/* Sends now, or as soon as the connection stands; one message waits at most, a later one takes its place. */
void dial_send(struct dial *d, const void *bytes, size_t len);
const struct endpoint *dial_server(const struct dial *d);
/* Resets the connection, so that its ports are free at once. NULL is fine. */
void dial_close(struct dial *d);

#endif
