/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * history - the last day in points of five minutes each.
 *
 * Told now and then how things stand (history_note), it keeps what happened in each five minutes. Pure and
 * of fixed size: time is an argument, nothing outlasts a restart. Where nobody told for longer, since the
 * machine slept, points are missing.
 */
#ifndef GATEWAY_HISTORY_H
#define GATEWAY_HISTORY_H

#include <stdbool.h>

#include "lib/json.h"

#define HISTORY_POINTS 288
#define HISTORY_STEP_S 300

struct history;

/* How things stand; what only grows is counted from when the gateway began. */
struct history_facts {
	uint64_t answers, rtt_sum_ms; /* of STUN servers since the last time */
	uint64_t in_bytes, out_bytes, connections, outer_changes; /* grow */
	uint64_t mappings;	      /* now */
};

struct history_point {
	uint64_t begin_ms; /* clock_ms */
	uint64_t answers, rtt_sum_ms;
	uint64_t in_bytes, out_bytes, connections, outer_changes;
	uint64_t mappings; /* the most there were */
};

int history_new(struct history **out, uint64_t now_ms);
void history_free(struct history *h); /* NULL is fine */
/* True when it began a point: the one before is complete, and *complete. */
bool history_note(struct history *h, const struct history_facts *facts, uint64_t now_ms, struct history_point *complete);
/* The points there are, the oldest is 0. */
size_t history_count(const struct history *h);
const struct history_point *history_point(const struct history *h, size_t index);

/* The members of a point; {"step":300,"points":[…]}. */
void history_point_json(struct json *j, const struct history_point *p);
void history_json(struct text *out, const struct history *h);

#endif
