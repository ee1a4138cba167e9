/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever arrives: an answer decodes, bears the question's id, keeps the size bound,
 * leaves from a socket that exists, goes to the sender's address, and is never
 * answered in its turn; and where a template answers, it is the same to the byte. The
 * first byte picks the server's site and the transport.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/stun.h"
#include "server/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(bool yes)
{
	if (!yes)
		abort();
}

static struct site site_of(uint8_t pick)
{
	struct site s = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		if ((i / 2 && !(pick & 1)) || (i % 2 && !(pick & 2)))
			continue;
		s.origin[i / 2][i % 2] = (struct endpoint){ .family = pick & 4 ? ENDPOINT_IPV6 : ENDPOINT_IPV4,
			.port = (uint16_t)(3478 + i % 2), .ip = { 198, 51, 100, (uint8_t)(1 + i / 2) } };
	}
	return s;
}

static void check(const struct question *q, const uint8_t *said, const struct answer *a, enum count outcome)
{
	struct stun_message m;

	same((outcome <= COUNT_UNKNOWN_ATTRIBUTE) == (a->len > 0));
	if (a->len == 0)
		return;
	same(stun_decode(&m, said, a->len) == 0 && m.malformed == 0 && m.unknown_count == 0);
	same(memcmp(m.id, (const uint8_t *)q->bytes + 4, STUN_ID_LEN) == 0);
	same(m.class == (outcome == COUNT_ANSWERED ? STUN_SUCCESS : STUN_ERROR));
	same(q->tcp || a->len <= answer_bound(q->from.family, q->len));
	same(q->site->origin[a->address][a->port].family != ENDPOINT_NONE);
	same(endpoint_same_ip(&a->to, &q->from) && a->to.port != 0);
	same(!q->tcp || endpoint_equal(&a->to, &q->from));
}

/* There are 8 sites; their templates are made once. */
static const struct templates *templates_of(uint8_t pick, const struct site *site)
{
	static struct templates made[8];
	static bool done[8];

	if (!done[pick & 7])
		templates_make(&made[pick & 7], site);
	done[pick & 7] = true;
	return &made[pick & 7];
}

static void check_template(const struct templates *t, const struct question *q, const uint8_t *said, const struct answer *a,
	enum count outcome)
{
	uint8_t from_template[TEMPLATE_MAX];
	struct answer b;

	if (q->tcp || !template_answer(t, q, from_template, &b))
		return;
	same(outcome == COUNT_ANSWERED && a->len == b.len && memcmp(said, from_template, b.len) == 0);
	same(a->address == b.address && a->port == b.port && endpoint_equal(&a->to, &b.to));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t said[ANSWER_MAX], again[ANSWER_MAX];
	struct answer a;

	if (size < 1 || size > 65000)
		return 0;
	const struct site site = site_of(data[0]);
	struct question q = { .bytes = data + 1, .len = size - 1, .tcp = data[0] & 8, .site = &site,
		.address = site.origin[1][0].family && data[0] & 16, .port = site.origin[0][1].family && data[0] & 32,
		.from = { .family = site.origin[0][0].family, .port = 40000, .ip = { 192, 0, 2, 9 } } };
	const enum count outcome = answer_to(&q, said, q.tcp ? ANSWER_TCP_MAX : sizeof(said), &a);

	check(&q, said, &a, outcome);
	check_template(templates_of(data[0], &site), &q, said, &a, outcome);
	if (a.len > 0) {
		q.bytes = said;
		q.len = a.len;
		same(answer_to(&q, again, sizeof(again), &a) == COUNT_NOT_REQUEST && a.len == 0);
	}
	return 0;
}
