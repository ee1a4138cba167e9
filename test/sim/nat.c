/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/nat.h"

#include <stdlib.h>

#define UP 0x10000u /* of a slot: this packet goes to the NAT */

struct endpoint sim_nat_local(const struct sim_nat *n, unsigned slot)
{
	struct endpoint e = n->a;

	e.port = (uint16_t)(30000 + slot * 7919 % 20000);
	if (e.family == ENDPOINT_IPV6)
		e.ip[15] = 0x77;
	else
		e = endpoint_ipv4(n->line == LINE_NAT ? 0xc0a80105u : 0xcb007177u, e.port);
	return e;
}

static void carry(const struct sim_nat *n, struct sim *s, unsigned slot, const struct endpoint *other, const void *bytes, size_t len)
{
	const bool twice = n->duplicates && sim_below(100) < n->duplicates;

	for (int i = 0; i < 1 + twice; i++) {
		uint32_t delay = slot & UP ? n->rtt_ms / 2 : n->rtt_ms - n->rtt_ms / 2;

		if (n->jitter_ms && sim_below(100) < 30)
			delay += sim_below(n->jitter_ms);
		sim_put(s, delay, slot, other, bytes, len);
	}
}

void sim_nat_send(struct sim_nat *n, struct sim *s, unsigned slot, const struct endpoint *to, const void *bytes, size_t len)
{
	if (n->line != LINE_BLOCKED)
		carry(n, s, slot | UP, to, bytes, len);
}

/* What the behavior looks at in an endpoint. */
static struct endpoint seen(enum stunway_behavior b, const struct endpoint *e)
{
	struct endpoint s = *e;

	if (b != STUNWAY_ADDRESS_AND_PORT_DEPENDENT)
		s.port = 0;
	return b == STUNWAY_ENDPOINT_INDEPENDENT ? (struct endpoint){ 0 } : s;
}

static bool is_taken(const struct sim_nat *n, uint16_t port)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->bindings[i].outer.port == port)
			return true;
	return false;
}

static uint16_t choose_port(struct sim_nat *n, uint16_t local_port)
{
	const uint32_t low = n->port_low ? n->port_low : 1024, high = n->port_high ? n->port_high : 65535;
	const uint32_t range = high - low + 1;
	const uint32_t step = (n->step ? n->step : 1) * (n->others ? 1 + sim_below(n->others + 1) : 1);
	uint16_t port = local_port;

	if (n->count == 0 && n->counter == 0)
		n->counter = (uint16_t)(low + sim_below(range));
	do {
		if (n->ports == STUNWAY_PORTS_RANDOM)
			port = (uint16_t)(low + sim_below(range));
		else if (n->ports == STUNWAY_PORTS_INCREMENT)
			port = n->counter = (uint16_t)(low + (n->counter - low + step) % range);
		else if (n->ports == STUNWAY_PORTS_DECREMENT)
			port = n->counter = (uint16_t)(low + (n->counter - low + range - step % range) % range);
		else
			port += is_taken(n, port);
	} while (is_taken(n, port));
	return port;
}

static struct endpoint choose_outer(struct sim_nat *n, unsigned slot)
{
	const struct endpoint local = sim_nat_local(n, slot);
	struct endpoint outer = local;

	if (n->line != LINE_NAT)
		return outer;
	outer.port = choose_port(n, local.port);
	if (outer.family == ENDPOINT_IPV4)
		return endpoint_ipv4((n->outer_ip ? n->outer_ip : 0xcb007101u) + (n->outer_count ? sim_below(n->outer_count) : 0), outer.port);
	outer.ip[14] = 0x99;
	return outer;
}

static bool has_ended(const struct sim_nat *n, const struct sim_binding *b, uint64_t now_ms)
{
	return n->timeout_ms && now_ms - b->used_ms > n->timeout_ms;
}

void sim_nat_flush(struct sim_nat *n)
{
	n->count = 0;
}

const struct endpoint *sim_nat_outer(const struct sim_nat *n, unsigned slot, uint64_t now_ms)
{
	for (const struct sim_binding *b = n->bindings; b < n->bindings + n->count; b++)
		if (b->slot == slot && !has_ended(n, b, now_ms))
			return &b->outer;
	return NULL;
}

static struct sim_binding *nat_out(struct sim_nat *n, unsigned slot, const struct endpoint *to, uint64_t now_ms)
{
	const struct endpoint key = seen(n->line == LINE_NAT ? n->mapping : STUNWAY_ENDPOINT_INDEPENDENT, to);
	struct sim_binding *b = n->bindings;

	for (size_t i = n->count; i-- > 0;)
		if (has_ended(n, &n->bindings[i], now_ms))
			n->bindings[i] = n->bindings[--n->count];
	while (b < n->bindings + n->count && (b->slot != slot || !endpoint_equal(&b->to, &key)))
		b++;
	if (b == n->bindings + n->count) {
		if (n->count == SIM_NAT_BINDINGS)
			abort();
		*b = (struct sim_binding){ .slot = slot, .to = key, .outer = choose_outer(n, slot) };
		n->count++;
	}
	b->used_ms = now_ms;
	for (size_t i = 0; i < b->sent_count; i++)
		if (endpoint_equal(&b->sent[i], to))
			return b;
	if (b->sent_count == SIM_NAT_SENT)
		abort(); /* the server has no more endpoints than that */
	b->sent[b->sent_count++] = *to;
	return b;
}

static bool lets_in(const struct sim_nat *n, const struct sim_binding *b, const struct endpoint *from)
{
	const enum stunway_behavior filter = n->line == LINE_OPEN ? STUNWAY_ENDPOINT_INDEPENDENT : n->filtering;
	const struct endpoint who = seen(filter, from);

	for (size_t i = 0; i < b->sent_count; i++) {
		const struct endpoint opened = seen(filter, &b->sent[i]);

		if (endpoint_equal(&opened, &who))
			return true;
	}
	return false;
}

static struct endpoint across(const struct sim_nat *n, struct endpoint e, uint32_t change)
{
	const bool is_a = endpoint_same_ip(&e, &n->a), is_first = e.port == n->a.port;
	struct endpoint to = is_a == !(change & STUN_CHANGE_IP) ? n->a : n->b;

	if (!is_a && !endpoint_same_ip(&e, &n->b))
		return e; /* somebody else, who changes nothing */
	to.port = is_first == !(change & STUN_CHANGE_PORT) ? n->a.port : n->second_port;
	return to;
}

/* The server's answer, and whence it comes; 0 for none. */
static size_t answer(const struct sim_nat *n, const struct sim_packet *p, const struct endpoint *outer, struct endpoint *from, uint8_t buf[256])
{
	const struct endpoint other = n->other.family ? n->other : across(n, p->from, STUN_CHANGE_IP | STUN_CHANGE_PORT);
	struct stun_message m;
	struct stun_value change = { .u32 = 0 };

	if (stun_decode(&m, p->bytes, p->len) < 0)
		abort(); /* what the machines under test send always decodes */
	if (stun_get(&m, STUN_CHANGE_REQUEST, &change) < 0 || n->ignores_change)
		change.u32 = 0;
	*from = p->from;
	if (n->code || (change.u32 && n->change_code))
		return sim_refusal(buf, p->bytes, p->len, n->code ? n->code : n->change_code);
	*from = across(n, p->from, change.u32);
	if (change.u32 && sim_below(100) < n->handover_loss)
		return 0;
	if (n->b_dead && (endpoint_same_ip(from, &n->b) || endpoint_same_ip(&p->from, &n->b)))
		return 0;
	if (n->a_dead && (endpoint_same_ip(from, &n->a) || endpoint_same_ip(&p->from, &n->a)))
		return 0;
	return sim_answer(buf, p->bytes, p->len, outer, n->alone ? NULL : &other);
}

/* Whether the server has answered as much as it will by now (a bucket of a second's answers). */
static bool is_weary(struct sim_nat *n, uint64_t now_ms)
{
	uint64_t full_ms = n->full_ms > now_ms ? n->full_ms : now_ms;

	if (n->rate == 0)
		return false;
	full_ms += 1000 / n->rate;
	if (full_ms > now_ms + 1000)
		return true;
	n->full_ms = full_ms;
	return false;
}

/* A request has reached the NAT: mapped, answered, filtered. */
static void serve(struct sim_nat *n, struct sim *s, const struct sim_packet *p)
{
	const struct sim_binding *b = nat_out(n, p->slot & ~UP, &p->from, s->now_ms);
	struct endpoint from;
	uint8_t bytes[256];
	const size_t len = is_weary(n, s->now_ms) ? 0 : answer(n, p, &b->outer, &from, bytes);

	if (len && lets_in(n, b, &from))
		carry(n, s, b->slot, &from, bytes, len);
}

bool sim_nat_take(struct sim_nat *n, struct sim *s, struct sim_packet *out)
{
	while (sim_take(s, out)) {
		if (!(out->slot & UP))
			return true;
		serve(n, s, out);
	}
	return false;
}
