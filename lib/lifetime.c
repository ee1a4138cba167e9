/* SPDX-License-Identifier: MIT */
#include "lib/lifetime.h"

#include <stdlib.h>

#include "lib/evidence.h"
#include "lib/transaction.h"

/* The asker and the witness are kept alive by plain questions, and asked for their outer endpoints so. */
static const struct transaction_timing plain_timing = { .rto_ms = 500, .rc = 5, .rm = 4 };
#define KEEPALIVE_MS 5000
#define ROUNDS_MAX   3 /* of plain questions, until the server is called silent */
#define OUTAGE_ROUNDS 12 /* of them in a ladder, about two minutes, until it is not waited for any more */
#define WITNESSES_MAX 16 /* until one shares the asker's outer address */

/* Attempts: questions with RESPONSE-PORT. */
#define ATTEMPT_GAP_MS	200
#define ATTEMPTS_MAX	64 /* until neither life nor death is told */
#define ATTEMPTS_FIRST	32 /* until the server is said not to do it at all */
#define REMEMBERED	16 /* answers may be late by so many attempts */

/*
 * An idle slot's one question. Where it is not answered soon, another slot takes its place: Linux counts a
 * mapping as a stream when it is used later than 2 s after it was made, and keeps it longer.
 */
#define OPENING_GAP_MS 25
#define OPENING_MIN_MS 500
#define OPENING_MAX_MS 2000

#define ASKER 0
#define STEPS_MIN_MS 1000 /* between slots of the second pass */
#define STEPS_MAX    14

static const uint16_t ladder_s[] = { 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2700,
	3600, 5400, LIFETIME_MAX_S_MAX };
#define RUNGS_MAX (sizeof(ladder_s) / sizeof(ladder_s[0]))

/* A mapping that is kept alive. */
struct kept {
	unsigned slot;
	struct endpoint outer; /* family NONE: not known yet */
	struct transaction question;
	bool asking;
	unsigned rounds; /* in a row without an answer */
	uint64_t next_ms;
};

struct attempt {
	uint8_t id[STUN_ID_LEN];
	uint64_t sent_ms;
	unsigned number;
	bool open;
};

/* Attempts towards one outer port. */
struct attempts {
	struct attempt last[REMEMBERED];
	unsigned sent;
	uint64_t next_ms;
};

enum rung_state {
	RUNG_CLOSED,  /* settled, or given up */
	RUNG_WANTED,  /* has no slot yet */
	RUNG_OPENING, /* its one question was sent */
	RUNG_IDLE,
	RUNG_TESTING,
};

struct rung {
	enum rung_state state;
	uint64_t idle_ms; /* how long it is left alone */
	unsigned slot;
	uint16_t outer_port;
	uint8_t id[STUN_ID_LEN];
	uint64_t asked_ms, opened_ms; /* its mapping was used last between these two */
	struct attempts attempts;
	unsigned witness_first; /* the witness's attempts during the test begin here … */
	unsigned witness_heard; /* … of which so many were answered */
	bool dead;		/* silence tells, unless an answer is just late */
	uint64_t until_ms;	/* dead: how long a late answer is waited for */
};

struct lifetime {
	struct lifetime_config config;
	enum lifetime_phase phase;
	enum lifetime_reason reason;
	uint16_t code;
	unsigned slots; /* used so far */
	struct kept asker, witness;
	unsigned witnesses; /* tried */
	struct attempts control; /* towards the witness */
	uint32_t rtt_ms;	 /* longest, 0: none measured */
	bool pool;		 /* a slot had another outer address than the asker */
	struct rung rungs[RUNGS_MAX];
	size_t rung_count;
	uint64_t opening_ms;	      /* when the next slot may be opened */
	uint64_t alive_ms, dead_ms;   /* bounds on the lifetime; dead 0: none */
	uint64_t dead_idle_ms;	      /* of the shortest rung that was dead */
	uint8_t message[STUN_HEADER_LEN + 8];
};

struct lifetime *lifetime_new(const struct lifetime_config *config, uint64_t now_ms)
{
	struct lifetime *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->config = *config;
	if (l->config.max_s < LIFETIME_MAX_S_MIN)
		l->config.max_s = LIFETIME_MAX_S_MIN;
	if (l->config.max_s > LIFETIME_MAX_S_MAX)
		l->config.max_s = LIFETIME_MAX_S_MAX;
	l->asker = (struct kept){ .slot = ASKER, .next_ms = now_ms };
	l->slots = 1;
	return l;
}

void lifetime_free(struct lifetime *l)
{
	free(l);
}

static bool known(const struct endpoint *e)
{
	return e->family != ENDPOINT_NONE;
}

static void finish(struct lifetime *l, enum lifetime_reason reason)
{
	l->phase = LIFETIME_DONE;
	l->reason = reason;
}

/* How long an answer may take: less a few it comes within the longest round trip seen. */
static uint32_t patience_ms(const struct lifetime *l, uint32_t min_ms, uint32_t max_ms)
{
	const uint32_t t = l->rtt_ms ? 3 * l->rtt_ms : max_ms;

	return t < min_ms ? min_ms : t > max_ms ? max_ms : t;
}

static void measured(struct lifetime *l, uint64_t rtt_ms)
{
	if (rtt_ms > OPENING_MAX_MS)
		rtt_ms = OPENING_MAX_MS;
	if (rtt_ms > l->rtt_ms)
		l->rtt_ms = (uint32_t)rtt_ms;
}

/* The ladder */

static void want(struct lifetime *l, uint64_t idle_ms)
{
	l->rungs[l->rung_count++] = (struct rung){ .state = RUNG_WANTED, .idle_ms = idle_ms };
}

static void first_pass(struct lifetime *l)
{
	size_t i = 0;

	l->phase = LIFETIME_LADDER;
	while (ladder_s[i] < l->config.max_s)
		want(l, ladder_s[i++] * 1000ull);
	want(l, l->config.max_s * 1000ull);
}

static void second_pass(struct lifetime *l)
{
	const uint64_t width_ms = l->dead_idle_ms > l->alive_ms ? l->dead_idle_ms - l->alive_ms : 0;
	uint64_t steps = width_ms / STEPS_MIN_MS;

	if (steps > STEPS_MAX + 1)
		steps = STEPS_MAX + 1;
	l->phase = LIFETIME_CLOSER;
	l->rung_count = 0;
	for (uint64_t i = 1; i < steps; i++)
		want(l, l->alive_ms + width_ms * i / steps);
}

static void pass_over(struct lifetime *l)
{
	if (l->dead_ms == 0)
		finish(l, l->alive_ms >= l->config.max_s * 1000ull ? LIFETIME_LONGER : l->pool ? LIFETIME_POOL : LIFETIME_UNSTEADY);
	else if (l->phase == LIFETIME_LADDER)
		second_pass(l);
	else
		finish(l, LIFETIME_OK);
}

/* What lived is proven, what was silent is not. */
static void check_bounds(struct lifetime *l)
{
	if (l->dead_ms == 0 || l->alive_ms < l->dead_ms)
		return;
	l->dead_ms = 0;
	finish(l, LIFETIME_UNSTEADY);
}

/* Whatever is shorter lives as well. */
static void is_alive(struct lifetime *l, const struct rung *r, uint64_t sent_ms)
{
	const uint64_t idle_ms = sent_ms - r->opened_ms;

	if (idle_ms > l->alive_ms)
		l->alive_ms = idle_ms;
	for (size_t i = 0; i < l->rung_count; i++)
		if (l->rungs[i].idle_ms <= r->idle_ms)
			l->rungs[i].state = RUNG_CLOSED;
	check_bounds(l);
}

/* Whatever is longer is dead as well. The last attempt would have come to the NAT at most one round trip later. */
static void is_dead(struct lifetime *l, const struct rung *r)
{
	const uint64_t last_ms = r->attempts.next_ms - ATTEMPT_GAP_MS;
	const uint64_t dead_ms = last_ms + l->rtt_ms - r->asked_ms;

	if (l->dead_ms == 0 || dead_ms < l->dead_ms)
		l->dead_ms = dead_ms;
	l->dead_idle_ms = r->idle_ms;
	for (size_t i = 0; i < l->rung_count; i++)
		if (l->rungs[i].idle_ms >= r->idle_ms)
			l->rungs[i].state = RUNG_CLOSED;
	check_bounds(l);
}

static bool over(const struct attempts *a, unsigned max, uint64_t now_ms, uint64_t wait_ms)
{
	return a->sent >= max && now_ms >= a->next_ms - ATTEMPT_GAP_MS + wait_ms;
}

static uint64_t test_ms(const struct rung *r)
{
	return r->opened_ms + r->idle_ms;
}

static void begin_test(struct lifetime *l, struct rung *r, uint64_t now_ms)
{
	r->state = RUNG_TESTING;
	r->attempts.next_ms = now_ms;
	r->witness_first = l->control.sent;
	if (l->control.next_ms < now_ms)
		l->control.next_ms = now_ms;
}

/* What time alone does to a rung. */
static void rung_pass(struct lifetime *l, struct rung *r, uint64_t now_ms)
{
	switch (r->state) {
	case RUNG_CLOSED:
		break;
	case RUNG_WANTED:
		if (l->slots == LIFETIME_SLOTS)
			r->state = RUNG_CLOSED;
		break;
	case RUNG_OPENING:
		if (now_ms >= r->asked_ms + patience_ms(l, OPENING_MIN_MS, OPENING_MAX_MS))
			r->state = RUNG_WANTED;
		break;
	case RUNG_IDLE:
		if (now_ms >= test_ms(r))
			begin_test(l, r, now_ms);
		break;
	case RUNG_TESTING:
		if (r->dead && now_ms >= r->until_ms)
			is_dead(l, r);
		else if (!r->dead && over(&r->attempts, ATTEMPTS_MAX, now_ms, OPENING_MAX_MS))
			r->state = RUNG_CLOSED;
		break;
	}
}

/* Nobody answered: asks anew at once. */
static void kept_pass(struct kept *k, uint64_t now_ms)
{
	if (!k->asking || now_ms < k->question.wake_ms || k->question.sent < plain_timing.rc)
		return;
	k->asking = false;
	k->rounds++;
	k->next_ms = now_ms;
}

static void new_witness(struct lifetime *l, uint64_t now_ms)
{
	l->witness = (struct kept){ .slot = l->slots++, .next_ms = now_ms };
	l->witnesses++;
}

static void start_pass(struct lifetime *l, uint64_t now_ms)
{
	if (l->asker.rounds >= ROUNDS_MAX || l->witness.rounds >= ROUNDS_MAX)
		finish(l, LIFETIME_NO_ANSWER);
	else if (known(&l->asker.outer) && l->witnesses == 0)
		new_witness(l, now_ms);
	else if (known(&l->witness.outer) && !endpoint_same_ip(&l->witness.outer, &l->asker.outer) &&
		l->witnesses == WITNESSES_MAX)
		finish(l, LIFETIME_POOL);
	else if (known(&l->witness.outer) && !endpoint_same_ip(&l->witness.outer, &l->asker.outer))
		new_witness(l, now_ms);
	else if (over(&l->control, ATTEMPTS_FIRST, now_ms, OPENING_MAX_MS))
		finish(l, LIFETIME_NEVER_ARRIVED);
}

static void pass_time(struct lifetime *l, uint64_t now_ms)
{
	bool open = false;

	kept_pass(&l->asker, now_ms);
	kept_pass(&l->witness, now_ms);
	if (l->phase == LIFETIME_STARTING) {
		start_pass(l, now_ms);
		return;
	}
	if (l->asker.rounds >= OUTAGE_ROUNDS && l->witness.rounds >= OUTAGE_ROUNDS)
		finish(l, LIFETIME_UNSTEADY);
	for (size_t i = 0; i < l->rung_count && l->phase != LIFETIME_DONE; i++)
		rung_pass(l, &l->rungs[i], now_ms);
	for (size_t i = 0; i < l->rung_count; i++)
		open = open || l->rungs[i].state != RUNG_CLOSED;
	if (!open && l->phase != LIFETIME_DONE)
		pass_over(l);
}

/* Sending */

static void compose(struct lifetime *l, unsigned slot, const uint8_t id[STUN_ID_LEN], uint32_t response_port,
	struct inquiry_step *step)
{
	struct stun_builder b;

	stun_begin(&b, l->message, sizeof(l->message), STUN_REQUEST, STUN_BINDING, id);
	if (response_port)
		stun_put_u32(&b, STUN_RESPONSE_PORT, response_port);
	*step = (struct inquiry_step){ slot, l->config.server, l->message, stun_end(&b) };
}

static void new_id(const struct lifetime *l, uint8_t id[STUN_ID_LEN])
{
	uint8_t chosen[12];

	l->config.random(chosen, sizeof(chosen));
	stun_id(id, chosen);
}

static bool kept_send(struct lifetime *l, struct kept *k, uint64_t now_ms, struct inquiry_step *step)
{
	uint8_t chosen[12];

	if (k->asking && transaction_step(&k->question, now_ms) == TRANSACTION_SEND) {
		compose(l, k->slot, k->question.id, 0, step);
		return true;
	}
	if (k->asking || now_ms < k->next_ms)
		return false;
	l->config.random(chosen, sizeof(chosen));
	transaction_start(&k->question, chosen, &plain_timing, false, now_ms);
	k->asking = true;
	return kept_send(l, k, now_ms, step);
}

static bool attempt_send(struct lifetime *l, struct attempts *a, uint16_t port, uint64_t now_ms, struct inquiry_step *step)
{
	struct attempt *t = &a->last[a->sent % REMEMBERED];

	if (now_ms < a->next_ms)
		return false;
	*t = (struct attempt){ .sent_ms = now_ms, .number = a->sent++, .open = true };
	new_id(l, t->id);
	a->next_ms = now_ms + ATTEMPT_GAP_MS;
	compose(l, ASKER, t->id, port, step);
	return true;
}

/* Whether a test, or the first try, needs more attempts. */
static bool asks_on(const struct rung *r)
{
	return r->state == RUNG_TESTING && !r->dead && r->attempts.sent < ATTEMPTS_MAX;
}

static bool control_asks_on(const struct lifetime *l)
{
	if (l->phase == LIFETIME_STARTING)
		return known(&l->witness.outer) && endpoint_same_ip(&l->witness.outer, &l->asker.outer) &&
			l->control.sent < ATTEMPTS_FIRST;
	for (size_t i = 0; i < l->rung_count; i++)
		if (asks_on(&l->rungs[i]))
			return true;
	return false;
}

static bool rung_send(struct lifetime *l, struct rung *r, uint64_t now_ms, struct inquiry_step *step)
{
	if (asks_on(r))
		return attempt_send(l, &r->attempts, r->outer_port, now_ms, step);
	if (r->state != RUNG_WANTED || now_ms < l->opening_ms || l->slots == LIFETIME_SLOTS)
		return false;
	*r = (struct rung){ .state = RUNG_OPENING, .idle_ms = r->idle_ms, .slot = l->slots++, .asked_ms = now_ms };
	new_id(l, r->id);
	l->opening_ms = now_ms + OPENING_GAP_MS;
	compose(l, r->slot, r->id, 0, step);
	return true;
}

static bool something_to_send(struct lifetime *l, uint64_t now_ms, struct inquiry_step *step)
{
	if (kept_send(l, &l->asker, now_ms, step))
		return true;
	if (l->witnesses && kept_send(l, &l->witness, now_ms, step))
		return true;
	if (control_asks_on(l) && attempt_send(l, &l->control, l->witness.outer.port, now_ms, step))
		return true;
	for (size_t i = 0; i < l->rung_count; i++)
		if (rung_send(l, &l->rungs[i], now_ms, step))
			return true;
	return false;
}

/* Receiving */

/* What RFC 8489 section 6.3.3 lets us use. */
static bool usable(const struct stun_message *m, uint8_t family, struct endpoint *outer)
{
	struct endpoint e;

	if (m->class != STUN_SUCCESS || m->unknown_count > 0 || stun_mapped(m, &e) < 0 || e.family != family || !endpoint_is_host(&e))
		return false;
	*outer = e;
	return true;
}

static void refused(struct lifetime *l, const struct stun_message *m)
{
	struct stun_value v;

	if (stun_get(m, STUN_ERROR_CODE, &v) == 0)
		l->code = v.error.code;
	finish(l, LIFETIME_REFUSED);
}

static bool kept_receive(struct lifetime *l, struct kept *k, unsigned slot, const struct stun_message *m, uint64_t now_ms)
{
	struct endpoint outer;

	if (!k->asking || slot != k->slot || !transaction_answers(&k->question, m))
		return false;
	if (m->class == STUN_ERROR && l->phase == LIFETIME_STARTING) {
		refused(l, m);
		return true;
	}
	if (!usable(m, l->config.server.family, &outer))
		return false;
	measured(l, transaction_rtt_ms(&k->question, now_ms));
	k->asking = false;
	k->rounds = 0;
	k->next_ms = now_ms + KEEPALIVE_MS;
	if (l->phase != LIFETIME_STARTING && !endpoint_same_ip(&outer, &l->asker.outer))
		finish(l, LIFETIME_UNSTEADY); /* the idle slots' outer address is gone as well */
	k->outer = outer;
	return true;
}

/* NULL when it answers none of the last attempts, or one that is answered already. */
static struct attempt *answered(struct attempts *a, const struct stun_message *m)
{
	for (size_t i = 0; i < REMEMBERED; i++) {
		struct attempt *t = &a->last[i];

		if (t->open && memcmp(t->id, m->id, STUN_ID_LEN) == 0) {
			t->open = false;
			return t;
		}
	}
	return NULL;
}

static void witness_heard(struct lifetime *l, unsigned number, uint64_t now_ms)
{
	for (size_t i = 0; i < l->rung_count; i++) {
		struct rung *r = &l->rungs[i];

		if (r->state != RUNG_TESTING || r->dead || number < r->witness_first)
			continue;
		r->witness_heard++;
		r->dead = evidence_tells(r->attempts.sent,
			(struct tally){ (uint16_t)(l->control.sent - r->witness_first), (uint16_t)r->witness_heard });
		r->until_ms = now_ms + patience_ms(l, OPENING_MIN_MS, OPENING_MAX_MS + 1000);
	}
}

static bool control_receive(struct lifetime *l, unsigned slot, const struct stun_message *m, uint64_t now_ms)
{
	const bool starting = l->phase == LIFETIME_STARTING;
	struct attempt *t;

	if (slot != l->witness.slot && !(starting && slot == ASKER))
		return false;
	t = answered(&l->control, m);
	if (!t)
		return false;
	if (starting && m->class == STUN_ERROR)
		refused(l, m);
	else if (starting && slot == ASKER)
		finish(l, LIFETIME_IGNORED);
	else if (starting)
		first_pass(l);
	else
		witness_heard(l, t->number, now_ms);
	return true;
}

static bool opening_receive(struct lifetime *l, struct rung *r, const struct stun_message *m, uint64_t now_ms)
{
	struct endpoint outer;

	if (memcmp(r->id, m->id, STUN_ID_LEN) != 0 || !usable(m, l->config.server.family, &outer))
		return false;
	measured(l, now_ms - r->asked_ms);
	if (endpoint_same_ip(&outer, &l->asker.outer)) {
		r->state = RUNG_IDLE;
		r->outer_port = outer.port;
		r->opened_ms = now_ms;
	} else {
		l->pool = true;
		r->state = RUNG_WANTED;
	}
	return true;
}

static bool rung_receive(struct lifetime *l, struct rung *r, const struct stun_message *m, uint64_t now_ms)
{
	struct attempt *t;

	if (r->state == RUNG_OPENING)
		return opening_receive(l, r, m, now_ms);
	if (r->state != RUNG_TESTING)
		return false;
	t = answered(&r->attempts, m);
	if (t)
		is_alive(l, r, t->sent_ms);
	return t;
}

bool lifetime_receive(struct lifetime *l, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms)
{
	struct stun_message m;

	if (l->phase == LIFETIME_DONE || !endpoint_equal(from, &l->config.server) || stun_decode(&m, bytes, len) < 0 ||
		(m.class != STUN_SUCCESS && m.class != STUN_ERROR) || m.method != STUN_BINDING)
		return false;
	if (kept_receive(l, &l->asker, slot, &m, now_ms))
		return true;
	if (l->witnesses && (kept_receive(l, &l->witness, slot, &m, now_ms) || control_receive(l, slot, &m, now_ms)))
		return true;
	for (size_t i = 0; i < l->rung_count; i++)
		if (slot == l->rungs[i].slot && rung_receive(l, &l->rungs[i], &m, now_ms))
			return true;
	return false;
}

/* Waiting */

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t kept_wake_ms(const struct kept *k)
{
	return k->asking ? k->question.wake_ms : k->next_ms;
}

static uint64_t rung_wake_ms(const struct lifetime *l, const struct rung *r)
{
	switch (r->state) {
	case RUNG_CLOSED:
		break;
	case RUNG_WANTED:
		return l->opening_ms;
	case RUNG_OPENING:
		return r->asked_ms + patience_ms(l, OPENING_MIN_MS, OPENING_MAX_MS);
	case RUNG_IDLE:
		return test_ms(r);
	case RUNG_TESTING:
		if (asks_on(r))
			return r->attempts.next_ms;
		return r->dead ? r->until_ms : r->attempts.next_ms - ATTEMPT_GAP_MS + OPENING_MAX_MS;
	}
	return UINT64_MAX;
}

uint64_t lifetime_wake_ms(const struct lifetime *l)
{
	uint64_t wake_ms = kept_wake_ms(&l->asker);

	if (l->phase == LIFETIME_DONE)
		return UINT64_MAX;
	if (l->witnesses)
		wake_ms = sooner(wake_ms, kept_wake_ms(&l->witness));
	if (control_asks_on(l))
		wake_ms = sooner(wake_ms, l->control.next_ms);
	else if (l->phase == LIFETIME_STARTING && l->control.sent >= ATTEMPTS_FIRST)
		wake_ms = sooner(wake_ms, l->control.next_ms - ATTEMPT_GAP_MS + OPENING_MAX_MS);
	for (size_t i = 0; i < l->rung_count; i++)
		wake_ms = sooner(wake_ms, rung_wake_ms(l, &l->rungs[i]));
	return wake_ms;
}

enum inquiry_action lifetime_step(struct lifetime *l, uint64_t now_ms, struct inquiry_step *step)
{
	do {
		pass_time(l, now_ms);
		if (l->phase == LIFETIME_DONE)
			return INQUIRY_DONE;
		if (something_to_send(l, now_ms, step))
			return INQUIRY_SEND;
	} while (lifetime_wake_ms(l) <= now_ms); /* one pass made way for the next */
	return INQUIRY_WAIT;
}

void lifetime_bound(struct lifetime *l, unsigned slot, const struct endpoint *local)
{
	(void)l;
	(void)slot;
	(void)local;
}

/* Telling */

/* People who set timers like round numbers. */
static uint32_t roundest(uint32_t low_s, uint32_t high_s)
{
	static const uint32_t units[] = { 3600, 600, 300, 60, 30, 10, 5, 1 };
	const uint32_t middle_s = low_s + (high_s - low_s) / 2;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		const uint32_t below = middle_s / units[i] * units[i], above = below + units[i];

		if (below >= low_s && below > 0 && (above > high_s || middle_s - below <= above - middle_s))
			return below;
		if (above <= high_s)
			return above;
	}
	return middle_s;
}

static void next_test(const struct lifetime *l, uint64_t now_ms, struct lifetime_progress *out)
{
	uint64_t next_ms = UINT64_MAX;

	for (size_t i = 0; i < l->rung_count; i++) {
		const struct rung *r = &l->rungs[i];

		if (r->state != RUNG_IDLE && r->state != RUNG_TESTING)
			continue;
		out->open += r->state == RUNG_IDLE;
		if (test_ms(r) >= next_ms)
			continue;
		next_ms = test_ms(r);
		out->next_s = (uint32_t)((r->idle_ms + 500) / 1000);
		out->wait_ms = next_ms > now_ms ? (uint32_t)(next_ms - now_ms) : 0;
	}
}

void lifetime_progress(const struct lifetime *l, uint64_t now_ms, struct lifetime_progress *out)
{
	struct lifetime_progress p = { .phase = l->phase, .reason = l->reason, .code = l->code };

	p.alive_s = (uint32_t)(l->alive_ms / 1000);
	p.dead_s = (uint32_t)((l->dead_ms + 999) / 1000);
	if (p.dead_s)
		p.estimate_s = roundest(p.alive_s, p.dead_s);
	if (l->phase != LIFETIME_DONE)
		next_test(l, now_ms, &p);
	*out = p;
}

static enum inquiry_action any_step(void *machine, uint64_t now_ms, struct inquiry_step *step)
{
	return lifetime_step(machine, now_ms, step);
}

static bool any_receive(void *machine, unsigned slot, const struct endpoint *from, const void *bytes, size_t len, uint64_t now_ms)
{
	return lifetime_receive(machine, slot, from, bytes, len, now_ms);
}

static uint64_t any_wake_ms(const void *machine)
{
	return lifetime_wake_ms(machine);
}

static void any_bound(void *machine, unsigned slot, const struct endpoint *local)
{
	lifetime_bound(machine, slot, local);
}

const struct inquiry lifetime_inquiry = { any_step, any_receive, any_wake_ms, any_bound };
