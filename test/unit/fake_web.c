/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/fake_web.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"

struct fake fake;

/* --- the web server --- */

struct http_stream {
	struct http_request *request;
	void (*gone)(void *data);
	void *data;
};

struct http_chunk {
	size_t len;
	char bytes[];
};

void http_serve(struct http *h, const struct http_route *routes, size_t count, void *owner)
{
	(void)h;
	(void)routes;
	(void)count;
	(void)owner;
}

const char *http_segment(const struct http_request *r, size_t i)
{
	return r->segments[i];
}

const char *http_body(const struct http_request *r, size_t *len)
{
	*len = r->body_len;
	return r->body;
}

bool http_logged_in(const struct http_request *r)
{
	(void)r;
	return true;
}

bool http_login_required(const struct http *h)
{
	(void)h;
	return false;
}

struct endpoint http_client(const struct http_request *r)
{
	return r->client;
}

void http_answer(struct http_request *r, unsigned status, const char *type, char *text, size_t len)
{
	if (r->status || r->streams)
		abort(); /* once */
	r->status = status;
	r->type = strdup(type);
	r->text = text;
	r->len = len;
	r->gone = NULL;
}

void http_error(struct http_request *r, unsigned status, const char *format, ...)
{
	char words[1024], *text = malloc(4096);
	struct json j;
	va_list args;
	size_t len;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	json_begin(&j, text, 4096);
	json_text(&j, "status", "error");
	json_text(&j, "error", words);
	len = json_end(&j);
	http_answer(r, status, "application/json", text, len);
}

void http_answer_by(struct http_request *r, const char *type, const struct http_writer *w)
{
	struct text t = TEXT_GROWING;
	void *copy = w->begin(fake.api);
	size_t len;
	char *text;

	while (w->copy(copy) > 0)
		;
	w->write(copy, &t);
	w->free(copy);
	text = text_take(&t, &len);
	http_answer(r, 200, type, text, len);
}

void http_header(struct http_request *r, const char *name, const char *value)
{
	snprintf(r->header, sizeof(r->header), "%s: %s", name, value);
}

void http_log_in(struct http_request *r, const char *password)
{
	r->password = strdup(password);
	http_answer(r, 200, "application/json", strdup("{}"), 2);
}

void http_log_out(struct http_request *r)
{
	http_answer(r, 200, "application/json", strdup("{}"), 2);
}

void http_on_gone(struct http_request *r, void (*gone)(void *data), void *data)
{
	r->gone = gone;
	r->gone_data = data;
}

int http_stream_open(struct http_stream **out, struct http_request *r, const char *type, void (*gone)(void *data), void *data)
{
	struct http_stream *s = calloc(1, sizeof(*s));

	*s = (struct http_stream){ r, gone, data };
	http_answer(r, 200, type, strdup(""), 0);
	r->streams = true;
	r->gone_data = s;
	*out = s;
	return 0;
}

struct http_chunk *http_chunk_new(const char *text, size_t len)
{
	struct http_chunk *c = malloc(sizeof(*c) + len);

	c->len = len;
	memcpy(c->bytes, text, len);
	return c;
}

void http_chunk_free(struct http_chunk *c)
{
	free(c);
}

int http_stream_write(struct http_stream *s, struct http_chunk *c)
{
	struct http_request *r = s->request;

	if (r->full)
		return -ENOBUFS;
	r->text = realloc(r->text, r->len + c->len + 1);
	memcpy(r->text + r->len, c->bytes, c->len);
	r->len += c->len;
	r->text[r->len] = '\0';
	return 0;
}

void fake_leave(struct http_request *r)
{
	struct http_stream *s = r->gone_data;

	if (r->streams) {
		s->gone(s->data);
		free(s);
	} else if (r->gone) {
		r->gone(r->gone_data);
	}
}

void fake_free(struct http_request *r)
{
	if (!r)
		return;
	free(r->type);
	free(r->text);
	free((char *)r->password);
	free(r);
}

/* "/a/b" of the path against "/a/" and an asterisk; segments are cut out of the path. */
static bool fits(const char *route, char *path, struct http_request *r)
{
	size_t segments = 0;

	while (*route && *path) {
		if (*route == '*') {
			char *end = strchr(path, '/');

			if (path[0] == '/' || path[0] == '\0')
				return false;
			r->segments[segments++] = path;
			route++;
			path = end ? end : path + strlen(path);
		} else if (*route++ != *path++) {
			return false;
		}
	}
	return !*route && !*path;
}

/* The slashes that end segments. */
static void cut(const struct http_request *r)
{
	for (size_t i = 0; i < HTTP_SEGMENTS_MAX; i++)
		if (r->segments[i] && r->segments[i] > r->path)
			((char *)r->segments[i])[-1] = '\0';
}

struct http_request *fake_ask(const char *method, const char *path, const char *body, size_t len)
{
	for (size_t i = 0; i < api_route_count; i++) {
		struct http_request *r = calloc(1, sizeof(*r));

		snprintf(r->path, sizeof(r->path), "%s", path);
		if (strcmp(api_routes[i].method, method) == 0 && fits(api_routes[i].path, r->path, r)) {
			cut(r);
			r->body = body;
			r->body_len = len;
			r->client = endpoint_ipv4(0xc0a8010a, 50000);
			api_routes[i].serve(fake.api, r);
			return r;
		}
		free(r);
	}
	return NULL;
}

/* --- the gateway --- */

void gateway_each(const struct gateway *g, void (*visit)(void *owner, const struct gateway_mapping *m), void *owner)
{
	(void)g;
	for (size_t i = 0; i < fake.mapping_count; i++)
		visit(owner, &fake.mappings[i]);
}

void gateway_each_key(const struct gateway *g, void (*visit)(void *owner, const struct lease_key *key), void *owner)
{
	(void)g;
	for (size_t i = 0; i < fake.mapping_count; i++)
		visit(owner, &fake.mappings[i].key);
}

bool gateway_find(const struct gateway *g, const struct lease_key *key, struct gateway_mapping *out)
{
	(void)g;
	for (size_t i = 0; i < fake.mapping_count; i++)
		if (view_compare(&fake.mappings[i].key, key) == 0) {
			*out = fake.mappings[i];
			return true;
		}
	return false;
}

static int say(const struct gateway_asker *asker, struct gateway_answer *answer)
{
	fake.asker = *asker;
	if (fake.answers_before)
		asker->answer(asker->owner, asker, NULL, &fake.answer);
	*answer = fake.answer;
	return fake.says;
}

int gateway_wish(struct gateway *g, const struct gateway_wish *wish, const struct gateway_asker *asker, struct gateway_answer *answer)
{
	(void)g;
	fake.wishes++;
	fake.wish = *wish;
	snprintf(fake.description, sizeof(fake.description), "%s", wish->description ? wish->description : "(none)");
	return say(asker, answer);
}

int gateway_unmap(struct gateway *g, const struct lease_key *key, const struct gateway_asker *asker, struct gateway_answer *answer)
{
	(void)g;
	fake.unmaps++;
	fake.unmapped = *key;
	return say(asker, answer);
}

void gateway_forget(struct gateway *g, const struct lease_key *key, const struct gateway_asker *asker)
{
	(void)g;
	if (asker->owner != fake.asker.owner)
		abort();
	fake.forgets++;
	fake.forgotten = *key;
}

uint32_t gateway_epoch_s(const struct gateway *g)
{
	(void)g;
	return fake.status.epoch_s;
}

const char *gateway_why_not(int err)
{
	return strerror(-err);
}

void gateway_observe(struct gateway *g, const struct gateway_observer *observer)
{
	(void)g;
	fake.observer = observer;
}

void gateway_status(const struct gateway *g, struct gateway_status *out)
{
	(void)g;
	*out = fake.status;
	out->mappings = fake.mapping_count;
}

bool gateway_server(const struct gateway *g, enum lease_protocol protocol, size_t index, struct server_health *out)
{
	static const struct health health = { .key = 7, .answered = 5, .failed = 1, .rtt_ms = 12 };

	(void)g;
	if (index > 0 || protocol == LEASE_TCP)
		return false;
	*out = (struct server_health){ "stun.example.org", endpoint_ipv4(0xc6336401, 3478), &health };
	return true;
}

size_t follow_lans(const struct follow *f, const struct netif **lans)
{
	(void)f;
	*lans = fake.lans;
	return fake.lan_count;
}

const struct natpmp_counters *natpmp_server_counters(const struct natpmp_server *s)
{
	static const struct natpmp_counters counters = { .answered = 3, .malformed = 2 };

	(void)s;
	return &counters;
}

bool traffic_of(const struct traffic *t, const struct lease_key *key, struct traffic_counts *out)
{
	(void)t;
	*out = fake.traffic;
	return key->protocol == LEASE_TCP;
}

struct traffic_counts traffic_total(const struct traffic *t)
{
	(void)t;
	return fake.traffic;
}

const char *traffic_why_not(const struct traffic *t)
{
	(void)t;
	return "";
}

bool traffic_look(struct traffic *t)
{
	(void)t;
	fake.looks++;
	return true;
}

int traffic_watch(struct traffic *t, traffic_changed_fn *changed, void *owner)
{
	(void)t;
	(void)changed;
	(void)owner;
	return 0;
}

/* --- both --- */

void fake_open(void)
{
	static const struct firewall_backend backend = { .name = "nftables" };
	const struct view view = { .config = &fake.config, .started_ms = clock_ms() };

	memset(&fake, 0, sizeof(fake));
	fake.config.hold_max_s = 86400;
	fake.config.firewall = &backend;
	fake.lans[0] = (struct netif){ .name = "lan", .ip = 0xc0a80101, .subnets = { { 0xc0a80101, 0xffffff00 } }, .subnet_count = 1 };
	fake.lan_count = 1;
	if (uv_loop_init(&fake.loop) < 0 || api_open(&fake.api, &fake.loop, NULL, &view) < 0)
		abort();
}

static void stop(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

void fake_run(unsigned ms)
{
	uv_timer_t timer;

	uv_timer_init(&fake.loop, &timer);
	uv_timer_start(&timer, stop, ms, 0);
	uv_run(&fake.loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&fake.loop, UV_RUN_NOWAIT);
}

void fake_close(void)
{
	api_close(fake.api);
	uv_run(&fake.loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&fake.loop) < 0)
		abort();
}

struct gateway_mapping *fake_add(enum lease_protocol protocol, uint32_t ip, uint16_t port)
{
	struct gateway_mapping *m = &fake.mappings[fake.mapping_count++];

	*m = (struct gateway_mapping){ .key = { protocol, ip, port }, .relay_port = 26780, .outer = endpoint_ipv4(0xcb007101, 43006),
		.origin = ORIGIN_WEB, .state = HOLE_OPEN, .lifetime_s = 3600, .expires_ms = clock_ms() + 3541500, .since_ms = clock_ms(),
		.rtt_ms = 12, .trouble = "" };
	return m;
}
