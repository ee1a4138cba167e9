/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * metrics - the counters as Prometheus reads them, at http://ADDR:PORT/metrics.
 *
 * As much HTTP/1 as that takes, strictly: GET of /metrics, one request a connection,
 * no body. A request has METRICS_REQUEST_MAX bytes and METRICS_DEADLINE_MS from its
 * connection on, the answer being taken included; METRICS_CONNECTIONS at a time, one
 * more takes the oldest one's place. Memory is taken once, when it opens.
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "server/counts.h"
#include "server/loop.h"
#include "lib/endpoint.h"

#define METRICS_CONNECTIONS 8
#define METRICS_REQUEST_MAX 2048
#define METRICS_TEXT_MAX    16384
#define METRICS_DEADLINE_MS 5000

struct metrics;

enum metrics_peer { METRICS_NO_PEER, METRICS_PEER_SILENT, METRICS_PEER_ALIVE };

/* What there is to tell. */
struct metrics_facts {
	struct counts_sum counts;
	uint32_t workers;
	enum metrics_peer peers[2]; /* the other node, over IPv4 and IPv6 */
};

/* Who tells it when somebody asks. */
struct metrics_source {
	void (*read)(void *arg, struct metrics_facts *out);
	void *arg;
};

/* Listens. loop is borrowed until metrics_free. Negative errno, which has been logged. */
int metrics_new(struct metrics **out, struct loop *loop, const struct endpoint *at, const struct metrics_source *source);
void metrics_free(struct metrics *m); /* NULL is fine */

/* Closes who is late; returns in how many ms to call again, negative for never. */
int metrics_tick(struct metrics *m, uint64_t now_ms);

/* --- Pure, for tests and fuzzers --- */

/* Of a request's first len bytes: 0 when it is not whole yet, else the status of its answer: 200, 400, 404, 405, 431 or 505. */
int metrics_request(const char *bytes, size_t len);
/* The exposition: every row of counts, and what the server is. Returns its length. */
size_t metrics_text(const struct metrics_facts *facts, char buf[METRICS_TEXT_MAX]);

#endif
