/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue - packets on a long line: each leaves when its time has come, in the order of these times.
 */
#ifndef LAB_QUEUE_H
#define LAB_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUEUE_MAX = 16384 }; /* packets */

struct queued {
	uint64_t due_ms;
	uint64_t number; /* of equal times the first in is the first out */
	int to;          /* the caller's */
	size_t len;
	uint8_t bytes[];
};

struct queue;

int queue_new(struct queue **out); /* -ENOMEM */
void queue_free(struct queue *q);  /* with what is in it; NULL is fine */

/* Copies the packet; -ENOBUFS when the queue is full, -ENOMEM. */
int queue_push(struct queue *q, uint64_t due_ms, int to, const void *bytes, size_t len);
/* The first packet that is due, NULL when none is; the caller frees it. */
struct queued *queue_pop(struct queue *q, uint64_t now_ms);
/* When the first is due, UINT64_MAX when the queue is empty. */
uint64_t queue_due_ms(const struct queue *q);

#endif
