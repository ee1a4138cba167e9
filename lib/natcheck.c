/* SPDX-License-Identifier: MIT */
#include "lib/natcheck.h"

/* Those of the mapping come first. */
enum question { MAP_PRIMARY, MAP_OTHER, MAP_PORT, FILTER_PRIMARY, FILTER_BOTH, FILTER_PORT };
enum question_state { QUIET, ASKING, ANSWERED, SILENT };

static const struct transaction_timing mapping_timing = { .rto_ms = 500, .rc = 4, .rm = 2, .stream_ms = 5000 };
/* Silence counts only where CHANGE-REQUEST is asked: sent more often, and waited for longer. */
static const struct transaction_timing filtering_timing = { .rto_ms = 500, .rc = 5, .rm = 4 };
#define FILTERING_RTO_MIN_MS 200
#define FILTERING_RTO_MAX_MS 2000

static const struct {
	unsigned slot;
	uint32_t change; /* CHANGE-REQUEST's value, 0: none */
} rows[NATCHECK_QUESTIONS] = {
	[MAP_PRIMARY] = { 0, 0 },
	[MAP_OTHER] = { 0, 0 },
	[MAP_PORT] = { 0, 0 },
	[FILTER_PRIMARY] = { 1, 0 },
	[FILTER_BOTH] = { 1, STUN_CHANGE_IP | STUN_CHANGE_PORT },
	[FILTER_PORT] = { 1, STUN_CHANGE_PORT },
};

/* The plain question's round trip spaces those about the filter: a short line has its verdict sooner. */
static struct transaction_timing timing_of(const struct natcheck *c, enum question which)
{
	struct transaction_timing t = filtering_timing;

	if (rows[which].change == 0)
		return mapping_timing;
	if (c->rtt_ms) {
		t.rto_ms = 2 * c->rtt_ms;
		if (t.rto_ms < FILTERING_RTO_MIN_MS)
			t.rto_ms = FILTERING_RTO_MIN_MS;
		if (t.rto_ms > FILTERING_RTO_MAX_MS)
			t.rto_ms = FILTERING_RTO_MAX_MS;
	}
	return t;
}

static void ask(struct natcheck *c, enum question which, const struct endpoint *to, uint64_t now_ms)
{
	const struct transaction_timing timing = timing_of(c, which);
	struct natcheck_question *q = &c->questions[which];
	uint8_t chosen[12];

	c->random(chosen, sizeof(chosen));
	transaction_start(&q->transaction, chosen, &timing, c->stream, now_ms);
	q->to = *to;
	q->state = ASKING;
}

static void ask_primary(struct natcheck *c, uint64_t now_ms)
{
	c->second = c->primary + 1; /* those before it were silent */
	ask(c, MAP_PRIMARY, &c->servers[c->primary], now_ms);
	c->questions[FILTER_PORT].state = QUIET; /* was asked of another server, if at all */
	if (c->stream || c->questions[FILTER_BOTH].state == ANSWERED)
		return;
	c->questions[FILTER_BOTH].state = QUIET;
	ask(c, FILTER_PRIMARY, &c->servers[c->primary], now_ms);
}

void natcheck_init(struct natcheck *c, bool stream, const struct endpoint *servers, size_t count,
	void (*random)(void *buf, size_t len), uint64_t now_ms)
{
	*c = (struct natcheck){ .stream = stream, .random = random,
		.server_count = count < NATCHECK_SERVERS ? count : NATCHECK_SERVERS };
	memcpy(c->servers, servers, c->server_count * sizeof(*servers));
	ask_primary(c, now_ms);
}

/* The next configured server with another address than the primary's; NULL when there is none left. */
static const struct endpoint *second_server(struct natcheck *c)
{
	while (c->second < c->server_count) {
		const struct endpoint *s = &c->servers[c->second++];

		if (!endpoint_same_ip(s, &c->servers[c->primary]))
			return s;
	}
	return NULL;
}

static bool has_other(const struct natcheck *c)
{
	return c->other.family != ENDPOINT_NONE;
}

static enum stunway_behavior mapping_verdict(const struct natcheck_question *q)
{
	if (q[MAP_PRIMARY].state != ANSWERED || q[MAP_OTHER].state != ANSWERED)
		return STUNWAY_BEHAVIOR_UNKNOWN;
	if (endpoint_equal(&q[MAP_PRIMARY].outer, &q[MAP_OTHER].outer))
		return STUNWAY_ENDPOINT_INDEPENDENT;
	if (q[MAP_PORT].state == ANSWERED && !endpoint_equal(&q[MAP_PRIMARY].outer, &q[MAP_PORT].outer))
		return STUNWAY_ADDRESS_AND_PORT_DEPENDENT;
	return STUNWAY_ADDRESS_DEPENDENT;
}

/* The server's own second address answers both halves; another server only the mapping's. */
static void after_map_primary(struct natcheck *c, uint64_t now_ms)
{
	const struct endpoint *primary = &c->servers[c->primary];
	const struct endpoint *second;

	if (has_other(c)) {
		struct endpoint port = *primary;

		port.port = c->other.port;
		ask(c, MAP_OTHER, &c->other, now_ms);
		if (port.port != primary->port)
			ask(c, MAP_PORT, &port, now_ms);
	} else if ((second = second_server(c))) {
		ask(c, MAP_OTHER, second, now_ms);
	} else {
		c->alone = true;
	}
}

static void after_filter_primary(struct natcheck *c, uint64_t now_ms)
{
	if (!has_other(c))
		return;
	for (size_t i = 0; i < c->primary; i++)
		if (endpoint_same_ip(&c->servers[i], &c->other))
			return; /* this slot wrote there already, and so opened the filter */
	ask(c, FILTER_BOTH, &c->servers[c->primary], now_ms);
	ask(c, FILTER_PORT, &c->servers[c->primary], now_ms);
}

/*
 * OTHER-ADDRESS (CHANGED-ADDRESS of RFC 3489) of a server that really has a second address.
 * A server on the Internet must not send us to knock at doors of our own LAN.
 */
static void learn_other(struct natcheck *c, const struct stun_message *m)
{
	const struct endpoint *primary = &c->servers[c->primary];
	struct stun_value v;

	if (has_other(c))
		return; /* the first counts */
	if (stun_get(m, STUN_OTHER_ADDRESS, &v) < 0 && stun_get(m, STUN_CHANGED_ADDRESS, &v) < 0)
		return;
	if (v.endpoint.family == primary->family && !endpoint_same_ip(&v.endpoint, primary) &&
		endpoint_is_host(&v.endpoint) && (endpoint_is_local(primary) || !endpoint_is_local(&v.endpoint)))
		c->other = v.endpoint;
}

static void after_silence(struct natcheck *c, enum question which, uint64_t now_ms)
{
	const struct endpoint *second;

	if (which == MAP_PRIMARY && c->primary + 1 < c->server_count) {
		c->primary++;
		c->other = (struct endpoint){ 0 };
		ask_primary(c, now_ms);
	} else if (which == MAP_OTHER && (second = second_server(c))) {
		ask(c, MAP_OTHER, second, now_ms); /* a second address, or another server, is dead: ask the next */
	}
}

/*
 * Silence says "filtered" only of an other address that is known to live: it answered
 * the mapping slot's plain question.
 */
static enum stunway_behavior filtering_verdict(const struct natcheck *c)
{
	const struct natcheck_question *q = c->questions;

	if (q[FILTER_BOTH].state == ANSWERED)
		return STUNWAY_ENDPOINT_INDEPENDENT;
	if (q[FILTER_BOTH].state != SILENT || q[MAP_OTHER].state != ANSWERED || !endpoint_equal(&q[MAP_OTHER].to, &c->other))
		return STUNWAY_BEHAVIOR_UNKNOWN;
	if (q[FILTER_PORT].state == QUIET)
		return STUNWAY_BEHAVIOR_UNKNOWN;
	return q[FILTER_PORT].state == ANSWERED ? STUNWAY_ADDRESS_DEPENDENT : STUNWAY_ADDRESS_AND_PORT_DEPENDENT;
}

static size_t write_question(struct natcheck *c, enum question which)
{
	struct stun_builder b;

	stun_begin(&b, c->message, sizeof(c->message), STUN_REQUEST, STUN_BINDING, c->questions[which].transaction.id);
	if (rows[which].change)
		stun_put_u32(&b, STUN_CHANGE_REQUEST, rows[which].change);
	return stun_end(&b);
}

/* Whether one of the first n questions is still being asked. */
static bool asking(const struct natcheck *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c->questions[i].state == ASKING)
			return true;
	return false;
}

enum inquiry_action natcheck_step(struct natcheck *c, uint64_t now_ms, struct inquiry_step *step)
{
	for (size_t i = 0; i < NATCHECK_QUESTIONS; i++) {
		struct natcheck_question *q = &c->questions[i];

		if (q->state != ASKING)
			continue;
		switch (transaction_step(&q->transaction, now_ms)) {
		case TRANSACTION_WAIT:
			break;
		case TRANSACTION_SEND:
			*step = (struct inquiry_step){ rows[i].slot, q->to, c->message, write_question(c, (enum question)i) };
			return INQUIRY_SEND;
		case TRANSACTION_FAILED:
			q->state = SILENT;
			after_silence(c, (enum question)i, now_ms);
			return natcheck_step(c, now_ms, step);
		}
	}
	if (!c->mapping_known && !asking(c, FILTER_PRIMARY)) {
		c->mapping = mapping_verdict(c->questions);
		c->mapping_known = true;
	}
	if (asking(c, NATCHECK_QUESTIONS))
		return INQUIRY_WAIT;
	c->filtering = filtering_verdict(c);
	c->done = true;
	return INQUIRY_DONE;
}

/* Whether an answer from there is what was asked for: a changed one must come from the changed address. */
static bool expected_from(const struct natcheck *c, enum question which, const struct endpoint *from)
{
	struct endpoint want = c->questions[which].to;

	if (rows[which].change & STUN_CHANGE_IP)
		want = c->other;
	else if (rows[which].change & STUN_CHANGE_PORT)
		want.port = c->other.port;
	return endpoint_equal(from, &want);
}

static void answered(struct natcheck *c, enum question which, const struct stun_message *m, uint64_t now_ms)
{
	struct natcheck_question *q = &c->questions[which];

	q->state = ANSWERED;
	if (which == MAP_PRIMARY || which == FILTER_PRIMARY)
		learn_other(c, m);
	if (which == MAP_PRIMARY)
		after_map_primary(c, now_ms);
	if (mapping_verdict(c->questions) == STUNWAY_ENDPOINT_INDEPENDENT)
		c->questions[MAP_PORT].state = QUIET; /* it tells only the other two apart */
	if (which == FILTER_PRIMARY) {
		c->rtt_ms = transaction_rtt_ms(&q->transaction, now_ms);
		after_filter_primary(c, now_ms);
	}
}

/* What RFC 8489 section 6.3.3 lets us use, and a hole would hold. */
static bool usable(const struct stun_message *m, const struct endpoint *from, struct endpoint *outer)
{
	struct endpoint e;

	if (m->class != STUN_SUCCESS || m->unknown_count > 0 || stun_mapped(m, &e) < 0 || e.family != from->family ||
		!endpoint_is_host(&e))
		return false;
	*outer = e;
	return true;
}

/* Not silence: a server that refuses CHANGE-REQUEST, or answers it from where it was asked, says nothing about the NAT's filter. */
static void refused(struct natcheck_question *q, unsigned slot, uint64_t now_ms)
{
	if (slot == 1)
		q->state = QUIET;
	else
		transaction_abort(&q->transaction, now_ms);
}

bool natcheck_receive(struct natcheck *c, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms)
{
	struct stun_message m;

	if (stun_decode(&m, bytes, len) < 0)
		return false;
	for (size_t i = 0; i < NATCHECK_QUESTIONS; i++) {
		struct natcheck_question *q = &c->questions[i];

		if (q->state != ASKING || rows[i].slot != slot || !transaction_answers(&q->transaction, &m))
			continue;
		if ((m.class == STUN_ERROR || rows[i].change) && endpoint_equal(from, &q->to))
			refused(q, rows[i].slot, now_ms);
		else if (expected_from(c, (enum question)i, from) && usable(&m, from, &q->outer))
			answered(c, (enum question)i, &m, now_ms);
		else
			return false;
		return true;
	}
	return false;
}

void natcheck_break(struct natcheck *c, const struct endpoint *to, uint64_t now_ms)
{
	for (size_t i = 0; i < NATCHECK_QUESTIONS; i++)
		if (c->questions[i].state == ASKING && endpoint_equal(&c->questions[i].to, to))
			refused(&c->questions[i], rows[i].slot, now_ms);
}

uint64_t natcheck_wake_ms(const struct natcheck *c)
{
	uint64_t wake_ms = UINT64_MAX;

	for (size_t i = 0; i < NATCHECK_QUESTIONS; i++)
		if (c->questions[i].state == ASKING && c->questions[i].transaction.wake_ms < wake_ms)
			wake_ms = c->questions[i].transaction.wake_ms;
	return c->done ? UINT64_MAX : wake_ms == UINT64_MAX ? 0 : wake_ms;
}
