/* SPDX-License-Identifier: MIT */
#include "lib/hairpin.h"

#include <stdlib.h>

#include "lib/evidence.h"
#include "lib/transaction.h"

static const struct transaction_timing plain_timing = { .rto_ms = 500, .rc = 5, .rm = 4 };
#define ROUNDS_MAX 3 /* of plain questions, until the server is called silent */

#define GAP_MS	   200 /* between turns: a knock from each side, and a control */
#define TURNS_MAX  64
#define REMEMBERED 16 /* controls: answers may be late by so many turns */
#define WAIT_MIN_MS 500
#define WAIT_MAX_MS 3000

struct side {
	struct endpoint local, outer; /* family NONE: not known yet */
	struct transaction question;  /* for the outer endpoint */
	unsigned rounds;
	uint8_t knock[STUN_ID_LEN]; /* the id that all its knocks at the other side have */
};

struct control {
	uint8_t id[STUN_ID_LEN];
	uint64_t sent_ms;
	bool open;
};

struct hairpin {
	struct hairpin_config config;
	struct hairpin_result result; /* but for `outer` */
	struct side sides[HAIRPIN_SLOTS];
	struct control controls[REMEMBERED];
	unsigned turns, to_send; /* to_send: of this turn; 2 the control, 1 and 0 a knock from that side */
	unsigned heard;		 /* controls answered */
	uint32_t rtt_ms;
	bool trying, told; /* told: silence tells, unless something is just late */
	uint64_t next_ms;  /* trying: the next turn, or the end of patience */
	uint8_t message[STUN_HEADER_LEN];
};

static void new_id(const struct hairpin *h, uint8_t id[STUN_ID_LEN])
{
	uint8_t chosen[12];

	h->config.random(chosen, sizeof(chosen));
	stun_id(id, chosen);
}

static void ask(struct hairpin *h, struct side *s, uint64_t now_ms)
{
	uint8_t chosen[12];

	h->config.random(chosen, sizeof(chosen));
	transaction_start(&s->question, chosen, &plain_timing, false, now_ms);
}

struct hairpin *hairpin_new(const struct hairpin_config *config, uint64_t now_ms)
{
	struct hairpin *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->config = *config;
	for (size_t i = 0; i < HAIRPIN_SLOTS; i++) {
		new_id(h, h->sides[i].knock);
		ask(h, &h->sides[i], now_ms);
	}
	return h;
}

void hairpin_free(struct hairpin *h)
{
	free(h);
}

static bool known(const struct endpoint *e)
{
	return e->family != ENDPOINT_NONE;
}

static void finish(struct hairpin *h, enum hairpin_answer answer)
{
	h->result.answer = answer;
	h->result.done = true;
}

/* Both outer endpoints are known. */
static void try_it(struct hairpin *h, uint64_t now_ms)
{
	h->trying = true;
	h->next_ms = now_ms;
	for (size_t i = 0; i < HAIRPIN_SLOTS; i++)
		if (endpoint_equal(&h->sides[i].local, &h->sides[i].outer))
			finish(h, HAIRPIN_NO_NAT);
}

static void compose(struct hairpin *h, unsigned slot, const struct endpoint *to, const uint8_t id[STUN_ID_LEN],
	struct inquiry_step *step)
{
	struct stun_builder b;

	stun_begin(&b, h->message, sizeof(h->message), STUN_REQUEST, STUN_BINDING, id);
	*step = (struct inquiry_step){ slot, *to, h->message, stun_end(&b) };
}

static enum inquiry_action learn_step(struct hairpin *h, uint64_t now_ms, struct inquiry_step *step)
{
	for (unsigned i = 0; i < HAIRPIN_SLOTS; i++) {
		struct side *s = &h->sides[i];

		if (known(&s->outer))
			continue;
		switch (transaction_step(&s->question, now_ms)) {
		case TRANSACTION_WAIT:
			break;
		case TRANSACTION_SEND:
			compose(h, i, &h->config.server, s->question.id, step);
			return INQUIRY_SEND;
		case TRANSACTION_FAILED:
			if (++s->rounds == ROUNDS_MAX) {
				finish(h, HAIRPIN_UNKNOWN);
				return INQUIRY_DONE;
			}
			ask(h, s, now_ms);
			return learn_step(h, now_ms, step);
		}
	}
	return INQUIRY_WAIT;
}

/* The sides take turns with the control, so that both mappings stay in use. */
static void turn_step(struct hairpin *h, uint64_t now_ms, struct inquiry_step *step)
{
	struct control *c = &h->controls[h->turns % REMEMBERED];

	if (h->to_send < HAIRPIN_SLOTS) {
		compose(h, h->to_send, &h->sides[1 - h->to_send].outer, h->sides[h->to_send].knock, step);
		return;
	}
	*c = (struct control){ .sent_ms = now_ms, .open = true };
	new_id(h, c->id);
	compose(h, h->turns % HAIRPIN_SLOTS, &h->config.server, c->id, step);
	h->turns++;
}

static enum inquiry_action try_step(struct hairpin *h, uint64_t now_ms, struct inquiry_step *step)
{
	if (h->to_send == 0 && now_ms < h->next_ms)
		return INQUIRY_WAIT;
	if (h->to_send == 0 && (h->told || h->turns == TURNS_MAX)) {
		finish(h, h->told ? HAIRPIN_NO : HAIRPIN_UNKNOWN);
		return INQUIRY_DONE;
	}
	if (h->to_send == 0) {
		h->to_send = HAIRPIN_SLOTS + 1;
		h->next_ms = now_ms + (h->turns + 1 < TURNS_MAX ? GAP_MS : WAIT_MAX_MS);
	}
	h->to_send--;
	turn_step(h, now_ms, step);
	return INQUIRY_SEND;
}

enum inquiry_action hairpin_step(struct hairpin *h, uint64_t now_ms, struct inquiry_step *step)
{
	if (h->result.done)
		return INQUIRY_DONE;
	return h->trying ? try_step(h, now_ms, step) : learn_step(h, now_ms, step);
}

static bool learned(struct hairpin *h, struct side *s, const struct stun_message *m, uint64_t now_ms)
{
	struct endpoint e;

	if (known(&s->outer) || !transaction_answers(&s->question, m))
		return false;
	if (m->class == STUN_ERROR) {
		transaction_abort(&s->question, now_ms);
		return true;
	}
	if (m->unknown_count > 0 || stun_mapped(m, &e) < 0 || e.family != h->config.server.family || !endpoint_is_host(&e))
		return false;
	s->outer = e;
	if (known(&h->sides[0].outer) && known(&h->sides[1].outer))
		try_it(h, now_ms);
	return true;
}

/* Of the knocks one turn opened the filters only. */
static bool control_heard(struct hairpin *h, const struct stun_message *m, uint64_t now_ms)
{
	for (size_t i = 0; i < REMEMBERED; i++) {
		struct control *c = &h->controls[i];

		if (!c->open || memcmp(c->id, m->id, STUN_ID_LEN) != 0)
			continue;
		c->open = false;
		h->heard++;
		if (now_ms - c->sent_ms > h->rtt_ms)
			h->rtt_ms = now_ms - c->sent_ms < WAIT_MAX_MS ? (uint32_t)(now_ms - c->sent_ms) : WAIT_MAX_MS;
		if (!h->told && evidence_tells((h->turns - 1) * HAIRPIN_SLOTS, (struct tally){ (uint16_t)h->turns, (uint16_t)h->heard })) {
			h->told = true;
			h->to_send = 0;
			h->next_ms = now_ms + (h->rtt_ms < WAIT_MIN_MS / 2 ? WAIT_MIN_MS :
					h->rtt_ms > WAIT_MAX_MS / 2 ? WAIT_MAX_MS : 2 * h->rtt_ms);
		}
		return true;
	}
	return false;
}

/* A knock of the other side's. */
static bool looped_back(struct hairpin *h, const struct side *sender, const struct endpoint *from, const struct stun_message *m)
{
	if (m->class != STUN_REQUEST || memcmp(m->id, sender->knock, STUN_ID_LEN) != 0)
		return false;
	if (endpoint_same_ip(from, &sender->outer))
		h->result.source = HAIRPIN_EXTERNAL;
	else if (endpoint_same_ip(from, &sender->local))
		h->result.source = HAIRPIN_INTERNAL;
	finish(h, HAIRPIN_YES);
	return true;
}

bool hairpin_receive(struct hairpin *h, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms)
{
	struct stun_message m;

	if (h->result.done || slot >= HAIRPIN_SLOTS || stun_decode(&m, bytes, len) < 0 || m.method != STUN_BINDING)
		return false;
	if (h->trying && looped_back(h, &h->sides[1 - slot], from, &m))
		return true;
	if (!endpoint_equal(from, &h->config.server) || (m.class != STUN_SUCCESS && m.class != STUN_ERROR))
		return false;
	return learned(h, &h->sides[slot], &m, now_ms) || control_heard(h, &m, now_ms);
}

uint64_t hairpin_wake_ms(const struct hairpin *h)
{
	uint64_t wake_ms = UINT64_MAX;

	if (h->result.done)
		return wake_ms;
	if (h->trying)
		return h->to_send ? 0 : h->next_ms;
	for (size_t i = 0; i < HAIRPIN_SLOTS; i++)
		if (!known(&h->sides[i].outer) && h->sides[i].question.wake_ms < wake_ms)
			wake_ms = h->sides[i].question.wake_ms;
	return wake_ms;
}

void hairpin_bound(struct hairpin *h, unsigned slot, const struct endpoint *local)
{
	if (slot < HAIRPIN_SLOTS)
		h->sides[slot].local = *local;
}

void hairpin_result(const struct hairpin *h, struct hairpin_result *out)
{
	*out = h->result;
	for (size_t i = 0; i < HAIRPIN_SLOTS; i++)
		out->outer[i] = h->sides[i].outer;
}

static enum inquiry_action any_step(void *machine, uint64_t now_ms, struct inquiry_step *step)
{
	return hairpin_step(machine, now_ms, step);
}

static bool any_receive(void *machine, unsigned slot, const struct endpoint *from, const void *bytes, size_t len, uint64_t now_ms)
{
	return hairpin_receive(machine, slot, from, bytes, len, now_ms);
}

static uint64_t any_wake_ms(const void *machine)
{
	return hairpin_wake_ms(machine);
}

static void any_bound(void *machine, unsigned slot, const struct endpoint *local)
{
	hairpin_bound(machine, slot, local);
}

const struct inquiry hairpin_inquiry = { any_step, any_receive, any_wake_ms, any_bound };
