/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * api - what people and scripts ask over HTTP: a table of routes, and what each says (docs/api.md).
 *
 *	asks	   POST and DELETE of mappings
 *	view_json  what there is to see
 *	events	   server-sent events
 *	history	   the last day
 *	metrics	   Prometheus text
 */
#ifndef GATEWAY_API_H
#define GATEWAY_API_H

#include "gateway/face/http.h"
#include "gateway/face/view_json.h"

struct api;

/* view is copied, what it points to is borrowed. Requests are served and the gateway is observed from now on. Negative errno. */
int api_open(struct api **out, uv_loop_t *loop, struct http *http, const struct view *view);
/* When the web server and the gateway are closed. NULL is fine; the loop must run until its handles are closed. */
void api_close(struct api *a);

/* What http_serve is given; owner is the api. For tests. */
extern const struct http_route api_routes[];
extern const size_t api_route_count;

#endif
