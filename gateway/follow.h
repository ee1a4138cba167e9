/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * follow - which interface is the line, which are the LANs, now; and whoever must know when
 * that changes.
 *
 * Any of them may be missing, at start as well as later, have no address yet, vanish and come
 * back under the same name. That is said in the log once, and waited for.
 *
 *	netwatch: something changed → follow looks → line:     gateway_follow
 *	                                           → LANs:     natpmp_server_follow, http_follow
 *	netwatch: the ruleset changed            → firewall:   gateway_firewall_changed
 */
#ifndef GATEWAY_FOLLOW_H
#define GATEWAY_FOLLOW_H

#include <uv.h>

#include "gateway/config.h"
#include "gateway/core/gateway.h"
#include "gateway/face/http.h"
#include "gateway/natpmp_server.h"

struct follow;

/* Begins to watch, looks for the first time and says what there is. config is borrowed. Negative errno, said in the log. */
int follow_open(struct follow **out, uv_loop_t *loop, const struct config *config);
/*
 * The line: ip is 0 while it has none or is down, name "" while even that is not known.
 * Borrowed until the loop runs.
 */
const struct netif *follow_wan(const struct follow *f);
/*
 * The LANs, borrowed until the loop runs. 0 while one that --lan names is missing: who belongs to them
 * cannot be said then.
 */
size_t follow_lans(const struct follow *f, const struct netif **lans);
/* Serves the LANs there are; http may be NULL. Negative errno, said in the log, when one that is there cannot be served. */
int follow_serve(struct follow *f, struct natpmp_server *server, struct http *http);
/* Changes are told from now on. */
void follow_begin(struct follow *f, struct gateway *gateway);
void follow_close(struct follow *f); /* NULL is fine */

#endif
