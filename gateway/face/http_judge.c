/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/face/http_request.h"
#include "sys/clock.h"

/* False, for its callers to return. */
__attribute__((format(printf, 3, 4))) static bool refuse(struct http_request *r, unsigned status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->why, sizeof(r->why), format, args);
	va_end(args);
	r->refused = status;
	return false;
}

const char *http_received(const struct http_request *r, const char *header)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, header);
}

static enum MHD_Result each_header(void *head, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value, size_t value_len)
{
	(void)kind;
	guard_header(head, name, name_len, value ? value : "", value_len);
	return MHD_YES;
}

static bool head_is_well(struct http_request *r, const char *method, const char *version)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	struct guard_head head = { 0 };
	const char *wrong;

	MHD_get_connection_values_n(r->connection, MHD_HEADER_KIND, each_header, &head);
	wrong = guard_head(&head, strlen(method) + r->target_len + strlen(version), info ? info->header_size : 0);
	r->at_once = wrong;
	return wrong ? refuse(r, 400, "%s", wrong) : true;
}

static bool host_is_named(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->http_host_count; i++)
		if (strcasecmp(name, c->http_hosts[i]) == 0)
			return true;
	return false;
}

static bool address_is_named(const struct config *c, const struct endpoint *ip)
{
	struct endpoint named;

	for (size_t i = 0; i < c->http_host_count; i++)
		if (endpoint_parse_ip(&named, c->http_hosts[i], 0) == 0 && endpoint_same_ip(&named, ip))
			return true;
	return false;
}

static bool host_is_ours(struct http_request *r)
{
	const char *value = http_received(r, "Host");
	struct guard_host host;

	if (guard_host(&host, value) < 0)
		return refuse(r, 400, "Host '%s' is no host's name or address", value);
	if (host.ip.family != ENDPOINT_NONE ? visitor_may_ask_for(r->visitor, &host.ip) || address_is_named(r->http->config, &host.ip) :
					      guard_name_is(host.name, "localhost") || guard_name_is(host.name, r->http->name) ||
							host_is_named(r->http->config, host.name))
		return true;
	return refuse(r, 403, "Host '%.100s' is not a name of this router: allow it with --http-host", value);
}

static bool method_serves(const char *served, const char *asked)
{
	return strcmp(served, asked) == 0 || (strcmp(served, "GET") == 0 && strcmp(asked, "HEAD") == 0);
}

/* What the path has, for Allow: one method once. */
static void allow(struct http_request *r, const char *method)
{
	const size_t used = strlen(r->value);

	r->header = "Allow";
	if (!strstr(r->value, method))
		snprintf(r->value + used, sizeof(r->value) - used, "%s%s%s", used ? ", " : "", method, strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

static bool find_asset(struct http_request *r, const char *method)
{
	const char *wild[HTTP_SEGMENTS_MAX];

	for (size_t i = 0; i < asset_count; i++) {
		if (!guard_path_fits(&r->path, assets[i].path, wild))
			continue;
		allow(r, "GET");
		if (!method_serves("GET", method))
			return refuse(r, 405, "%s cannot be asked of %s", method, assets[i].path);
		r->header = NULL;
		r->asset = &assets[i];
		return true;
	}
	return refuse(r, 404, "there is nothing at this path");
}

static bool find_route(struct http_request *r, const char *method)
{
	const struct http *h = r->http;

	if (r->path_err == -ENAMETOOLONG)
		return refuse(r, 414, "a path of more than %d bytes", HTTP_PATH_MAX);
	if (r->path_err == -ENOENT)
		return refuse(r, 404, "there is nothing at this path");
	if (r->path_err < 0)
		return refuse(r, 400, "a path that does not begin with '/', or is badly encoded");
	for (size_t i = 0; i < h->route_count; i++) {
		if (!guard_path_fits(&r->path, h->routes[i].path, r->wild))
			continue;
		allow(r, h->routes[i].method);
		if (!method_serves(h->routes[i].method, method))
			continue;
		r->header = NULL;
		r->value[0] = '\0';
		r->route = &h->routes[i];
		return true;
	}
	return r->header ? refuse(r, 405, "%s cannot be asked of this path", method) : find_asset(r, method);
}

static bool body_is_small(struct http_request *r)
{
	const char *length = http_received(r, "Content-Length");
	size_t len = 0;

	if (length && guard_length(length, &len) < 0)
		return refuse(r, 400, "Content-Length '%s' is no number", length);
	r->at_once = len > HTTP_SWALLOW_MAX;
	return len > HTTP_BODY_MAX ? refuse(r, 413, "a body of %zu bytes: at most %d are taken", len, HTTP_BODY_MAX) : true;
}

static bool bearer_is_right(struct http_request *r)
{
	static const char scheme[] = "Bearer ";
	const char *value = http_received(r, "Authorization");
	const struct endpoint client = r->visitor->client;
	uint32_t wait_s = 0;

	if (!r->http->login.required || !value || strncasecmp(value, scheme, strlen(scheme)) != 0)
		return true;
	switch (login_try(&r->http->login, &client, value + strlen(scheme), clock_ms(), &wait_s)) {
	case LOGIN_RIGHT:
		r->logged_in = true;
		return true;
	case LOGIN_WAIT:
		r->header = "Retry-After";
		snprintf(r->value, sizeof(r->value), "%u", wait_s);
		return refuse(r, 429, "too many wrong passwords: wait %u s", wait_s);
	default:
		return refuse(r, 401, "wrong password");
	}
}

static void look_at_cookie(struct http_request *r)
{
	const char *cookies = http_received(r, "Cookie");
	char id[LOGIN_ID_MAX];

	if (!r->http->login.required)
		r->logged_in = visitor_is_neighbour(r->visitor);
	else if (!r->logged_in && cookies && guard_cookie(cookies, "stunway", id, sizeof(id)))
		r->logged_in = login_known(&r->http->login, id, clock_ms());
}

/* A page of somebody else's can make a browser send a form, but not JSON, and its browser says whose page it is. */
static bool page_is_ours(struct http_request *r)
{
	const char *origin = http_received(r, "Origin"), *site = http_received(r, "Sec-Fetch-Site"), *type = http_received(r, "Content-Type");
	const char *length = http_received(r, "Content-Length");

	if (origin && !guard_origin_is(origin, http_received(r, "Host")))
		return refuse(r, 403, "Origin '%.100s' is not this page", origin);
	if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return refuse(r, 403, "Sec-Fetch-Site '%.40s': not from this page", site);
	if (length && strspn(length, "0") != strlen(length) && !(type && guard_type_is_json(type)))
		return refuse(r, 415, "Content-Type '%.60s': must be application/json", type ? type : "");
	return true;
}

static bool client_may_change(struct http_request *r)
{
	if (r->logged_in || r->route->open)
		return true;
	if (!r->http->login.required)
		return refuse(r, 403, "changes are for hosts of the LAN: elsewhere --http-password-file is needed");
	r->header = "WWW-Authenticate";
	snprintf(r->value, sizeof(r->value), "Bearer");
	return refuse(r, 401, "log in first, or send Authorization: Bearer PASSWORD");
}

void http_judge(struct http_request *r, const char *method, const char *version)
{
	if (!head_is_well(r, method, version) || !body_is_small(r) || !host_is_ours(r) || !find_route(r, method) || !bearer_is_right(r))
		return;
	look_at_cookie(r);
	if (r->route && r->route->changes && page_is_ours(r))
		client_may_change(r);
}
