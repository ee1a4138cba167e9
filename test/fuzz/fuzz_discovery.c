/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes are a script of what happens to an inquiry: answers to any of its questions
 * from anywhere, hostile datagrams, time. It must come to an end by its deadline whatever
 * happens, with few datagrams, never wait for a time that is past, and what it says of
 * type, mapping and filtering must not contradict itself, nor what was accepted.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/discovery.h"
#include "test/sim/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REMEMBERED 16
#define START_MS   1000
#define TIMEOUT_MS 5000

enum { PASS_MS, PASS_LONG, ANSWER, REFUSE, HOSTILE, RIGHT_ID, REACHABLE, OPERATIONS };

struct question {
	unsigned slot;
	struct endpoint to;
	size_t len;
	uint8_t bytes[STUN_HEADER_LEN + 8];
};

struct play {
	struct discovery *discovery;
	uint64_t now_ms;
	unsigned sent;
	bool done, changed_came;	       /* changed_came: something from elsewhere was accepted */
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
	return endpoint_ipv4(0xc6336401u + (arg & 3), (uint16_t)(3478 + (arg >> 2 & 1)));
}

static void makes_sense(const struct discovery_verdict *v, const struct play *p)
{
	const bool independent = v->filtering == STUNWAY_ENDPOINT_INDEPENDENT;

	holds(v->confidence >= 0 && v->confidence <= 1 && v->loss >= 0 && v->loss <= 1);
	holds(!independent || p->changed_came);
	switch (v->type) {
	case STUNWAY_OPEN_INTERNET:
		holds(independent && endpoint_equal(&v->outer, &v->local));
		break;
	case STUNWAY_SYMMETRIC_UDP_FIREWALL:
		holds(!independent && endpoint_equal(&v->outer, &v->local));
		break;
	case STUNWAY_FULL_CONE:
		holds(independent && v->mapping == STUNWAY_ENDPOINT_INDEPENDENT);
		break;
	case STUNWAY_RESTRICTED_CONE:
		holds(v->filtering == STUNWAY_ADDRESS_DEPENDENT && v->mapping == STUNWAY_ENDPOINT_INDEPENDENT);
		break;
	case STUNWAY_PORT_RESTRICTED_CONE:
		holds(v->filtering == STUNWAY_ADDRESS_AND_PORT_DEPENDENT && v->mapping == STUNWAY_ENDPOINT_INDEPENDENT);
		break;
	case STUNWAY_SYMMETRIC_NAT:
		holds(v->mapping != STUNWAY_ENDPOINT_INDEPENDENT && v->outer.family == ENDPOINT_IPV4);
		break;
	case STUNWAY_BLOCKED:
		holds(v->outer.family == ENDPOINT_NONE && v->rtt_ms == 0);
		break;
	case STUNWAY_ERROR:
		holds(v->notes & DISCOVERY_REFUSED && v->code >= 300);
		break;
	case STUNWAY_UNKNOWN:
		break;
	}
}

static void drain(struct play *p)
{
	enum inquiry_action action;
	struct inquiry_step step;
	struct discovery_verdict v;

	while ((action = discovery_step(p->discovery, p->now_ms, &step)) == INQUIRY_SEND) {
		struct question *q = &p->questions[p->sent++ % REMEMBERED];
		const struct endpoint local = endpoint_ipv4(0xc0a80105u, (uint16_t)(4000 + step.slot));

		holds(!p->done && step.slot < DISCOVERY_SLOTS && step.to.family && step.len <= sizeof(q->bytes));
		holds(step.slot == DISCOVERY_MAPPING || (endpoint_ip32(&step.to) == 0xc6336401u && step.to.port == 3478));
		holds(p->now_ms < START_MS + TIMEOUT_MS);
		discovery_bound(p->discovery, step.slot, &local);
		*q = (struct question){ .slot = step.slot, .to = step.to, .len = step.len };
		memcpy(q->bytes, step.bytes, step.len);
	}
	holds(p->sent <= 512);
	p->done = action == INQUIRY_DONE;
	holds(discovery_wake_ms(p->discovery) > p->now_ms);
	holds(p->done == (discovery_wake_ms(p->discovery) == UINT64_MAX));
	if (p->done || p->sent % 8 == 0) { /* not each time: it is the dearest of all */
		discovery_verdict(p->discovery, p->now_ms, &v);
		makes_sense(&v, p);
	}
}

static void receive(struct play *p, const struct question *q, const struct endpoint *from, const void *bytes, size_t len)
{
	if (discovery_receive(p->discovery, q->slot, from, bytes, len, p->now_ms) && !endpoint_equal(from, &q->to))
		p->changed_came = true;
}

static void answer(struct play *p, const struct question *q, uint8_t where, uint8_t what)
{
	const struct endpoint elsewhere = somewhere(where), other = somewhere(what);
	const struct endpoint mapped = what & 0x80 ? endpoint_ipv4(0xc0a80105u, (uint16_t)(4000 + q->slot)) :
						     endpoint_ipv4(0xcb007109u, what >> 5);
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
	const struct question *q = &p->questions[operation >> 3 & 15];
	uint8_t buf[256];

	switch ((operation & 7) % OPERATIONS) {
	case PASS_MS:
		p->now_ms += arg;
		break;
	case PASS_LONG:
		p->now_ms += arg * 1000ull;
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
		hostile(p, q, (operation & 7) == RIGHT_ID, arg, r);
		break;
	case REACHABLE:
		discovery_reachable(p->discovery, arg, p->now_ms);
		break;
	}
	if (!(operation & 0x80))
		drain(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = { .at = data, .left = size };
	const uint8_t how = read_u8(&r);
	const struct discovery_config config = { .server = somewhere(0), .timeout_ms = TIMEOUT_MS, .port_mode = how & 1, .random = sim_random };
	struct play p = { .now_ms = START_MS, .discovery = discovery_new(&config, START_MS) };
	unsigned wakes = 0;

	if (size <= 1000 && p.discovery) {
		sim_seed(how);
		drain(&p);
		while (r.left >= 2) {
			const uint8_t operation = read_u8(&r), arg = read_u8(&r);

			happen(&p, operation, arg, &r);
		}
		for (drain(&p); !p.done; drain(&p)) { /* silence from here on */
			p.now_ms = discovery_wake_ms(p.discovery);
			holds(++wakes <= 2000);
		}
	}
	discovery_free(p.discovery);
	return 0;
}
