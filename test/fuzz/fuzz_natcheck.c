/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes are a script of what happens to a NAT check: answers to any of its questions
 * from anywhere, hostile datagrams, breaks, time. It must come to an end whatever happens,
 * with few questions, and never wait for a time that is past.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/natcheck.h"
#include "test/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REMEMBERED 8

enum { PASS_MS, PASS_LONG, ANSWER, REFUSE, HOSTILE, RIGHT_ID, BREAK, OPERATIONS };

struct question {
	unsigned slot;
	struct endpoint to;
	size_t len;
	uint8_t bytes[STUN_HEADER_LEN + 8];
};

struct play {
	struct natcheck check;
	uint64_t now_ms;
	unsigned sent;
	bool done, changed_came; /* changed_came: something was taken for an answer to CHANGE-REQUEST */
	struct question questions[REMEMBERED]; /* the last ones */
};

static void holds(bool yes)
{
	if (!yes)
		abort();
}

/* Few addresses and ports, so that they meet. */
static struct endpoint somewhere(uint8_t arg)
{
	return endpoint_ipv4(0xc0000201u + (arg & 3), (uint16_t)(3478 + (arg >> 2 & 1)));
}

static void drain(struct play *p)
{
	enum inquiry_action action;
	struct inquiry_step step;
	unsigned steps = 0;

	while ((action = natcheck_step(&p->check, p->now_ms, &step)) == INQUIRY_SEND) {
		struct question *q = &p->questions[p->sent++ % REMEMBERED];

		holds(++steps <= NATCHECK_QUESTIONS);
		holds(!p->done && step.slot <= 1 && step.to.family && (step.len == STUN_HEADER_LEN || step.slot == 1));
		*q = (struct question){ .slot = step.slot, .to = step.to, .len = step.len };
		memcpy(q->bytes, step.bytes, step.len);
	}
	holds(p->sent <= 80);
	holds(!p->done || action == INQUIRY_DONE);
	holds(natcheck_wake_ms(&p->check) > p->now_ms);
	p->done = action == INQUIRY_DONE;
	holds(p->done == p->check.done);
	holds(p->check.filtering != STUNWAY_ENDPOINT_INDEPENDENT || p->changed_came);
}

static void receive(struct play *p, const struct question *q, const struct endpoint *from, const void *bytes, size_t len)
{
	if (natcheck_receive(&p->check, q->slot, from, bytes, len, p->now_ms) && q->len > STUN_HEADER_LEN)
		p->changed_came = true;
}

static void answer(struct play *p, const struct question *q, uint8_t where, uint8_t what)
{
	const struct endpoint elsewhere = somewhere(where), other = somewhere(what);
	const struct endpoint mapped = endpoint_ipv4(0xcb007109u, what >> 5);
	uint8_t buf[256];
	const size_t len = sim_answer(buf, q->bytes, q->len, &mapped, what & 0x10 ? &other : NULL);

	receive(p, q, where & 0x80 ? &elsewhere : &q->to, buf, len);
}

static void hostile(struct play *p, const struct question *q, bool right_id, uint8_t arg, struct reader *r)
{
	uint8_t buf[STUN_HEADER_LEN + 255];
	const size_t len = sim_garbage(buf, q->bytes, arg, r), skip = right_id ? 0 : STUN_HEADER_LEN;

	receive(p, q, &q->to, buf + skip, len - skip);
}

static void happen(struct play *p, uint8_t operation, uint8_t arg, struct reader *r)
{
	const struct question *q = &p->questions[operation >> 4 & 7];
	struct endpoint e;
	uint8_t buf[256];

	switch ((operation & 15) % OPERATIONS) {
	case PASS_MS:
		p->now_ms += arg * 20u;
		break;
	case PASS_LONG:
		p->now_ms += arg * 600000ull;
		break;
	case ANSWER:
		if (q->len)
			answer(p, q, arg, read_u8(r));
		break;
	case REFUSE:
		if (q->len)
			receive(p, q, &q->to, buf, sim_refusal(buf, q->bytes, q->len, 420));
		break;
	case HOSTILE:
	case RIGHT_ID:
		hostile(p, q, (operation & 15) % OPERATIONS == RIGHT_ID, arg, r);
		break;
	case BREAK:
		e = somewhere(arg);
		natcheck_break(&p->check, &e, p->now_ms);
		break;
	}
	if (!(operation & 0x80))
		drain(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = { .at = data, .left = size };
	const uint8_t how = read_u8(&r);
	struct endpoint servers[NATCHECK_SERVERS];
	struct play p = { .now_ms = 1000 };
	unsigned wakes = 0;

	if (size > 1000)
		return 0;
	sim_seed(how);
	for (size_t i = 0; i < NATCHECK_SERVERS; i++)
		servers[i] = somewhere(read_u8(&r));
	natcheck_init(&p.check, how & 0x80, servers, 1 + how % NATCHECK_SERVERS, sim_random, p.now_ms);
	drain(&p);
	while (r.left >= 2) {
		const uint8_t operation = read_u8(&r), arg = read_u8(&r);

		happen(&p, operation, arg, &r);
	}
	for (drain(&p); !p.done; drain(&p)) { /* silence from here on */
		p.now_ms = natcheck_wake_ms(&p.check);
		holds(++wakes <= 100);
	}
	return 0;
}
