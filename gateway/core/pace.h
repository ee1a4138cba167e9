/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pace - what is to be done to many holes, done to a few a turn of the loop.
 *
 * A line that comes back sets thousands of holes to work. All in one turn they would keep
 * clients waiting, and all in one moment STUN servers would take us for an attack.
 */
#ifndef GATEWAY_PACE_H
#define GATEWAY_PACE_H

#include <uv.h>

#define PACE_BATCH 10 /* at once … */
#define PACE_MS	   50 /* … and then this rest */

struct pace;

/* Lives in what waits; zeros while it does not. */
struct pace_item {
	struct pace_item *next, **at; /* private */
	unsigned what;		      /* private */
};

/* what: the number given to pace_add, at least 1. The callee may add and drop items, this one too. */
typedef void pace_due_fn(void *owner, struct pace_item *item, unsigned what);

int pace_open(struct pace **out, uv_loop_t *loop, pace_due_fn *due, void *owner);
/* The last of the queue, in the next turn at the soonest. What waits already keeps its place, and the higher number counts. */
void pace_add(struct pace *p, struct pace_item *item, unsigned what);
/* Forgets it; fine when it does not wait. */
void pace_drop(struct pace *p, struct pace_item *item);
void pace_close(struct pace *p); /* drops none: nothing of it is touched again. NULL is fine */

#endif
