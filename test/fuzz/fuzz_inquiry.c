/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes are a script of what happens to one of the inquiries lifetime and hairpin:
 * answers of an honest server of which some get lost, answers and knocks from anywhere to
 * anywhere, hostile datagrams, time. It must come to an end whatever happens, name slots
 * one after the other, never wait for a time that is past, take nothing that has no id of
 * a question, and decide nothing without the answers it takes.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/hairpin.h"
#include "lib/lifetime.h"
#include "test/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REMEMBERED 64
#define ANSWERS_TO_DECIDE 4 /* with fewer no silence tells: two outer endpoints and a few controls */

enum { SERVE, PASS_MS, PASS_S, ANSWER, REFUSE, HOSTILE, RIGHT_ID, KNOCK, OPERATIONS };

struct question {
	unsigned slot;
	struct endpoint to;
	size_t len;
	bool served;
	uint8_t bytes[STUN_HEADER_LEN + 8];
};

struct play {
	const struct inquiry *m;
	void *machine;
	struct endpoint server;
	uint64_t began_ms, now_ms;
	unsigned slots, slots_max, sent, taken, knocked;
	uint8_t pool; /* how many outer addresses the slots have, a mask */
	bool done;
	uint32_t alive_s;
	struct question questions[REMEMBERED]; /* the last ones */
};

static void holds(bool yes)
{
	if (!yes)
		abort();
}

static struct endpoint outer_of(const struct play *p, unsigned slot)
{
	return endpoint_ipv4(0xcb007109u + (slot & p->pool), (uint16_t)(20000 + slot));
}

static void remember(struct play *p, const struct inquiry_step *step)
{
	struct question *q = &p->questions[p->sent++ % REMEMBERED];
	const struct endpoint local = endpoint_ipv4(0xc0a80105u, (uint16_t)(5000 + step->slot));

	holds(!p->done && step->slot <= p->slots && step->slot < p->slots_max);
	holds(step->len == STUN_HEADER_LEN || step->len == STUN_HEADER_LEN + 8);
	holds(endpoint_equal(&step->to, &p->server) || p->m == &hairpin_inquiry);
	if (step->slot == p->slots) {
		p->slots++;
		p->m->bound(p->machine, step->slot, &local);
	}
	*q = (struct question){ .slot = step->slot, .to = step->to, .len = step->len };
	memcpy(q->bytes, step->bytes, step->len);
}

static void check_lifetime(struct play *p)
{
	struct lifetime_progress l;

	lifetime_progress(p->machine, p->now_ms, &l);
	holds((l.phase == LIFETIME_DONE) == p->done);
	holds(l.alive_s >= p->alive_s && l.alive_s <= (p->now_ms - p->began_ms) / 1000);
	holds(l.dead_s == 0 || (l.alive_s <= l.dead_s && p->taken > ANSWERS_TO_DECIDE));
	holds(l.dead_s ? l.estimate_s >= l.alive_s && l.estimate_s <= l.dead_s : l.estimate_s == 0);
	holds(l.reason == LIFETIME_OK || p->done);
	p->alive_s = l.alive_s;
}

static void check_hairpin(struct play *p)
{
	struct hairpin_result h;

	hairpin_result(p->machine, &h);
	holds(h.done == p->done && (h.done || h.answer == HAIRPIN_UNKNOWN));
	holds(h.answer != HAIRPIN_NO || p->taken > ANSWERS_TO_DECIDE);
	holds((h.answer == HAIRPIN_YES) == (p->knocked > 0));
	holds(h.answer == HAIRPIN_YES || h.source == HAIRPIN_SOURCE_UNKNOWN);
}

static void drain(struct play *p)
{
	enum inquiry_action action;
	struct inquiry_step step;
	unsigned steps = 0;

	while ((action = p->m->step(p->machine, p->now_ms, &step)) == INQUIRY_SEND) {
		holds(++steps <= 64);
		remember(p, &step);
	}
	holds(!p->done || action == INQUIRY_DONE);
	p->done = action == INQUIRY_DONE;
	holds(p->m->wake_ms(p->machine) > p->now_ms);
	holds((p->m->wake_ms(p->machine) == UINT64_MAX) == p->done);
	if (p->m == &lifetime_inquiry)
		check_lifetime(p);
	else
		check_hairpin(p);
}

static bool receive(struct play *p, unsigned slot, const struct endpoint *from, const void *bytes, size_t len)
{
	const bool taken = p->m->receive(p->machine, slot, from, bytes, len, p->now_ms);

	p->taken += taken;
	p->knocked += taken && len > 0 && *(const uint8_t *)bytes == 0; /* a request */
	return taken;
}

static uint16_t response_port(const struct question *q)
{
	struct stun_message m;
	struct stun_value v;

	holds(stun_decode(&m, q->bytes, q->len) == 0);
	return stun_get(&m, STUN_RESPONSE_PORT, &v) == 0 ? (uint16_t)v.u32 : 0;
}

/* Answers what was not answered yet; of each eight questions, those in the mask. */
static void serve(struct play *p, uint8_t mask)
{
	uint8_t buf[256];

	for (size_t i = 0; i < REMEMBERED; i++) {
		struct question *q = &p->questions[(p->sent + i) % REMEMBERED];
		struct endpoint outer = outer_of(p, q->slot);
		size_t len;

		if (q->len == 0 || q->served || !endpoint_equal(&q->to, &p->server))
			continue;
		q->served = true;
		len = sim_answer(buf, q->bytes, q->len, &outer, NULL);
		if (mask >> i % 8 & 1)
			receive(p, response_port(q) ? response_port(q) - 20000u : q->slot, &q->to, buf, len);
	}
}

static void answer(struct play *p, const struct question *q, uint8_t where, uint8_t what)
{
	const struct endpoint mapped = outer_of(p, what), elsewhere = endpoint_ipv4(0xc0000201u + (where >> 6), 3478);
	uint8_t buf[256];
	const size_t len = sim_answer(buf, q->bytes, q->len, &mapped, NULL);

	receive(p, where & 0x20 ? where & 0x1f : q->slot, &elsewhere, buf, len);
}

static void hostile(struct play *p, const struct question *q, bool right_id, uint8_t arg, struct reader *r)
{
	uint8_t buf[STUN_HEADER_LEN + 255];
	const size_t len = sim_garbage(buf, q->bytes, arg, r);

	if (right_id)
		receive(p, q->slot, &p->server, buf, len);
	else
		holds(!receive(p, q->slot, &p->server, buf + STUN_HEADER_LEN, len - STUN_HEADER_LEN));
}

static void knock(struct play *p, const struct question *q, uint8_t arg)
{
	const struct endpoint from = arg & 2 ? outer_of(p, q->slot) : endpoint_ipv4(0xc0a80105u, arg);

	if (receive(p, arg & 1, &from, q->bytes, q->len))
		holds(q->slot != (arg & 1u) && !endpoint_equal(&q->to, &p->server));
}

static void happen(struct play *p, uint8_t operation, uint8_t arg, struct reader *r)
{
	const struct question *q = &p->questions[(p->sent + REMEMBERED - 1 - (operation >> 4 & 7)) % REMEMBERED];
	uint8_t buf[256];

	if (q->len == 0) /* fewer were asked */
		q = &p->questions[(p->sent - 1) % REMEMBERED];
	switch ((operation & 15) % OPERATIONS) {
	case SERVE:
		serve(p, arg);
		break;
	case PASS_MS:
		p->now_ms += arg * 20u;
		break;
	case PASS_S:
		p->now_ms += arg * (operation & 0x40 ? 60000ull : 1000ull);
		break;
	case ANSWER:
		answer(p, q, arg, read_u8(r));
		break;
	case REFUSE:
		receive(p, q->slot, &q->to, buf, sim_refusal(buf, q->bytes, q->len, arg & 1 ? 420 : 500));
		break;
	case HOSTILE:
	case RIGHT_ID:
		hostile(p, q, (operation & 15) % OPERATIONS == RIGHT_ID, arg, r);
		break;
	case KNOCK:
		knock(p, q, arg);
		break;
	}
	if (!(operation & 0x80))
		drain(p);
}

static void begin(struct play *p, uint8_t how)
{
	const struct hairpin_config hairpin = { p->server, sim_random };
	const struct lifetime_config lifetime = { p->server, 40u * (how >> 3 & 7), sim_random };

	p->pool = how >> 6 & 1;
	p->m = how & 1 ? &hairpin_inquiry : &lifetime_inquiry;
	p->slots_max = how & 1 ? HAIRPIN_SLOTS : LIFETIME_SLOTS;
	p->machine = how & 1 ? (void *)hairpin_new(&hairpin, p->now_ms) : (void *)lifetime_new(&lifetime, p->now_ms);
	holds(p->machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = { .at = data, .left = size };
	const uint8_t how = read_u8(&r);
	struct play p = { .server = endpoint_ipv4(0xc0000201u, 3478), .began_ms = 1000, .now_ms = 1000 };
	unsigned wakes = 0;

	if (size > 1000)
		return 0;
	sim_seed(how);
	begin(&p, how);
	drain(&p);
	while (r.left >= 2) {
		const uint8_t operation = read_u8(&r), arg = read_u8(&r);

		happen(&p, operation, arg, &r);
	}
	for (drain(&p); !p.done; drain(&p)) { /* every question is answered from here on, or none */
		const uint64_t wake_ms = p.m->wake_ms(p.machine);

		p.now_ms = wake_ms;
		if (how & 2)
			serve(&p, how & 4 ? 0xff : 0x55);
		holds(++wakes <= 50000);
	}
	if (how & 1)
		hairpin_free(p.machine);
	else
		lifetime_free(p.machine);
	return 0;
}
