/* SPDX-License-Identifier: GPL-2.0-or-later */
/* web_routes - the least that there is to serve, until the API stands: who we are, and logging in. The owner is the gateway. */
#ifndef GATEWAY_WEB_ROUTES_H
#define GATEWAY_WEB_ROUTES_H

#include "gateway/http.h"

extern const struct http_route web_routes[];
extern const size_t web_route_count;

#endif
