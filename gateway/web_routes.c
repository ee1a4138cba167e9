/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/web_routes.h"

#include <jansson.h>
#include <string.h>

#include "gateway/gateway.h"

static void status(void *owner, struct http_request *r)
{
	(void)owner;
	char *text = strdup("{\"version\":\"" STUNWAY_VERSION "\"}");

	http_answer(r, 200, "application/json", text, text ? strlen(text) : 0);
}

static void log_in(void *owner, struct http_request *r)
{
	size_t len;
	const char *body = http_body(r, &len), *password = NULL;
	json_t *asked = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);

	(void)owner;
	if (asked && json_unpack(asked, "{s:s!}", "password", &password) == 0)
		http_log_in(r, password);
	else
		http_error(r, 400, "must be {\"password\":\"…\"}");
	json_decref(asked);
}

static void log_out(void *owner, struct http_request *r)
{
	(void)owner;
	http_log_out(r);
}

const struct http_route web_routes[] = {
	{ .method = "GET", .path = "/status", .serve = status },
	{ .method = "POST", .path = "/login", .changes = true, .open = true, .serve = log_in },
	{ .method = "POST", .path = "/logout", .changes = true, .open = true, .serve = log_out },
};
const size_t web_route_count = sizeof(web_routes) / sizeof(web_routes[0]);
