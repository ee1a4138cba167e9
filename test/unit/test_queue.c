/* SPDX-License-Identifier: GPL-2.0-or-later */
/* natbox's delay queue (lab/queue.c). */
#include "test/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "lab/queue.h"

static void packets_leave_in_the_order_of_their_times(void **state)
{
	struct queue *q;
	uint32_t seed = 7;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	assert_true(queue_due_ms(q) == UINT64_MAX);
	for (uint32_t i = 0; i < 2000; i++) {
		seed = seed * 1664525 + 1013904223;
		assert_int_equal(queue_push(q, seed >> 24, (int)(i & 1), &i, sizeof(i)), 0);
	}
	uint64_t last_ms = 0;
	uint32_t last_number = 0;
	for (int i = 0; i < 2000; i++) {
		struct queued *item = queue_pop(q, 255);
		uint32_t number;

		assert_non_null(item);
		assert_int_equal(item->len, sizeof(number));
		memcpy(&number, item->bytes, sizeof(number));
		assert_int_equal(item->to, number & 1);
		assert_true(item->due_ms > last_ms || (item->due_ms == last_ms && (i == 0 || number > last_number)));
		last_ms = item->due_ms;
		last_number = number;
		free(item);
	}
	assert_null(queue_pop(q, UINT64_MAX - 1));
	queue_free(q);
}

static void nothing_leaves_before_its_time(void **state)
{
	struct queue *q;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	assert_int_equal(queue_push(q, 100, 0, "x", 1), 0);
	assert_null(queue_pop(q, 99));
	assert_true(queue_due_ms(q) == 100);
	struct queued *item = queue_pop(q, 100);
	assert_non_null(item);
	free(item);
	queue_free(q);
}

static void a_full_queue_refuses_and_frees_what_it_has(void **state)
{
	struct queue *q;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	for (int i = 0; i < QUEUE_MAX; i++)
		assert_int_equal(queue_push(q, 5, 0, "x", 1), 0);
	assert_int_equal(queue_push(q, 5, 0, "x", 1), -ENOBUFS);
	free(queue_pop(q, 5));
	assert_int_equal(queue_push(q, 5, 0, "x", 1), 0);
	queue_free(q);
	queue_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(packets_leave_in_the_order_of_their_times),
		T(nothing_leaves_before_its_time),
		T(a_full_queue_refuses_and_frees_what_it_has),
	};

	return RUN(tests);
}
