/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/api.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "gateway/face/asks.h"
#include "gateway/face/events.h"
#include "gateway/face/history.h"
#include "gateway/face/metrics.h"
#include "sys/clock.h"
#include "sys/exposition.h"

#define JSON	   "application/json"
#define SAMPLE_MS  10000 /* how often the history is told … */
#define LOOK_EACH  3	 /* … and in which of these times the kernel is asked for traffic */
#define SERVERS_OF (2 * SERVERS_MAX)

struct api {
	struct http *http;
	struct view view;
	struct asks *asks;
	struct events *events;
	struct history *history;
	struct gateway_observer observer;
	struct metrics_web web;
	uv_timer_t sample;
	unsigned samples;
	struct answered {
		uint32_t server; /* health's key, 0: free */
		uint64_t answered;
	} answered[SERVERS_OF]; /* what servers had answered at the last sample */
};

/* --- answers --- */

static struct api *asked(void *owner)
{
	struct api *a = owner;

	a->web.requests++;
	return a;
}

static void answer(struct api *a, struct http_request *r, const char *type, struct text *t)
{
	size_t len;
	char *text = text_take(t, &len);

	if (text) {
		http_answer(r, 200, type, text, len);
		return;
	}
	a->web.refused++;
	http_header(r, "Retry-After", HTTP_RETRY_LATER);
	http_error(r, 503, "no memory for the answer: come again later");
}

/* --- routes --- */

static void *begin_mappings(void *owner)
{
	return view_copy_new(&((struct api *)owner)->view);
}

static int copy_mappings(void *copy)
{
	return view_copy_part(copy);
}

static void write_mappings(void *copy, struct text *out)
{
	view_json_mappings(out, copy);
}

static void free_mappings(void *copy)
{
	view_copy_free(copy);
}

static void get_mappings(void *owner, struct http_request *r)
{
	static const struct http_writer writer = { begin_mappings, copy_mappings, write_mappings, free_mappings };
	struct api *a = asked(owner);

	http_answer_by(r, JSON, &writer);
	traffic_look(a->view.traffic); /* what was said of traffic is as old as the last look: the next who asks hears more */
}

static void post_mapping(void *owner, struct http_request *r)
{
	asks_post(asked(owner)->asks, r);
}

static void delete_mapping(void *owner, struct http_request *r)
{
	asks_delete(asked(owner)->asks, r);
}

static void get_status(void *owner, struct http_request *r)
{
	struct api *a = asked(owner);
	struct text t = TEXT_GROWING;
	struct json j;

	json_append(&j, &t);
	view_json_moment(&j, &a->view);
	view_json_status(&j, &a->view);
	json_open(&j, "login");
	json_bool(&j, "required", http_login_required(a->http));
	json_bool(&j, "logged_in", http_logged_in(r));
	json_close(&j);
	json_end(&j);
	answer(a, r, JSON, &t);
}

static void get_history(void *owner, struct http_request *r)
{
	struct api *a = asked(owner);
	struct text t = TEXT_GROWING;

	history_json(&t, a->history);
	answer(a, r, JSON, &t);
}

static void get_events(void *owner, struct http_request *r)
{
	events_listen(asked(owner)->events, r);
}

static void get_recent(void *owner, struct http_request *r)
{
	struct api *a = asked(owner);
	struct text t = TEXT_GROWING;

	events_recent(a->events, &t);
	answer(a, r, JSON, &t);
}

static void get_metrics(void *owner, struct http_request *r)
{
	struct api *a = asked(owner);
	struct text t = TEXT_GROWING;

	a->web.waiting = asks_waiting(a->asks);
	a->web.listeners = events_listeners(a->events);
	metrics_put(&t, &a->view, &a->web);
	answer(a, r, EXPOSITION_TYPE, &t);
	traffic_look(a->view.traffic);
}

static void post_login(void *owner, struct http_request *r)
{
	struct api *a = asked(owner);
	const char *password;
	size_t len;
	const char *body = http_body(r, &len);
	json_t *object = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);

	if (object && json_unpack(object, "{s:s!}", "password", &password) == 0) {
		http_log_in(r, password);
	} else {
		a->web.refused++;
		http_error(r, 400, "{\"password\":\"…\"} is wanted, and nothing else");
	}
	json_decref(object);
}

static void post_logout(void *owner, struct http_request *r)
{
	asked(owner);
	http_log_out(r);
}

const struct http_route api_routes[] = {
	{ .method = "GET", .path = "/mappings", .serve = get_mappings },
	{ .method = "POST", .path = "/mappings", .changes = true, .serve = post_mapping },
	{ .method = "DELETE", .path = "/mappings/*/*/*", .changes = true, .serve = delete_mapping },
	{ .method = "GET", .path = "/status", .serve = get_status },
	{ .method = "GET", .path = "/history", .serve = get_history },
	{ .method = "GET", .path = "/events", .serve = get_events },
	{ .method = "GET", .path = "/events/recent", .serve = get_recent },
	{ .method = "GET", .path = "/metrics", .serve = get_metrics },
	{ .method = "POST", .path = "/login", .changes = true, .open = true, .serve = post_login },
	{ .method = "POST", .path = "/logout", .changes = true, .open = true, .serve = post_logout },
};
const size_t api_route_count = sizeof(api_routes) / sizeof(api_routes[0]);

/* --- what changes --- */

static void mapping_changed(void *owner, const struct gateway_mapping *m, bool gone)
{
	const struct api *a = owner;

	if (gone)
		asks_ended(a->asks, &m->key);
	events_mapping(a->events, &m->key); /* when it is told, it is looked again whether it is there */
}

static void status_changed(void *owner)
{
	events_status(((struct api *)owner)->events);
}

static void traffic_changed(void *owner)
{
	events_traffic(((struct api *)owner)->events);
}

/* --- history --- */

static struct answered *answered_of(struct api *a, uint32_t server)
{
	struct answered *free = NULL;

	for (size_t i = 0; i < SERVERS_OF; i++) {
		if (a->answered[i].server == server)
			return &a->answered[i];
		if (!a->answered[i].server)
			free = &a->answered[i];
	}
	if (free)
		free->server = server;
	return free;
}

/* The round trips of what was answered since the last sample: nobody's where nobody answered. */
static void sample_servers(struct api *a, struct history_facts *f)
{
	static const enum lease_protocol protocols[] = { LEASE_UDP, LEASE_TCP };
	struct server_health s;

	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; gateway_server(a->view.gateway, protocols[i], k, &s); k++) {
			struct answered *before = answered_of(a, s.health->key);

			if (!before)
				continue;
			if (s.health->rtt_ms && s.health->answered > before->answered) {
				f->answers += s.health->answered - before->answered;
				f->rtt_sum_ms += (s.health->answered - before->answered) * s.health->rtt_ms;
			}
			before->answered = s.health->answered;
		}
}

static void tell_point(struct api *a, const struct history_point *p)
{
	char text[512];
	struct json j;

	json_begin(&j, text, sizeof(text));
	history_point_json(&j, p);
	if (json_end(&j))
		events_tell(a->events, "history", text);
}

static void sample(uv_timer_t *timer)
{
	struct api *a = timer->data;
	struct gateway_status s;
	const struct traffic_counts total = traffic_total(a->view.traffic);
	struct history_facts f = { .in_bytes = total.in_bytes, .out_bytes = total.out_bytes, .connections = total.connections };
	struct history_point complete;

	gateway_status(a->view.gateway, &s);
	f.mappings = s.mappings;
	f.outer_changes = s.counts.changed;
	sample_servers(a, &f);
	if (history_note(a->history, &f, clock_ms(), &complete))
		tell_point(a, &complete);
	if (a->samples++ % LOOK_EACH == 0)
		traffic_look(a->view.traffic);
}

/* --- beginning and end --- */

static void closed(uv_handle_t *handle)
{
	struct api *a = handle->data;

	history_free(a->history);
	free(a);
}

int api_open(struct api **out, uv_loop_t *loop, struct http *http, const struct view *view)
{
	struct api *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	a->http = http;
	a->view = *view;
	uv_timer_init(loop, &a->sample);
	a->sample.data = a;
	err = history_new(&a->history, clock_ms());
	if (err == 0)
		err = asks_open(&a->asks, loop, &a->view, &a->web.refused);
	if (err == 0)
		err = events_open(&a->events, loop, &a->view);
	if (err == 0)
		err = traffic_watch(view->traffic, traffic_changed, a);
	if (err < 0) {
		api_close(a);
		return err;
	}
	a->observer = (struct gateway_observer){ .owner = a, .mapping = mapping_changed, .status = status_changed };
	gateway_observe(view->gateway, &a->observer);
	uv_timer_start(&a->sample, sample, 0, SAMPLE_MS);
	http_serve(http, api_routes, api_route_count, a);
	*out = a;
	return 0;
}

void api_close(struct api *a)
{
	if (!a)
		return;
	asks_close(a->asks);
	events_close(a->events);
	uv_close((uv_handle_t *)&a->sample, closed);
}
