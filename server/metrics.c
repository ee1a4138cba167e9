/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/bind.h"
#include "sys/clock.h"
#include "sys/net.h"

#define HEAD_MAX 256

static_assert(COUNT_KINDS * 2 * sizeof("# TYPE stunway_unknown_attribute_total counter\n18446744073709551615") < METRICS_TEXT_MAX - 256,
	"every row fits");

struct visitor {
	struct watch watch; /* fd -1: free */
	struct metrics *metrics;
	uint64_t until_ms, number; /* number: in the order they came */
	char request[METRICS_REQUEST_MAX];
	size_t request_len;
	char answer[HEAD_MAX + METRICS_TEXT_MAX];
	size_t answer_len, sent; /* answer_len 0: still asking */
};

struct metrics {
	struct watch listener;
	struct loop *loop;
	struct metrics_source source;
	uint64_t count;
	struct visitor visitors[METRICS_CONNECTIONS];
};

static void leave(struct visitor *v)
{
	if (v->watch.fd >= 0)
		close(v->watch.fd);
	v->watch.fd = -1;
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} rows[] = { { 200, "OK" }, { 400, "Bad Request" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 431, "Request Header Fields Too Large" } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return "HTTP Version Not Supported";
}

static void compose(struct visitor *v, int status)
{
	const struct metrics_source *source = &v->metrics->source;
	char text[METRICS_TEXT_MAX];
	struct metrics_facts facts = { 0 };
	size_t len;
	int head;

	if (status == 200) {
		source->read(source->arg, &facts);
		len = metrics_text(&facts, text);
	} else {
		len = (size_t)snprintf(text, sizeof(text), "%d %s; there is GET /metrics\n", status, reason(status));
	}
	head = snprintf(v->answer, HEAD_MAX,
		"HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %zu\r\n"
		"%sConnection: close\r\n\r\n",
		status, reason(status), len, status == 405 ? "Allow: GET\r\n" : "");
	memcpy(v->answer + head, text, len);
	v->answer_len = (size_t)head + len;
	v->sent = 0;
}

/* Sends what the kernel takes. What is sent whole is ended by us: the client then has it all and closes. */
static void tell(struct visitor *v)
{
	const ssize_t n = send(v->watch.fd, v->answer + v->sent, v->answer_len - v->sent, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		loop_change(v->metrics->loop, &v->watch, EPOLLOUT);
		return;
	}
	if (n < 0) {
		leave(v);
		return;
	}
	v->sent += (size_t)n;
	if (v->sent < v->answer_len) {
		loop_change(v->metrics->loop, &v->watch, EPOLLOUT);
		return;
	}
	shutdown(v->watch.fd, SHUT_WR);
	loop_change(v->metrics->loop, &v->watch, EPOLLIN);
}

static void hear(struct visitor *v)
{
	char rest[METRICS_REQUEST_MAX];
	const bool told = v->answer_len > 0;
	const ssize_t n = recv(v->watch.fd, told ? rest : v->request + v->request_len,
		told ? sizeof(rest) : sizeof(v->request) - v->request_len, 0);
	int status;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		leave(v);
		return;
	}
	if (told)
		return; /* beyond the one request: nobody's business; closing now would reset what is on its way */
	v->request_len += (size_t)n;
	status = metrics_request(v->request, v->request_len);
	if (status == 0)
		return;
	compose(v, status);
	tell(v);
}

static void visitor_ready(struct watch *w, uint32_t events)
{
	struct visitor *v = (struct visitor *)w;

	if (events & EPOLLOUT)
		tell(v);
	else if (events & EPOLLIN)
		hear(v);
	else
		leave(v);
}

/* A free place, else that of who came first. */
static struct visitor *place(struct metrics *m)
{
	struct visitor *oldest = &m->visitors[0];

	for (size_t i = 0; i < METRICS_CONNECTIONS; i++) {
		if (m->visitors[i].watch.fd < 0)
			return &m->visitors[i];
		if (m->visitors[i].number < oldest->number)
			oldest = &m->visitors[i];
	}
	leave(oldest);
	return oldest;
}

static void acceptable(struct watch *w, uint32_t events)
{
	struct metrics *m = (struct metrics *)w;
	const int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct visitor *v;

	(void)events;
	if (fd < 0)
		return;
	v = place(m);
	v->watch = (struct watch){ .ready = visitor_ready, .fd = fd };
	v->metrics = m;
	v->number = m->count++;
	v->until_ms = clock_ms() + METRICS_DEADLINE_MS;
	v->request_len = v->answer_len = 0;
	if (loop_add(m->loop, &v->watch, EPOLLIN) < 0)
		leave(v);
}

int metrics_new(struct metrics **out, struct loop *loop, const struct endpoint *at, const struct metrics_source *source)
{
	struct metrics *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->loop = loop;
	m->source = *source;
	m->listener = (struct watch){ .ready = acceptable, .fd = -1 };
	for (size_t i = 0; i < METRICS_CONNECTIONS; i++)
		m->visitors[i].watch.fd = -1;
	err = bind_open(&m->listener.fd, SOCK_STREAM, at, NET_REUSE);
	if (err == 0)
		err = loop_add(loop, &m->listener, EPOLLIN);
	if (err < 0) {
		metrics_free(m);
		return err;
	}
	*out = m;
	return 0;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < METRICS_CONNECTIONS; i++)
		leave(&m->visitors[i]);
	if (m->listener.fd >= 0)
		close(m->listener.fd);
	free(m);
}

int metrics_tick(struct metrics *m, uint64_t now_ms)
{
	int wait = -1;

	for (size_t i = 0; i < METRICS_CONNECTIONS; i++) {
		struct visitor *v = &m->visitors[i];

		if (v->watch.fd < 0)
			continue;
		if (v->until_ms <= now_ms)
			leave(v);
		else if (wait < 0 || v->until_ms - now_ms < (uint64_t)wait)
			wait = (int)(v->until_ms - now_ms);
	}
	return wait;
}
