/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes are a script of what happens to a hole: an operation, its argument, and for
 * datagrams their bytes. At every moment the hole must come to wait, for a time that lies
 * ahead, and what it tells must fit what it told before.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/hole.h"
#include "test/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SERVERS 5

enum { PASS_MS, PASS_LONG, ANSWER, REFUSE, HOSTILE, RIGHT_ID, BREAK, RECHECK, LIST, UNPLUG, KEEPALIVE, DEFER, OPERATIONS };

struct play {
	struct hole hole;
	struct endpoint servers[SERVERS], outer; /* outer: what was told */
	size_t count;
	uint64_t now_ms;
	bool open;	/* as was told */
	bool unplugged; /* every sending fails */
	struct endpoint to;
	uint8_t question[STUN_HEADER_LEN];
};

static void holds(bool yes)
{
	if (!yes)
		abort();
}

static void told(struct play *p, enum hole_action action, const struct hole_step *step)
{
	const bool same = endpoint_equal(&p->outer, &p->hole.outer);

	switch (action) {
	case HOLE_OPENED:
		holds(!p->open && p->hole.state == HOLE_OPEN && p->hole.outer.family == ENDPOINT_IPV4 && p->hole.outer.port != 0);
		p->open = true;
		break;
	case HOLE_CHANGED:
		holds(p->open && p->hole.state == HOLE_OPEN && !same);
		break;
	case HOLE_GONE:
		holds(p->open && p->hole.state == HOLE_LOST && same);
		p->open = false;
		break;
	case HOLE_HELD:
	case HOLE_SUSPECT:
		holds(p->open && p->hole.state == HOLE_OPEN && same);
		break;
	case HOLE_SEND:
		holds(step->len == STUN_HEADER_LEN && step->to.family == ENDPOINT_IPV4);
		p->to = step->to;
		memcpy(p->question, step->bytes, STUN_HEADER_LEN);
		break;
	case HOLE_FAILED:
		holds(endpoint_equal(&step->to, &p->to));
		break;
	case HOLE_WAIT:
		break;
	}
	p->outer = p->hole.outer;
}

static void drain(struct play *p)
{
	enum hole_action action;
	struct hole_step step = { 0 };
	unsigned steps = 0;

	while ((action = hole_step(&p->hole, p->servers, p->count, p->now_ms, &step)) != HOLE_WAIT) {
		holds(++steps <= 4 * SERVERS + 3);
		told(p, action, &step);
		if (action == HOLE_SEND && p->unplugged)
			hole_break(&p->hole, &step.to, p->now_ms);
	}
	holds(hole_wake_ms(&p->hole) > p->now_ms);
	holds(hole_wake_ms(&p->hole) <= p->now_ms + 60000);
	holds(p->open == (p->hole.state == HOLE_OPEN));
}

/* Woken whenever it asks to be, and woken not too often. */
static void pass(struct play *p, uint64_t ms)
{
	const uint64_t end_ms = p->now_ms + ms;
	unsigned wakes = 0;

	while (hole_wake_ms(&p->hole) <= end_ms) {
		if (p->now_ms < hole_wake_ms(&p->hole))
			p->now_ms = hole_wake_ms(&p->hole);
		drain(p);
		holds(++wakes <= 10 + ms / 100);
	}
	p->now_ms = end_ms;
}

static void datagram(struct play *p, bool right_id, uint8_t arg, struct reader *r)
{
	const size_t len = r->left < arg ? r->left : arg;
	const uint8_t *bytes = read_bytes(r, len);
	uint8_t buf[20 + 255];

	memcpy(buf, p->question, 20);
	buf[0] = 1;
	buf[1] = arg & 1 ? 0x11 : 0x01;
	buf[3] = (uint8_t)len;
	memcpy(buf + 20, bytes, len);
	if (right_id)
		hole_receive(&p->hole, &p->to, buf, 20 + len, p->now_ms);
	else
		hole_receive(&p->hole, &p->to, bytes, len, p->now_ms);
}

static void happen(struct play *p, uint8_t operation, uint8_t arg, struct reader *r)
{
	const struct endpoint outer = endpoint_ipv4(0xcb007100u + (arg >> 4), (uint16_t)(arg & 15));
	uint8_t buf[256];

	switch (operation % OPERATIONS) {
	case PASS_MS:
		pass(p, arg * 20u);
		break;
	case PASS_LONG: /* asleep: nobody was woken */
		p->now_ms += arg * 600000ull;
		break;
	case ANSWER:
		if (p->to.family)
			hole_receive(&p->hole, &p->to, buf, sim_answer(buf, p->question, STUN_HEADER_LEN, &outer, NULL), p->now_ms);
		break;
	case REFUSE:
		if (p->to.family)
			hole_receive(&p->hole, &p->to, buf, sim_refusal(buf, p->question, STUN_HEADER_LEN, 300), p->now_ms);
		break;
	case HOSTILE:
	case RIGHT_ID:
		datagram(p, operation % OPERATIONS == RIGHT_ID, arg, r);
		break;
	case BREAK:
		hole_break(&p->hole, &p->servers[arg % SERVERS], p->now_ms);
		break;
	case RECHECK:
		hole_recheck(&p->hole, p->now_ms);
		break;
	case LIST:
		p->count = arg % (SERVERS + 1);
		break;
	case UNPLUG:
		p->unplugged = arg & 1;
		break;
	case KEEPALIVE:
		hole_keepalive(&p->hole, 5000 + arg * 200u, p->now_ms);
		break;
	case DEFER:
		hole_choose(&p->hole, arg);
		hole_defer(&p->hole, p->now_ms + arg * 20u);
		break;
	}
	if (!(arg & 0x80) || operation & 0x80)
		drain(p); /* else several things happen at once */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = { .at = data, .left = size };
	const uint8_t how = read_u8(&r);
	struct play p = { .now_ms = 1000, .count = how % (SERVERS + 1) };

	if (size > 1000)
		return 0;
	sim_seed(how);
	for (size_t i = 0; i < SERVERS; i++)
		p.servers[i] = endpoint_ipv4(0xc0000201u + (uint32_t)i, STUN_PORT);
	hole_init(&p.hole, &(struct hole_config){ .stream = how & 0x80, .keepalive_ms = 20000, .random = sim_random },
		p.now_ms);
	hole_choose(&p.hole, how);
	drain(&p);
	while (r.left >= 2) {
		const uint8_t operation = read_u8(&r), arg = read_u8(&r);

		happen(&p, operation, arg, &r);
	}
	drain(&p);
	pass(&p, 3600000);
	return 0;
}
