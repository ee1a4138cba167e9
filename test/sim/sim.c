/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/sim.h"

#include <stdlib.h>

static uint64_t chance;

void sim_seed(uint32_t seed)
{
	chance = seed;
}

/* SplitMix64. */
static uint64_t next_chance(void)
{
	uint64_t x = chance += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void sim_random(void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)next_chance();
}

uint32_t sim_below(uint32_t bound)
{
	return (uint32_t)(next_chance() % bound);
}

bool sim_lost(const struct sim *s)
{
	return s->loss && sim_below(100) < s->loss;
}

void sim_put(struct sim *s, uint64_t delay_ms, unsigned slot, const struct endpoint *from, const void *bytes, size_t len)
{
	struct sim_packet *p = &s->packets[s->count];

	if (s->count == SIM_PACKETS || len > sizeof(p->bytes) || sim_lost(s))
		return;
	p->at_ms = s->now_ms + delay_ms;
	p->slot = slot;
	p->from = *from;
	p->len = len;
	memcpy(p->bytes, bytes, len);
	s->due[s->count++] = p->at_ms << 24 | (s->turn++ & 0xffffffu);
}

static size_t first_due(const struct sim *s)
{
	size_t first = 0;

	for (size_t i = 1; i < s->count; i++)
		if (s->due[i] < s->due[first])
			first = i;
	return first;
}

uint64_t sim_wake_ms(const struct sim *s)
{
	return s->count ? s->packets[first_due(s)].at_ms : UINT64_MAX;
}

bool sim_take(struct sim *s, struct sim_packet *out)
{
	const size_t i = first_due(s);

	if (s->count == 0 || s->packets[i].at_ms > s->now_ms)
		return false;
	*out = s->packets[i];
	s->packets[i] = s->packets[--s->count];
	s->due[i] = s->due[s->count];
	return true;
}

/* What the machines under test send always decodes. */
static struct stun_message decoded(const void *request, size_t len)
{
	struct stun_message m;

	if (stun_decode(&m, request, len) < 0)
		abort();
	return m;
}

size_t sim_answer(uint8_t buf[256], const void *request, size_t len, const struct endpoint *mapped,
	const struct endpoint *other)
{
	const struct stun_message m = decoded(request, len);
	struct stun_builder b;

	stun_begin(&b, buf, 256, STUN_SUCCESS, m.method, m.id);
	stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, mapped);
	if (other)
		stun_put_endpoint(&b, STUN_OTHER_ADDRESS, other);
	return stun_end(&b);
}

size_t sim_garbage(uint8_t buf[STUN_HEADER_LEN + 255], const void *request, uint8_t max, struct reader *r)
{
	const size_t len = r->left < max ? r->left : max;

	memcpy(buf, request, STUN_HEADER_LEN);
	buf[0] = 1;
	buf[1] = max & 1 ? 0x11 : 0x01; /* an error, or a success */
	buf[3] = (uint8_t)len;
	memcpy(buf + STUN_HEADER_LEN, read_bytes(r, len), len);
	return STUN_HEADER_LEN + len;
}

size_t sim_refusal(uint8_t buf[256], const void *request, size_t len, uint16_t code)
{
	const struct stun_message m = decoded(request, len);
	struct stun_builder b;

	stun_begin(&b, buf, 256, STUN_ERROR, m.method, m.id);
	stun_put_error(&b, code, "No");
	return stun_end(&b);
}
