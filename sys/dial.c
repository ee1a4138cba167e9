/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stun.h"
#include "sys/cleanup.h"
#include "sys/net.h"

#define MESSAGE_MAX 1024 /* a Binding response is far smaller */

struct dial {
	uv_poll_t poll;
	int fd;
	bool connected;
	struct endpoint server;
	const struct dial_callbacks *callbacks;
	void *owner;
	void *waiting; /* until the connection stands */
	size_t waiting_len, got;
	uint8_t in[MESSAGE_MAX];
};

static bool is_closing(const struct dial *d)
{
	return uv_is_closing((const uv_handle_t *)&d->poll);
}

/* So few bytes into a drained connection go whole or not at all. */
static void send_now(struct dial *d, const void *bytes, size_t len)
{
	if (send(d->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		d->callbacks->broken(d->owner, d);
}

static void send_waiting(struct dial *d)
{
	void *waiting = d->waiting;

	d->waiting = NULL;
	if (waiting)
		send_now(d, waiting, d->waiting_len);
	free(waiting);
}

/* Hands over the whole messages at the start of the buffer. */
static void deliver(struct dial *d)
{
	while (!is_closing(d)) {
		const int len = stun_stream_len(d->in, d->got);
		uint8_t message[MESSAGE_MAX];

		if (len < 0 || len > MESSAGE_MAX) {
			d->callbacks->broken(d->owner, d);
			return;
		}
		if (len == 0 || d->got < (size_t)len)
			return;
		memcpy(message, d->in, (size_t)len); /* the callback may close us */
		d->got -= (size_t)len;
		memmove(d->in, d->in + len, d->got);
		d->callbacks->message(d->owner, d, message, (size_t)len);
	}
}

static void readable(struct dial *d)
{
	const ssize_t n = recv(d->fd, d->in + d->got, sizeof(d->in) - d->got, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		d->callbacks->broken(d->owner, d);
		return;
	}
	if (d->callbacks->bytes) {
		d->callbacks->bytes(d->owner, d, d->in, (size_t)n);
		return;
	}
	d->got += (size_t)n;
	deliver(d);
}

static void woken(uv_poll_t *poll, int status, int events);

static void finish_connect(struct dial *d, int status)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (status < 0 || err) {
		d->callbacks->broken(d->owner, d);
		return;
	}
	d->connected = true;
	uv_poll_start(&d->poll, UV_READABLE, woken);
	d->callbacks->established(d->owner, d);
	if (!is_closing(d))
		send_waiting(d);
}

static void woken(uv_poll_t *poll, int status, int events)
{
	struct dial *d = poll->data;

	if (!d->connected)
		finish_connect(d, status);
	else if (status < 0)
		d->callbacks->broken(d->owner, d);
	else if (events & UV_READABLE)
		readable(d);
}

static int start(int fd, uv_loop_t *loop, struct dial *d)
{
	struct sockaddr_storage addr;
	const socklen_t len = net_sockaddr(&addr, &d->server);
	/* Reset on close: no TIME_WAIT keeps the tuple from the next connection. */
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	int err;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (connect(fd, (const struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS)
		return -errno;
	err = uv_poll_init(loop, &d->poll, fd);
	if (err == 0)
		uv_poll_start(&d->poll, UV_WRITABLE, woken);
	return err;
}

int dial_open(struct dial **out, uv_loop_t *loop, const struct endpoint *local, const struct endpoint *server,
	const struct dial_callbacks *callbacks, void *owner)
{
	CLEANUP(close_fd) int fd = -1;
	int err = net_open(&fd, SOCK_STREAM, local, NET_REUSE);
	struct dial *d;

	if (err < 0)
		return err;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct dial){ .fd = fd, .server = *server, .callbacks = callbacks, .owner = owner };
	d->poll.data = d;
	err = start(fd, loop, d);
	if (err < 0) {
		free(d);
		return err;
	}
	fd = -1; /* handed over */
	*out = d;
	return 0;
}

void dial_send(struct dial *d, const void *bytes, size_t len)
{
	if (d->connected) {
		send_now(d, bytes, len);
		return;
	}
	free(d->waiting);
	d->waiting = malloc(len);
	d->waiting_len = len;
	if (d->waiting) /* else it is a loss, and asked again */
		memcpy(d->waiting, bytes, len);
}

const struct endpoint *dial_server(const struct dial *d)
{
	return &d->server;
}

static void closed(uv_handle_t *handle)
{
	struct dial *d = handle->data;

	free(d->waiting);
	free(d);
}

void dial_close(struct dial *d)
{
	if (!d || is_closing(d))
		return;
	uv_close((uv_handle_t *)&d->poll, closed);
	close(d->fd);
}
