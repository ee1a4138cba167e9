/* SPDX-License-Identifier: MIT */
#include "lib/hole.h"

#include <errno.h>

/*
 * A hole has several servers and a client that waits at most 10 s, so it gives one up
 * sooner than RFC 8489's 39.5 s: sent at 0, 0.5 and 1.5 s, given up at 2.5 s.
 */
static const struct transaction_timing timing = { .rto_ms = 500, .rc = 3, .rm = 2, .stream_ms = 4000 };

/* On a connection that stands TCP repeats what was lost after 0.2 and 0.6 s, and a round trip each. */
#define STANDING_MS 1000

#define SLOWEST_MS	  30000 /* between questions of a lost hole */
#define ROUNDS_MAX	  5	/* 1000 ms << 5: slower than the slowest */
#define LOST_AFTER	  2	/* failures in a row at least */
#define DISAGREEMENTS_MAX 4	/* then the NAT maps by destination */
#define BROKEN_MAX	  10	/* 500 ms << 10: about eight minutes, longer than any keepalive */

static uint32_t random_below(const struct hole *h, uint32_t bound)
{
	uint32_t r;

	h->config.random(&r, sizeof(r));
	return bound ? r % bound : 0;
}

void hole_init(struct hole *h, const struct hole_config *config, uint64_t now_ms)
{
	*h = (struct hole){ .config = *config, .next_ms = now_ms };
}

uint64_t hole_wake_ms(const struct hole *h)
{
	if (h->event != HOLE_WAIT)
		return 0;
	return h->asking ? h->question.wake_ms : h->next_ms;
}

static void ask_at(struct hole *h, uint64_t when_ms)
{
	h->asking = false;
	h->next_ms = when_ms;
}

static void lose(struct hole *h)
{
	if (h->state == HOLE_OPEN) {
		h->state = HOLE_LOST;
		h->event = HOLE_GONE;
	}
}

/* The connection may be one that the NAT forgot: another is tried at once, and only its failure is a server's. */
static void distrust(struct hole *h, uint64_t now_ms)
{
	h->stands = h->standing = false;
	if (h->failures < UINT8_MAX)
		h->failures++;
	h->turn++;
	h->rested = false;
	ask_at(h, now_ms);
}

/* Every server has its turn at once; a whole round without an answer slows down, 1 s, 2 s, … 30 s. */
static void fail(struct hole *h, size_t servers, uint64_t now_ms)
{
	uint32_t wait_ms = 0;

	if (h->failures < UINT8_MAX)
		h->failures++;
	h->turn++;
	h->rested = false; /* what was not answered may have reached the NAT */
	if (h->state == HOLE_OPEN)
		h->event = HOLE_SUSPECT;
	if (++h->tried >= servers) {
		h->tried = 0;
		wait_ms = h->rounds < ROUNDS_MAX ? 1000u << h->rounds++ : SLOWEST_MS;
	}
	if (h->rounds > 0 && h->failures >= LOST_AFTER)
		lose(h);
	ask_at(h, now_ms + wait_ms);
}

static void start_question(struct hole *h, const struct endpoint *server, uint64_t now_ms)
{
	struct transaction_timing patience = timing;
	uint8_t chosen[12];

	h->standing = h->stands && endpoint_equal(server, &h->asked);
	if (h->standing)
		patience.stream_ms = STANDING_MS + 2 * h->rtt_ms;
	h->config.random(chosen, sizeof(chosen));
	transaction_start(&h->question, chosen, &patience, h->config.stream, now_ms);
	if (h->rested)
		h->silent_ms = now_ms - h->heard_ms < UINT32_MAX ? (uint32_t)(now_ms - h->heard_ms) : UINT32_MAX;
	h->asked = *server;
	h->asking = true;
}

static void write_question(struct hole *h, struct hole_step *step)
{
	struct stun_builder b;

	stun_begin(&b, h->message, sizeof(h->message), STUN_REQUEST, STUN_BINDING, h->question.id);
	step->to = h->asked;
	step->bytes = h->message;
	step->len = stun_end(&b);
}

enum hole_action hole_step(struct hole *h, const struct endpoint *servers, size_t count, uint64_t now_ms,
	struct hole_step *step)
{
	if (h->event != HOLE_WAIT) {
		const enum hole_action told = (enum hole_action)h->event;

		step->disagree = h->torn;
		h->event = HOLE_WAIT;
		return told;
	}
	if (!h->asking) {
		if (now_ms < h->next_ms)
			return HOLE_WAIT;
		if (count == 0) {
			ask_at(h, now_ms + 1000);
			return HOLE_WAIT;
		}
		start_question(h, &servers[h->turn % count], now_ms);
	}
	switch (transaction_step(&h->question, now_ms)) {
	case TRANSACTION_SEND:
		write_question(h, step);
		return HOLE_SEND;
	case TRANSACTION_FAILED:
		step->to = h->asked;
		step->stale = h->standing;
		if (h->standing)
			distrust(h, now_ms);
		else
			fail(h, count, now_ms);
		return HOLE_FAILED; /* the caller may choose who is asked next */
	case TRANSACTION_WAIT:
		break;
	}
	return HOLE_WAIT;
}

/*
 * Keepalives spread over the interval: what makes many holes ask at one moment (they
 * open, or are all rechecked) is followed by a rest of any length, then the phase stays.
 */
static void rest(struct hole *h, uint64_t now_ms)
{
	const uint32_t full = h->config.keepalive_ms;

	ask_at(h, now_ms + full - (h->spread ? random_below(h, full) : 0));
	h->spread = false;
	h->rested = true;
}

static void learn(struct hole *h, const struct endpoint *outer, enum hole_action event, uint64_t now_ms)
{
	h->spread |= h->state != HOLE_OPEN;
	h->before = h->outer;
	h->outer = *outer;
	h->state = HOLE_OPEN;
	h->event = (uint8_t)event;
	h->disagreements = 0;
	h->torn = h->anew = false;
	h->candidate = (struct endpoint){ 0 };
	rest(h, now_ms);
}

/* An answer that deviates is believed when a second says the same, by another server if there is one. */
static void deviate(struct hole *h, const struct endpoint *outer, uint64_t now_ms)
{
	if (endpoint_equal(&h->candidate, outer)) {
		learn(h, outer, h->state == HOLE_OPEN ? HOLE_CHANGED : HOLE_OPENED, now_ms);
		return;
	}
	h->candidate = *outer;
	h->turn++;
	if (h->state == HOLE_OPEN)
		h->event = HOLE_SUSPECT;
	if (++h->disagreements < DISAGREEMENTS_MAX) {
		ask_at(h, now_ms);
		return;
	}
	lose(h);
	h->torn = true;
	h->disagreements = DISAGREEMENTS_MAX - 2; /* two more questions each time */
	h->candidate = (struct endpoint){ 0 };
	ask_at(h, now_ms + SLOWEST_MS);
}

static void answered(struct hole *h, const struct endpoint *outer, uint64_t now_ms)
{
	const uint32_t rtt_ms = transaction_rtt_ms(&h->question, now_ms);

	if (rtt_ms)
		h->rtt_ms = rtt_ms;
	h->heard_ms = now_ms;
	h->failures = 0;
	h->tried = 0;
	h->rounds = 0;
	h->stands = h->config.stream;
	if (!h->unproven)
		h->broken = 0;
	h->unproven = false;
	if (h->state != HOLE_OPEN && !h->torn) {
		learn(h, outer, HOLE_OPENED, now_ms);
	} else if (h->state == HOLE_OPEN && endpoint_equal(&h->outer, outer)) {
		h->candidate = (struct endpoint){ 0 };
		h->disagreements = 0;
		h->anew = false;
		if (h->rested)
			h->event = HOLE_HELD;
		rest(h, now_ms);
	} else if (h->state == HOLE_OPEN && h->anew) {
		learn(h, outer, HOLE_CHANGED, now_ms);
	} else {
		h->rested = false;
		deviate(h, outer, now_ms);
	}
}

bool hole_receive(struct hole *h, const struct endpoint *from, const void *bytes, size_t len, uint64_t now_ms)
{
	struct stun_message m;
	struct endpoint outer;

	if (!h->asking || !endpoint_equal(from, &h->asked) || stun_decode(&m, bytes, len) < 0 ||
		!transaction_answers(&h->question, &m))
		return false;
	if (m.class == STUN_SUCCESS && m.unknown_count == 0 && stun_mapped(&m, &outer) == 0 && outer.family == from->family &&
		endpoint_is_host(&outer))
		answered(h, &outer, now_ms);
	else
		transaction_abort(&h->question, now_ms); /* this server does not serve us */
	return true;
}

void hole_break(struct hole *h, const struct endpoint *server, uint64_t now_ms)
{
	uint64_t again_ms;

	if (h->owned || !endpoint_equal(server, &h->asked))
		return;
	h->unproven = true;
	h->stands = false;
	if (h->asking) {
		transaction_abort(&h->question, now_ms);
		return;
	}
	if (h->failures > 0)
		return; /* what broke held nothing, and the next question has its time */
	/* A server that hangs up after each answer is not asked each second. */
	if (h->broken < BROKEN_MAX)
		h->broken++;
	again_ms = now_ms + (500u << h->broken);
	if (again_ms < h->next_ms)
		h->next_ms = again_ms;
}

void hole_closed(struct hole *h)
{
	h->stands = false;
}

void hole_keepalive(struct hole *h, uint32_t keepalive_ms, uint64_t now_ms)
{
	h->config.keepalive_ms = keepalive_ms;
	if (h->asking || h->owned || h->state != HOLE_OPEN || h->next_ms <= h->heard_ms + keepalive_ms)
		return;
	h->next_ms = h->heard_ms + keepalive_ms;
	if (h->next_ms < now_ms)
		h->next_ms = now_ms;
	h->spread = true; /* others hurry, too */
}

bool hole_begins(const struct hole *h, uint64_t now_ms, bool *retry)
{
	*retry = h->failures > 0 || h->disagreements > 0;
	return h->event == HOLE_WAIT && !h->asking && now_ms >= h->next_ms;
}

uint32_t hole_server(const struct hole *h)
{
	return h->turn;
}

void hole_choose(struct hole *h, uint32_t server)
{
	h->turn = server;
}

void hole_defer(struct hole *h, uint64_t until_ms)
{
	if (!h->asking)
		h->next_ms = until_ms;
}

bool hole_sure(const struct hole *h, uint64_t now_ms)
{
	return h->state == HOLE_OPEN && h->failures == 0 && h->disagreements == 0 && !h->spread && !h->unproven &&
		now_ms - h->heard_ms <= h->config.keepalive_ms + timing.stream_ms;
}

void hole_recheck(struct hole *h, uint64_t now_ms)
{
	if (h->asking || h->owned || now_ms >= h->next_ms)
		return;
	h->next_ms = now_ms;
	h->spread = true;
}

void hole_own(struct hole *h, const struct endpoint *own, uint64_t now_ms)
{
	const bool known = own && h->state == HOLE_OPEN && endpoint_equal(&h->outer, own);

	if (!own && h->owned)
		ask_at(h, now_ms);
	if (own && !known)
		learn(h, own, h->state == HOLE_OPEN ? HOLE_CHANGED : HOLE_OPENED, now_ms);
	if (own)
		ask_at(h, UINT64_MAX);
	h->owned = own != NULL;
}

void hole_restart(struct hole *h, uint64_t now_ms)
{
	if (h->owned)
		return; /* it asks nobody */
	h->failures = 0;
	h->tried = 0;
	h->rounds = 0;
	h->broken = 0;
	h->unproven = false;
	h->spread = true;
	ask_at(h, now_ms);
}

void hole_anew(struct hole *h, uint64_t now_ms)
{
	const struct endpoint said = h->candidate;

	if (h->owned)
		return;
	if (h->state == HOLE_OPEN && said.port) {
		learn(h, &said, HOLE_CHANGED, now_ms);
		return;
	}
	h->anew = true;
	if (!h->asking || h->standing)
		hole_restart(h, now_ms);
}
