/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct queue { /* a binary heap: the children of i are 2i + 1 and 2i + 2, none before its parent */
	uint64_t number;
	size_t count;
	struct queued *heap[QUEUE_MAX];
};

int queue_new(struct queue **out)
{
	struct queue *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	*out = q;
	return 0;
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->count; i++)
		free(q->heap[i]);
	free(q);
}

static bool before(const struct queued *a, const struct queued *b)
{
	return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->number < b->number;
}

static void swap(struct queued **a, struct queued **b)
{
	struct queued *was = *a;

	*a = *b;
	*b = was;
}

int queue_push(struct queue *q, uint64_t due_ms, int to, const void *bytes, size_t len)
{
	if (q->count == QUEUE_MAX)
		return -ENOBUFS;
	struct queued *item = malloc(sizeof(*item) + len);
	if (!item)
		return -ENOMEM;
	*item = (struct queued){ .due_ms = due_ms, .number = q->number++, .to = to, .len = len };
	memcpy(item->bytes, bytes, len);
	size_t i = q->count++;
	q->heap[i] = item;
	for (; i && before(q->heap[i], q->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&q->heap[i], &q->heap[(i - 1) / 2]);
	return 0;
}

static void sink(struct queue *q)
{
	size_t i = 0, child;

	while ((child = 2 * i + 1) < q->count) {
		if (child + 1 < q->count && before(q->heap[child + 1], q->heap[child]))
			child++;
		if (!before(q->heap[child], q->heap[i]))
			return;
		swap(&q->heap[i], &q->heap[child]);
		i = child;
	}
}

struct queued *queue_pop(struct queue *q, uint64_t now_ms)
{
	if (queue_due_ms(q) > now_ms || q->count == 0)
		return NULL;
	struct queued *first = q->heap[0];
	q->heap[0] = q->heap[--q->count];
	sink(q);
	return first;
}

uint64_t queue_due_ms(const struct queue *q)
{
	return q->count ? q->heap[0]->due_ms : UINT64_MAX;
}
