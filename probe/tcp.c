/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe/tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "lib/natcheck.h"
#include "sys/clock.h"
#include "sys/entropy.h"
#include "sys/net.h"

#define CONNECTIONS 4	 /* the server, its other address, and that one's port; natcheck asks no more of one server */
#define MESSAGE_MAX 1024 /* an answer is far smaller */
#define REQUEST_MAX 64

struct connection {
	int fd;
	bool connected;
	struct endpoint to;
	uint8_t waiting[REQUEST_MAX], in[MESSAGE_MAX];
	size_t waiting_len, got;
};

struct tcp {
	struct natcheck check;
	struct endpoint local; /* its port is that of the first connection, once there is one */
	struct connection connections[CONNECTIONS];
	struct pollfd pollfds[CONNECTIONS];
	size_t count;
	struct report *report;
	void (*event)(void *user, const char *text);
};

__attribute__((format(printf, 2, 3))) static void say(const struct tcp *t, const char *format, ...)
{
	char text[256];
	va_list args;

	if (!t->event)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	t->event(NULL, text);
}

/* No connection to there, or it spoke no STUN. The first reason is the one that is told. */
static void broken(struct tcp *t, struct connection *c, const char *why)
{
	char text[ENDPOINT_TEXT_MAX];

	endpoint_text(&c->to, text);
	say(t, "TCP %s: %s", text, why);
	if (!t->report->tcp.why[0])
		snprintf(t->report->tcp.why, REPORT_WHY_MAX, "TCP connection to %s: %s", text, why);
	close(c->fd);
	c->fd = -1;
	natcheck_break(&t->check, &c->to, clock_ms());
}

static void send_waiting(struct tcp *t, struct connection *c)
{
	const ssize_t n = send(c->fd, c->waiting, c->waiting_len, MSG_NOSIGNAL);

	/* So few bytes into a new connection go whole or not at all. */
	if (n != (ssize_t)c->waiting_len)
		broken(t, c, n < 0 ? strerror(errno) : "cannot send");
	c->waiting_len = 0;
}

static int open_to(struct tcp *t, struct connection *c)
{
	/* Reset on close: no TIME_WAIT keeps the port pair from the next run. */
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	struct sockaddr_storage addr;
	const socklen_t len = net_sockaddr(&addr, &c->to);
	int err = net_open(&c->fd, SOCK_STREAM, &t->local, NET_REUSE);

	if (err < 0)
		return err;
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	err = net_local(c->fd, &t->local);
	if (err == 0 && connect(c->fd, (const struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS)
		err = -errno;
	return err;
}

static struct connection *connection_to(struct tcp *t, const struct endpoint *to)
{
	struct connection *c;
	int err;

	for (size_t i = 0; i < t->count; i++)
		if (endpoint_equal(&t->connections[i].to, to))
			return &t->connections[i];
	if (t->count == CONNECTIONS)
		return NULL;
	c = &t->connections[t->count++];
	*c = (struct connection){ .fd = -1, .to = *to };
	err = open_to(t, c);
	if (err < 0)
		broken(t, c, strerror(-err));
	return c;
}

static void obey(struct tcp *t, const struct inquiry_step *s)
{
	struct connection *c = connection_to(t, &s->to);

	if (!c || c->fd < 0 || s->len > REQUEST_MAX) {
		natcheck_break(&t->check, &s->to, clock_ms());
		return;
	}
	memcpy(c->waiting, s->bytes, s->len);
	c->waiting_len = s->len;
	if (c->connected)
		send_waiting(t, c);
}

static void finish_connect(struct tcp *t, struct connection *c)
{
	char a[ENDPOINT_TEXT_MAX], b[ENDPOINT_TEXT_MAX];
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		broken(t, c, strerror(err));
		return;
	}
	c->connected = true;
	say(t, "TCP connection %s -> %s", endpoint_text(&t->local, a), endpoint_text(&c->to, b));
	send_waiting(t, c);
}

static void deliver(struct tcp *t, struct connection *c)
{
	for (;;) {
		const int len = stun_stream_len(c->in, c->got);

		if (len < 0 || len > MESSAGE_MAX) {
			broken(t, c, "no STUN");
			return;
		}
		if (len == 0 || c->got < (size_t)len)
			return;
		natcheck_receive(&t->check, 0, &c->to, c->in, (size_t)len, clock_ms());
		c->got -= (size_t)len;
		memmove(c->in, c->in + len, c->got);
	}
}

static void readable(struct tcp *t, struct connection *c)
{
	const ssize_t n = recv(c->fd, c->in + c->got, sizeof(c->in) - c->got, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		broken(t, c, n < 0 ? strerror(errno) : "closed by the server");
		return;
	}
	c->got += (size_t)n;
	deliver(t, c);
}

static void wait_until(struct tcp *t, uint64_t until_ms)
{
	const uint64_t now_ms = clock_ms();

	for (size_t i = 0; i < t->count; i++)
		t->pollfds[i] = (struct pollfd){ .fd = t->connections[i].fd, .events = t->connections[i].connected ? POLLIN : POLLOUT };
	if (poll(t->pollfds, t->count, until_ms > now_ms ? (int)(until_ms - now_ms) : 0) <= 0)
		return;
	for (size_t i = 0; i < t->count; i++) {
		if (t->pollfds[i].revents == 0)
			continue;
		if (t->connections[i].connected)
			readable(t, &t->connections[i]);
		else
			finish_connect(t, &t->connections[i]);
	}
}

void tcp_ask(struct report *r, const struct endpoint *server, const struct endpoint *local, uint32_t timeout_ms,
	void (*event)(void *user, const char *text))
{
	const uint64_t deadline_ms = clock_ms() + timeout_ms;
	struct tcp t = { .local = *local, .report = r, .event = event };
	struct inquiry_step step;
	enum inquiry_action action = INQUIRY_WAIT;

	r->tcp = (struct report_extra){ .asked = true };
	natcheck_init(&t.check, true, server, 1, random_bytes, clock_ms());
	while (clock_ms() < deadline_ms && (action = natcheck_step(&t.check, clock_ms(), &step)) != INQUIRY_DONE) {
		const uint64_t wake_ms = natcheck_wake_ms(&t.check);

		if (action == INQUIRY_SEND)
			obey(&t, &step);
		else
			wait_until(&t, wake_ms < deadline_ms ? wake_ms : deadline_ms);
	}
	for (size_t i = 0; i < t.count; i++)
		if (t.connections[i].fd >= 0)
			close(t.connections[i].fd);
	r->tcp_mapping = t.check.mapping_known ? t.check.mapping : STUNWAY_BEHAVIOR_UNKNOWN;
	r->tcp_external = t.check.questions[0].outer;
	if (r->tcp_mapping != STUNWAY_BEHAVIOR_UNKNOWN)
		r->tcp.why[0] = '\0';
	else if (!r->tcp.why[0])
		snprintf(r->tcp.why, REPORT_WHY_MAX, "%s",
			t.check.alone ? "the server names no second address" : "no answer over TCP in time");
}
