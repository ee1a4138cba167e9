/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_json - what there is to see of the gateway, as the JSON that scripts and the page read (docs/api.md).
 *
 * Written anew each time it is asked for: a mapping takes a microsecond or two, and what was kept
 * would have to be right about seconds left and traffic, too.
 */
#ifndef GATEWAY_VIEW_JSON_H
#define GATEWAY_VIEW_JSON_H

#include "gateway/follow.h"
#include "gateway/core/gateway.h"
#include "gateway/natpmp_server.h"
#include "gateway/firewall/traffic.h"
#include "lib/json.h"

/* Where it is to be seen; all borrowed. */
struct view {
	struct gateway *gateway;
	const struct config *config;
	const struct follow *follow;
	const struct natpmp_server *natpmp;
	struct traffic *traffic;
	uint64_t started_ms; /* clock_ms */
};

#define VIEW_TIME_MAX 24
/* "2026-01-31T12:00:00Z" of a moment of clock_ms, as the wall clock has it by now. Returns buf. */
const char *view_time(uint64_t ms, char buf[VIEW_TIME_MAX]);
const char *view_ip(uint32_t ip, char buf[ENDPOINT_TEXT_MAX]); /* host order; "" for 0 */

/* Members of an object that is open. */
void view_json_key(struct json *j, const struct lease_key *key);
void view_json_mapping(struct json *j, const struct gateway_mapping *m, const struct traffic_counts *traffic /* NULL: not known */);
/* A member that is an object. */
void view_json_traffic(struct json *j, const struct traffic_counts *t);
void view_json_status(struct json *j, const struct view *v);
/* What of the status changes by time alone. */
void view_json_moment(struct json *j, const struct view *v);

/* By protocol, address and port: the order in which mappings are told. */
int view_compare(const struct lease_key *a, const struct lease_key *b);
/*
 * All mappings there are now, copied in the loop a part at a time: with 10,000 of them it takes some milliseconds, and what is
 * written of them ten times that. So any thread may write the copy, as an array. One that ends meanwhile is left out.
 */
#define VIEW_PART 1000
struct view_copy;
struct view_copy *view_copy_new(const struct view *v); /* v is borrowed; NULL: no memory */
int view_copy_part(struct view_copy *c);	       /* VIEW_PART more; 1: there are others, 0: that was all, -ENOMEM */
void view_copy_free(struct view_copy *c);	       /* NULL is fine */
void view_json_mappings(struct text *out, struct view_copy *c);

#endif
