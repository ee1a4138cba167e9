/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer_bench - nanoseconds from a datagram's bytes to its answer's, limit included, without any socket.
 *
 * Prints a line per kind of question: by the template (or answer_to, where there is
 * none) and by answer_to alone; the median of many runs, from 1000 sources in turn.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/stun.h"
#include "server/limit.h"
#include "server/template.h"

#define RUNS  101
#define TIMES 20000

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static struct site site;
static struct templates templates;
static struct limit *limit;
static uint8_t said[ANSWER_MAX];
static unsigned long sum; /* so that nothing is optimised away */

static void answer(const struct question *q, bool templated, uint64_t now_us)
{
	struct answer a = { 0 };

	if (!templated || !template_answer(&templates, q, said, &a))
		answer_to(q, said, sizeof(said), &a);
	if (limit_take(limit, &q->from, now_us))
		sum += a.len + said[a.len / 2];
}

static double median_ns(struct question *q, bool templated)
{
	static double ns[RUNS];

	for (int run = 0; run < RUNS; run++) {
		const double began = now_ns();

		for (unsigned i = 0; i < TIMES; i++) {
			q->from.ip[2] = (uint8_t)(i % 1000 >> 8);
			q->from.ip[3] = (uint8_t)(i % 1000);
			answer(q, templated, (uint64_t)run * TIMES + i);
		}
		ns[run] = (now_ns() - began) / TIMES;
	}
	qsort(ns, RUNS, sizeof(ns[0]), ascending);
	return ns[RUNS / 2];
}

static void measure(const char *name, const uint8_t *id, bool change, bool fingerprint)
{
	uint8_t bytes[64];
	struct stun_builder b;
	struct question q = { .bytes = bytes, .site = &site, .from = endpoint_ipv4(0xc0000200, 40000) };
	double fast, reference;

	stun_begin(&b, bytes, sizeof(bytes), STUN_REQUEST, STUN_BINDING, id);
	if (change)
		stun_put_u32(&b, STUN_CHANGE_REQUEST, STUN_CHANGE_IP | STUN_CHANGE_PORT);
	if (fingerprint)
		stun_put_fingerprint(&b);
	q.len = stun_end(&b);
	fast = median_ns(&q, true);
	reference = median_ns(&q, false);
	printf("%-24s %6.1f ns, by answer_to alone %6.1f ns\n", name, fast, reference);
}

int main(void)
{
	static const uint8_t secret[LIMIT_SECRET] = "0123456789abcdef0123456789ABCDEF", classic[STUN_ID_LEN] = "rfc 3489 client";
	uint8_t id[STUN_ID_LEN];

	for (unsigned i = 0; i < 4; i++)
		site.origin[i / 2][i % 2] = endpoint_ipv4(0xc6336401 + i / 2, (uint16_t)(3478 + i % 2));
	templates_make(&templates, &site);
	if (limit_new(&limit, LIMIT_RATE_MAX, secret) < 0)
		return 1;
	stun_id(id, (const uint8_t *)"twelve bytes");
	measure("RFC 8489", id, false, false);
	measure("RFC 3489", classic, false, false);
	measure("CHANGE-REQUEST", id, true, false);
	measure("RFC 8489, FINGERPRINT", id, false, true);
	limit_free(limit);
	return sum == 0;
}
