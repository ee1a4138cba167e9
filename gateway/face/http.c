/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/face/http_request.h"
#include "sys/log.h"
#include "sys/sockaddr.h"

/* --- a request's life: begins, is judged, arrives, is served, answered, completed --- */

static void *begin(void *http, const char *target, struct MHD_Connection *connection)
{
	struct http *h = http;
	struct http_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->http = h;
	r->connection = connection;
	r->target_len = strlen(target);
	r->path_err = guard_path(&r->path, target);
	r->next = h->requests;
	h->requests = r;
	return r;
}

static void collect(struct http_request *r, const char *bytes, size_t len)
{
	if (!r->body)
		r->body = malloc(HTTP_BODY_MAX + 1);
	if (r->body && r->body_len + len <= HTTP_BODY_MAX) {
		memcpy(r->body + r->body_len, bytes, len);
		r->body[r->body_len + len] = '\0';
	}
	r->body_len += len;
}

static void serve(struct http_request *r)
{
	r->stage = HTTP_SERVED;
	visitor_due(r->visitor, 0, false);
	if (r->refused)
		http_answer_refused(r);
	else if (r->body_len > 0 && !r->body)
		http_error(r, MHD_HTTP_INSUFFICIENT_STORAGE, "not enough memory");
	else if (r->body && memchr(r->body, '\0', r->body_len))
		http_error(r, MHD_HTTP_BAD_REQUEST, "a NUL in the body");
	else if (r->asset)
		http_answer_asset(r);
	else
		r->route->serve(r->http->owner, r);
}

static void vanished(void *request)
{
	struct http_request *r = request;
	void (*gone)(void *data) = r->gone;

	r->gone = NULL;
	r->stage = HTTP_ENDS;
	if (gone)
		gone(r->gone_data);
	http_wake(r);
}

/* What MHD is to do next: wait, send the answer, or end. */
static enum MHD_Result proceed(struct http_request *r)
{
	enum MHD_Result result;

	if (r->stage == HTTP_SERVED) {
		MHD_suspend_connection(r->connection);
		r->suspended = true;
		if (r->gone)
			visitor_watch(r->visitor, vanished, r);
		return MHD_YES;
	}
	if (r->stage == HTTP_ENDS)
		return MHD_NO;
	visitor_due(r->visitor, r->stream ? 0 : HTTP_TAKE_MS, false);
	result = MHD_queue_response(r->connection, r->status, r->response);
	MHD_destroy_response(r->response);
	r->response = NULL;
	return result;
}

/* MHD calls with the head, with each piece of the body, at its end, and after each resumption. */
static enum MHD_Result handle(void *http, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
	const char *bytes, size_t *len, void **request)
{
	struct http_request *r = *request;

	(void)http, (void)url;
	if (!r)
		return MHD_NO;
	if (r->stage == HTTP_BEGINS) {
		r->stage = HTTP_ARRIVES;
		r->visitor = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
		http_judge(r, method, version);
		if (!r->refused || !r->at_once)
			return MHD_YES;
	}
	if (*len > 0 && !r->at_once) {
		if (!r->refused)
			collect(r, bytes, *len);
		*len = 0;
		return MHD_YES;
	}
	if (r->stage == HTTP_ARRIVES)
		serve(r);
	return proceed(r);
}

static void completed(void *http, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode how)
{
	struct http *h = http;
	struct http_request *r = *request, **at = &h->requests;

	(void)connection, (void)how;
	if (!r)
		return;
	*request = NULL;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (r->visitor)
		visitor_due(r->visitor, HTTP_ARRIVE_MS, true);
	h->untaken -= r->untaken;
	if (r->work)
		http_work_gone(r->work);
	if (r->stream)
		http_stream_gone(r->stream);
	else if (r->gone && r->stage == HTTP_SERVED)
		r->gone(r->gone_data);
	if (r->response)
		MHD_destroy_response(r->response);
	free(r->body);
	free(r);
}

/* --- what routes ask --- */

const char *http_segment(const struct http_request *r, size_t i)
{
	return r->wild[i];
}

const char *http_body(const struct http_request *r, size_t *len)
{
	*len = r->body_len;
	return r->body ? r->body : "";
}

bool http_logged_in(const struct http_request *r)
{
	return r->logged_in;
}

bool http_login_required(const struct http *h)
{
	return h->login.required;
}

struct endpoint http_client(const struct http_request *r)
{
	return r->visitor->client;
}

void http_on_gone(struct http_request *r, void (*gone)(void *data), void *data)
{
	r->gone = gone;
	r->gone_data = data;
	if (r->suspended)
		visitor_watch(r->visitor, gone ? vanished : NULL, r);
}

/* --- MHD in the loop --- */

static void due(uv_timer_t *timer);

static void drive(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG daemon_ms;
	uint64_t wait_ms;

	h->soon = false;
	MHD_run(h->daemon);
	wait_ms = http_work_next(h);
	if (h->soon)
		return;
	if (MHD_get_timeout(h->daemon, &daemon_ms) == MHD_YES && daemon_ms < wait_ms)
		wait_ms = daemon_ms;
	if (wait_ms < HTTP_NEVER)
		uv_timer_start(&h->timer, due, wait_ms, 0);
	else
		uv_timer_stop(&h->timer);
}

static void due(uv_timer_t *timer)
{
	drive(timer->data);
}

void http_drive_soon(struct http *h)
{
	h->soon = true;
	uv_timer_start(&h->timer, due, 0, 0);
}

void http_wake(struct http_request *r)
{
	if (!r->suspended)
		return;
	r->suspended = false;
	visitor_watch(r->visitor, NULL, NULL);
	MHD_resume_connection(r->connection);
	http_drive_soon(r->http);
}

static void ready(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	drive(poll->data);
}

static void connection_changed(void *http, struct MHD_Connection *connection, void **visitor, enum MHD_ConnectionNotificationCode what)
{
	struct http *h = http;

	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		*visitor = door_find(h->door, MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
	else if (*visitor)
		visitor_leave(*visitor);
}

static int admit(void *http, struct visitor *v)
{
	struct http *h = http;
	struct sockaddr_storage client;
	const socklen_t len = net_sockaddr(&client, &v->client);
	const int fd = v->fd;

	if (MHD_add_connection(h->daemon, fd, (struct sockaddr *)&client, len) == MHD_YES) {
		http_drive_soon(h);
		return 0;
	}
	if (door_find(h->door, fd) == v) /* MHD has closed its socket */
		visitor_leave(v);
	return -ENOMEM;
}

static void ended(void *http)
{
	http_drive_soon(http);
}

/* What MHD decodes would be decoded twice. */
static size_t as_it_is(void *http, struct MHD_Connection *connection, char *text)
{
	(void)http, (void)connection;
	return strlen(text);
}

static int daemon_open(struct http *h)
{
	const unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME;
	const union MHD_DaemonInfo *info;
	int err;

	h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, h, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY, MHD_OPTION_CONNECTION_LIMIT, 2u * HTTP_CONNECTIONS_MAX,
		MHD_OPTION_URI_LOG_CALLBACK, begin, h, MHD_OPTION_UNESCAPE_CALLBACK, as_it_is, h, MHD_OPTION_NOTIFY_COMPLETED, completed, h,
		MHD_OPTION_NOTIFY_CONNECTION, connection_changed, h, MHD_OPTION_END);
	info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return -ENOMEM;
	err = uv_poll_init(h->loop, &h->poll, info->epoll_fd);
	if (err < 0)
		return err;
	h->handles++;
	uv_timer_init(h->loop, &h->timer);
	h->handles++;
	h->poll.data = h->timer.data = h;
	return uv_poll_start(&h->poll, UV_READABLE, ready);
}

int http_open(struct http **out, uv_loop_t *loop, const struct config *config, const char *password)
{
	static const struct door_callbacks callbacks = { admit, ended };
	struct http *h = calloc(1, sizeof(*h));
	int err = -ENOMEM;

	if (h) {
		h->loop = loop;
		h->config = config;
		login_password(&h->login, password);
		gethostname(h->name, sizeof(h->name) - 1);
		err = daemon_open(h);
		if (err == 0)
			err = door_open(&h->door, loop, config, &callbacks, h);
	}
	if (err < 0) {
		log_error("cannot begin the web interface error=\"%s\"", strerror(-err));
		http_close(h);
		return err;
	}
	*out = h;
	return 0;
}

int http_follow(struct http *h, const struct netif *lans, size_t count)
{
	return h ? door_follow(h->door, lans, count) : 0;
}

void http_serve(struct http *h, const struct http_route *routes, size_t count, void *owner)
{
	if (!h)
		return;
	h->routes = routes;
	h->route_count = count;
	h->owner = owner;
	door_serve(h->door);
}

void http_password(struct http *h, const char *password)
{
	if (h)
		login_password(&h->login, password);
}

void http_let_go(struct http *h)
{
	if (--h->handles == 0)
		free(h);
}

static void closed(uv_handle_t *handle)
{
	http_let_go(handle->data);
}

/* MHD wants whoever sleeps to be awake when it ends. */
static void end_all(struct http *h)
{
	for (struct http_request *r = h->requests, *next; r; r = next) {
		next = r->next;
		if (r->suspended && !r->stream)
			vanished(r);
		else
			http_wake(r);
	}
	MHD_stop_daemon(h->daemon);
}

void http_close(struct http *h)
{
	if (!h)
		return;
	if (h->poll.data)
		uv_poll_stop(&h->poll);
	if (h->daemon)
		end_all(h);
	door_close(h->door);
	if (h->handles == 0) {
		free(h);
		return;
	}
	uv_close((uv_handle_t *)&h->poll, closed);
	if (h->timer.data)
		uv_close((uv_handle_t *)&h->timer, closed);
}
