/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scrub - ends conntrack's flows that a changed rule must not keep, off the loop.
 *
 * A walk through conntrack costs milliseconds, and more with each flow there is: with 10,000
 * mappings some 30. So ports are gathered, and a thread walks for all of them at once, one
 * walk at a time and at most one each SCRUB_PACE_MS.
 */
#ifndef GATEWAY_SCRUB_H
#define GATEWAY_SCRUB_H

#include <stdbool.h>
#include <uv.h>

#include "sys/conntrack.h"

#define SCRUB_PACE_MS 50

struct scrub;

/* A walk is done: scrub_is_done of its number. */
typedef void scrub_walked_fn(void *owner);

/* walked may be NULL. Negative errno. */
int scrub_open(struct scrub **out, uv_loop_t *loop, scrub_walked_fn *walked, void *owner);
/* With the next walk, whose number is returned. Of several that name one port the last counts. */
uint64_t scrub_add(struct scrub *s, const struct conntrack_port *port);
/* Walks now, or as soon as it may, for what was added; the number of the walk that does the last of it. */
uint64_t scrub_run(struct scrub *s);
bool scrub_is_done(const struct scrub *s, uint64_t number);
/* What is left is scrubbed. The loop must run until the handles are closed. NULL is fine. */
void scrub_close(struct scrub *s);

#endif
