/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole connections, in pieces, through MHD and all guards, over a socketpair with the loop run by hand. What a route
 * sees is as gateway/face/http.h says; nothing is left when the connection has ended. The first byte says from where the
 * client comes and how long the pieces are.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/config.h"
#include "gateway/face/http_request.h"
#include "sys/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	uv_loop_t loop;
	struct config config;
	struct http *http;
	struct http_request *later;
	struct http_stream *stream;
} f;

static void holds(bool yes)
{
	if (!yes)
		abort();
}

/* What every route may rely on. */
static void look_at(const struct http_request *r)
{
	size_t len;
	const char *body = http_body(r, &len), *host = http_received(r, "Host"), *origin = http_received(r, "Origin");
	struct guard_host h;

	holds(len <= HTTP_BODY_MAX && strlen(body) == len);
	holds(host && guard_host(&h, host) == 0);
	holds(h.ip.family != ENDPOINT_NONE || strcmp(h.name, "localhost") == 0 || strchr(h.name, '.') || strcmp(h.name, "router") == 0);
	for (size_t i = 0; r->wild[i] && i < HTTP_SEGMENTS_MAX; i++)
		for (const char *c = http_segment(r, i); *c; c++)
			holds((unsigned char)*c >= 0x20 && *c != 0x7f);
	holds(!r->route->changes || (http_logged_in(r) && (!origin || strncmp(origin, "http", 4) == 0)));
	holds(!r->route->changes || len == 0 || guard_type_is_json(http_received(r, "Content-Type")));
}

static void gone(void *data)
{
	(void)data;
	f.later = NULL;
	f.stream = NULL;
}

static void echo(void *owner, struct http_request *r)
{
	size_t len;
	const char *body = http_body(r, &len);

	(void)owner;
	look_at(r);
	http_answer(r, 200, "text/plain", strdup(body), len);
}

static void later(void *owner, struct http_request *r)
{
	(void)owner;
	look_at(r);
	f.later = r;
	http_on_gone(r, gone, NULL);
}

static void stream(void *owner, struct http_request *r)
{
	(void)owner;
	look_at(r);
	holds(http_stream_open(&f.stream, r, "text/event-stream", gone, NULL) == 0);
}

static void *copy_word(void *owner)
{
	(void)owner;
	return strdup("long");
}

static int copy_all(void *copy)
{
	(void)copy;
	return 0;
}

static void write_long(void *copy, struct text *out)
{
	while (out->len < 2 * HTTP_LONG)
		text_word(out, copy);
}

static void answer_long(void *owner, struct http_request *r)
{
	static const struct http_writer writer = { copy_word, copy_all, write_long, free };

	(void)owner;
	look_at(r);
	http_answer_by(r, "text/plain", &writer);
}

static const struct http_route routes[] = {
	{ "GET", "/long", false, false, answer_long },
	{ "GET", "/e/*", false, false, echo },
	{ "POST", "/e/*/*", true, false, echo },
	{ "POST", "/later", true, false, later },
	{ "GET", "/stream", false, false, stream },
};

static void turn(void)
{
	static char text[4096];
	struct http_chunk *c;

	for (int i = 0; i < 4; i++)
		uv_run(&f.loop, UV_RUN_NOWAIT);
	while (f.http->working)
		uv_run(&f.loop, UV_RUN_ONCE);
	if (f.later) {
		struct http_request *r = f.later;

		f.later = NULL;
		http_error(r, 409, "%s", "\"\\\n");
	}
	if (f.stream && (c = http_chunk_new(text, 1000))) {
		http_stream_write(f.stream, c);
		http_chunk_free(c);
	}
}

static void begin(void)
{
	log_setup("fuzz", LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	f.config = (struct config){ .http_none = true, .http_hosts = { "router" }, .http_host_count = 1 };
	uv_loop_init(&f.loop);
	holds(http_open(&f.http, &f.loop, &f.config, NULL) == 0);
	http_follow(f.http, NULL, 0);
	http_serve(f.http, routes, sizeof(routes) / sizeof(routes[0]), NULL);
}

static void drain(int fd)
{
	static char heard[65536];

	while (recv(fd, heard, sizeof(heard), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct endpoint client = endpoint_ipv4(size && data[0] & 1 ? 0x08080808 : 0x7f000001, 1);
	const size_t piece = size && data[0] & 2 ? 1 + data[0] / 4 : 65536;
	int fds[2];

	if (!f.http)
		begin();
	if (size == 0 || size > 20000)
		return 0;
	holds(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	door_enter(f.http->door, fds[0], &client);
	for (size_t at = 1, n; at < size; at += n) {
		n = size - at < piece ? size - at : piece;
		if (send(fds[1], data + at, n, MSG_NOSIGNAL) < 0)
			break;
		turn();
		drain(fds[1]);
	}
	turn();
	close(fds[1]);
	for (int i = 0; i < 4; i++)
		turn();
	holds(!f.http->requests && f.http->streams == 0 && f.http->untaken == 0 && !f.http->waits && !f.later && !f.stream && !door_find(f.http->door, fds[0]));
	return 0;
}
