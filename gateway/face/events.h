/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * events - server-sent events: who listens at GET /events, and what they are told (docs/api.md).
 *
 *	noted: mapping, status, log line ─ 100 ms ─→ one text ─→ one chunk ─→ every listener
 *
 * What is noted several times within those 100 ms is told once, as it is then. Many mappings that change at
 * once are told some at a time, so that neither the loop nor a listener's buffer is swamped. Without listeners
 * nothing is noted, and nobody looks at the traffic.
 */
#ifndef GATEWAY_EVENTS_H
#define GATEWAY_EVENTS_H

#include "gateway/face/http.h"
#include "gateway/face/view_json.h"

#define EVENTS_LISTENERS_MAX 128
#define EVENTS_LOG_PER_S     20 /* log lines; what is beyond is counted */
#define EVENTS_MAPPINGS	     100 /* at a time: some 45 KB each 100 ms, which a slow phone can take */

struct events;

/* view is borrowed. Negative errno. */
int events_open(struct events **out, uv_loop_t *loop, const struct view *view);
/* Answers the request with the stream, or with 503 when there are too many. */
void events_listen(struct events *e, struct http_request *r);
size_t events_listeners(const struct events *e);
void events_mapping(struct events *e, const struct lease_key *key);
void events_status(struct events *e);
/* A look at the traffic is done. */
void events_traffic(struct events *e);
/* At once; data: JSON without newlines. */
void events_tell(struct events *e, const char *event, const char *data);
/* The last lines of the log, as an array of what the event log carries. */
void events_recent(struct events *e, struct text *out);
/* When the streams have ended. NULL is fine; the loop must run until its handles are closed. */
void events_close(struct events *e);

#endif
