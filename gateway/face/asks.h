/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * asks - POST and DELETE of mappings: what is asked of the core, and who waits for its answer.
 *
 *	request → wish_read → gateway_wish ─┬→ known now: answered
 *	                                    └→ waits ─┬→ the core answers
 *	                                              ├→ the mapping ends: 503
 *	                                              ├→ ASKS_WAIT_MS are over: 503, and what trouble there is
 *	                                              └→ the client goes away
 *
 * A POST whose client goes away, or has waited for long enough, leaves no mapping that it alone made (gateway_forget).
 */
#ifndef GATEWAY_ASKS_H
#define GATEWAY_ASKS_H

#include "gateway/face/http.h"
#include "gateway/face/view_json.h"

#define ASKS_MAX	    64
#define ASKS_MAX_PER_CLIENT 8
#define ASKS_WAIT_MS	    30000

struct asks;

/* view is borrowed; *refused counts answers that are errors. Negative errno. */
int asks_open(struct asks **out, uv_loop_t *loop, const struct view *view, uint64_t *refused);
void asks_post(struct asks *a, struct http_request *r);
void asks_delete(struct asks *a, struct http_request *r);
/* A mapping has ended, whoever ended it: nobody answers those who waited for its hole. */
void asks_ended(struct asks *a, const struct lease_key *key);
size_t asks_waiting(const struct asks *a);
/* When requests and the gateway have ended. NULL is fine; the loop must run until its handle is closed. */
void asks_close(struct asks *a);

#endif
