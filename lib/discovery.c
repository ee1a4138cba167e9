/* SPDX-License-Identifier: MIT */
#include "lib/discovery_state.h"

#include <stdlib.h>

/* Before anything was heard; then by the round trip, and wide enough apart not to be lost together. */
#define GAP_FIRST_MS 80
#define GAP_MIN_MS   50
#define GAP_MAX_MS   120
#define GAP_SLOW_MS  1000 /* of a question asked for long */
#define PATIENCE     24	  /* attempts, before the gaps grow */

/* Of the samples, by the round trip: the longer, the more it varies, and samples must not overtake each other. */
#define SAMPLE_GAP_MIN_MS 15
#define SAMPLE_GAP_MAX_MS 60

#define REFUSALS 3 /* answers that refuse, until a question is not asked again */

enum target { PRIMARY, OTHER, PRIMARY_OTHER_PORT };

static const struct row {
	unsigned slot;
	enum target to;
	uint32_t change; /* CHANGE-REQUEST's value, 0: none; the witness' is chosen */
	bool control;
} rows[QUESTIONS] = {
	[MAP_PRIMARY] = { DISCOVERY_MAPPING, PRIMARY, 0, false },
	[MAP_OTHER] = { DISCOVERY_MAPPING, OTHER, 0, false },
	[MAP_PORT] = { DISCOVERY_MAPPING, PRIMARY_OTHER_PORT, 0, false },
	[MAP_AGAIN] = { DISCOVERY_MAPPING, PRIMARY, 0, false },
	[WITNESS] = { DISCOVERY_MAPPING, PRIMARY, 0, true },
	[FILTER_OPEN] = { DISCOVERY_FILTERING, PRIMARY, 0, true },
	[FILTER_BOTH] = { DISCOVERY_FILTERING, PRIMARY, STUN_CHANGE_IP | STUN_CHANGE_PORT, false },
	[FILTER_PORT] = { DISCOVERY_FILTERING, PRIMARY, STUN_CHANGE_PORT, false },
};

static uint32_t since(const struct discovery *d, uint64_t now_ms)
{
	return (uint32_t)(now_ms - d->start_ms);
}

static void ask(struct discovery *d, enum question which, uint32_t now)
{
	struct state *q = &d->questions[which];

	if (q->open || q->heard || q->refused)
		return;
	q->open = true;
	q->next_ms = now;
}

static void begin(struct discovery *d, uint32_t now)
{
	memset(d->questions, 0, sizeof(d->questions));
	d->other = (struct endpoint){ 0 };
	d->witness_change = 0;
	d->notes &= (unsigned)DISCOVERY_ALG;
	d->attempt_count = d->ripe = 0;
	d->samples_ripe.asked = (uint16_t)d->samples_sent; /* those on their way are not waited for */
	ask(d, MAP_PRIMARY, now);
	ask(d, FILTER_OPEN, now);
	ask(d, FILTER_BOTH, now);
	ask(d, FILTER_PORT, now);
}

struct discovery *discovery_new(const struct discovery_config *config, uint64_t now_ms)
{
	struct discovery *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->config = *config;
	d->start_ms = now_ms;
	begin(d, 0);
	return d;
}

void discovery_free(struct discovery *d)
{
	free(d);
}

void discovery_bound(struct discovery *d, unsigned slot, const struct endpoint *local)
{
	if (slot == DISCOVERY_MAPPING)
		d->local = *local;
	else if (slot >= DISCOVERY_SAMPLE && slot < DISCOVERY_SLOTS)
		d->samples[slot - DISCOVERY_SAMPLE].is.local_port = local->port;
}

void discovery_reachable(struct discovery *d, uint32_t rtt_ms, uint64_t now_ms)
{
	(void)now_ms;
	if (d->host_rtt_ms == 0)
		d->host_rtt_ms = rtt_ms ? rtt_ms : 1;
	d->news = true;
}

static struct endpoint target_of(const struct discovery *d, enum target to)
{
	struct endpoint e = to == OTHER ? d->other : d->config.server;

	if (to == PRIMARY_OTHER_PORT)
		e.port = d->other.port;
	return e;
}

static uint32_t change_of(const struct discovery *d, enum question which)
{
	return which == WITNESS ? d->witness_change : rows[which].change;
}

/* Whence an answer must come. */
static struct endpoint answerer_of(const struct discovery *d, enum question which)
{
	const uint32_t change = change_of(d, which);

	if (change & STUN_CHANGE_IP)
		return target_of(d, OTHER);
	return target_of(d, change ? PRIMARY_OTHER_PORT : rows[which].to);
}

/* How long an answer may take: longer than any that came. 0: not known. */
static uint32_t patience_ms(const struct discovery *d)
{
	if (d->heard)
		return 2 * d->rtt_max_ms + 50;
	return d->host_rtt_ms ? 3 * d->host_rtt_ms + 100 : 0;
}

static uint32_t clamp(uint32_t x, uint32_t min, uint32_t max)
{
	return x < min ? min : x > max ? max : x;
}

static uint32_t gap_ms(const struct discovery *d, unsigned sent)
{
	uint32_t gap = d->heard ? clamp(d->rtt_max_ms / 2, GAP_MIN_MS, GAP_MAX_MS) : GAP_FIRST_MS;

	for (; sent > PATIENCE && gap < GAP_SLOW_MS; sent -= 4)
		gap += gap / 2;
	return gap;
}

/* An attempt is worth a tally mark when its answer would have come by now. */
static void count_ripe(struct discovery *d, uint32_t now)
{
	const uint32_t patience = patience_ms(d);

	for (; patience && d->ripe < d->attempt_count && d->attempts[d->ripe].sent_ms + patience <= now; d->ripe++) {
		const struct attempt *a = &d->attempts[d->ripe];
		struct tally *t = a->question < QUESTIONS ? &d->questions[a->question].ripe : &d->samples_ripe;

		t->asked++;
		t->heard = (uint16_t)(t->heard + a->heard);
		d->news = true;
	}
}

/*
 * The witness hears through a filter that the mapping slot's own questions opened, so long as
 * the outer endpoint they opened it for is the one that a1 sees.
 */
static void call_witness(struct discovery *d, uint32_t now)
{
	if (d->witness_change || d->questions[FILTER_BOTH].heard)
		return;
	if (has_other_ip(d) && same_outer(d, MAP_PRIMARY, MAP_OTHER))
		d->witness_change = STUN_CHANGE_IP | STUN_CHANGE_PORT;
	else if ((!has_other_ip(d) || other_outer(d, MAP_PRIMARY, MAP_OTHER)) && same_outer(d, MAP_PRIMARY, MAP_PORT))
		d->witness_change = STUN_CHANGE_PORT;
	if (d->witness_change)
		ask(d, WITNESS, now);
}

static void after_mapping(struct discovery *d, enum question which, uint32_t now)
{
	if (which == MAP_PRIMARY) {
		if (has_other_ip(d))
			ask(d, MAP_OTHER, now);
		if (has_other_port(d))
			ask(d, MAP_PORT, now);
	}
	if (same_outer(d, MAP_PRIMARY, MAP_OTHER))
		d->questions[MAP_PORT].open = false; /* it tells only the other two apart */
	if (outer_differs(d))
		ask(d, MAP_AGAIN, now);
	if (other_outer(d, MAP_PRIMARY, MAP_AGAIN)) {
		if (d->restarted) {
			d->notes |= DISCOVERY_UNSTEADY;
		} else {
			d->restarted = true;
			begin(d, now);
		}
		return;
	}
	call_witness(d, now);
}

/*
 * OTHER-ADDRESS (CHANGED-ADDRESS of RFC 3489). A server on the Internet must not send us to
 * knock at doors of our own LAN. An answer that came from there before it was known counts now.
 */
static void learn_other(struct discovery *d, const struct stun_message *m)
{
	const struct endpoint *server = &d->config.server;
	struct stun_value v;

	if (d->other.family != ENDPOINT_NONE)
		return; /* the first counts */
	if (stun_get(m, STUN_OTHER_ADDRESS, &v) < 0 && stun_get(m, STUN_CHANGED_ADDRESS, &v) < 0)
		return;
	if (v.endpoint.family != server->family || endpoint_equal(&v.endpoint, server) || !endpoint_is_host(&v.endpoint) ||
		(endpoint_is_local(&v.endpoint) && !endpoint_is_local(server)))
		return;
	d->other = v.endpoint;
	for (enum question i = FILTER_BOTH; i <= FILTER_PORT; i++) {
		const struct endpoint want = answerer_of(d, i);

		if (endpoint_equal(&d->questions[i].from, &want)) {
			d->questions[i].heard = true;
			d->questions[i].open = false;
		}
	}
}

/* What the server has no second of cannot be asked for. */
static void forgo(struct discovery *d)
{
	if (!has_other_ip(d))
		d->questions[FILTER_BOTH].open = false;
	if (!has_other_port(d))
		d->questions[FILTER_PORT].open = false;
	if (!has_other_ip(d))
		d->notes |= DISCOVERY_NO_OTHER;
	else if (!has_other_port(d))
		d->notes |= DISCOVERY_NO_OTHER_PORT;
}

static void answered(struct discovery *d, enum question which, const struct stun_message *m, uint32_t now)
{
	struct state *q = &d->questions[which];
	const bool first = !q->heard;

	if (rows[which].to == PRIMARY && change_of(d, which) == 0) {
		learn_other(d, m);
		forgo(d);
	}
	q->heard = true;
	if (!rows[which].control)
		q->open = false;
	if (first && rows[which].slot == DISCOVERY_MAPPING)
		after_mapping(d, which, now);
}

static void refused(struct discovery *d, enum question which, const struct stun_message *m)
{
	struct state *q = &d->questions[which];
	struct stun_value v;

	if (++q->refusals < REFUSALS)
		return;
	q->refused = true;
	q->open = false;
	if (change_of(d, which)) {
		d->notes |= DISCOVERY_NO_CHANGE;
	} else if (stun_get(m, STUN_ERROR_CODE, &v) == 0) {
		d->notes |= DISCOVERY_REFUSED;
		d->code = v.error.code;
	}
}

static bool is_plain(const struct stun_message *m)
{
	struct stun_value xored;

	return stun_get(m, STUN_XOR_MAPPED_ADDRESS, &xored) < 0;
}

static bool is_alg(const struct stun_message *m)
{
	struct stun_value mapped, xored;

	return stun_get(m, STUN_MAPPED_ADDRESS, &mapped) == 0 && stun_get(m, STUN_XOR_MAPPED_ADDRESS, &xored) == 0 &&
		!endpoint_equal(&mapped.endpoint, &xored.endpoint);
}

static struct attempt *attempt_of(struct discovery *d, const struct stun_message *m)
{
	for (size_t i = d->attempt_count; i-- > 0;) {
		uint8_t id[STUN_ID_LEN];

		stun_id(id, d->attempts[i].id);
		if (memcmp(id, m->id, sizeof(id)) == 0)
			return &d->attempts[i];
	}
	return NULL;
}

/* An attempt is answered once; what it says of the round trip and of the loss. */
static void heard(struct discovery *d, struct attempt *a, uint32_t now)
{
	const uint32_t rtt_ms = now > a->sent_ms ? now - a->sent_ms : 1;

	if (d->rtt_min_ms == 0 || rtt_ms < d->rtt_min_ms)
		d->rtt_min_ms = rtt_ms;
	if (rtt_ms > d->rtt_max_ms)
		d->rtt_max_ms = rtt_ms;
	if ((size_t)(a - d->attempts) < d->ripe) {
		struct tally *t = a->question < QUESTIONS ? &d->questions[a->question].ripe : &d->samples_ripe;

		t->heard++;
	}
	a->heard = true;
	d->heard = true;
	d->news = true;
}

static bool receive_sample(struct discovery *d, struct attempt *a, const struct endpoint *from, const struct endpoint *outer,
	bool success, uint32_t now)
{
	struct sample *s = &d->samples[a->question - QUESTIONS];

	if (!endpoint_equal(from, &d->config.server))
		return false;
	heard(d, a, now);
	if (!success)
		return true;
	s->is.outer = *outer;
	s->heard = true;
	d->samples_heard++;
	return true;
}

bool discovery_receive(struct discovery *d, unsigned slot, const struct endpoint *from, const void *bytes, size_t len,
	uint64_t now_ms)
{
	const uint32_t now = since(d, now_ms);
	struct stun_message m;
	struct endpoint outer = { 0 };

	if (d->done || stun_decode(&m, bytes, len) < 0 || m.method != STUN_BINDING || m.unknown_count > 0)
		return false;
	if (m.class != STUN_SUCCESS && m.class != STUN_ERROR)
		return false;
	const bool success = m.class == STUN_SUCCESS;
	if (success && (stun_mapped(&m, &outer) < 0 || outer.family != d->config.server.family || !endpoint_is_host(&outer)))
		return false;

	struct attempt *a = attempt_of(d, &m);
	if (!a || a->heard)
		return false;
	if (a->question >= QUESTIONS)
		return slot == DISCOVERY_SAMPLE + (unsigned)(a->question - QUESTIONS) && receive_sample(d, a, from, &outer, success, now);

	const enum question which = (enum question)a->question;
	const struct endpoint asked = target_of(d, rows[which].to), want = answerer_of(d, which);
	struct state *q = &d->questions[which];
	/* Answered from where it was asked although it asked for another: such a server does not know the request. */
	const bool refusal = endpoint_equal(from, &asked) && (!success || change_of(d, which));
	const bool early = success && change_of(d, which) && d->other.family == ENDPOINT_NONE;

	if (slot != rows[which].slot || (!refusal && !early && !(success && endpoint_equal(from, &want))))
		return false;
	heard(d, a, now);
	if (is_alg(&m))
		d->notes |= DISCOVERY_ALG;
	if (refusal) {
		refused(d, which, &m);
		return true;
	}
	if (!q->heard) {
		q->outer = outer;
		q->plain = is_plain(&m);
		q->from = *from;
	}
	if (!early)
		answered(d, which, &m, now);
	return true;
}

static struct attempt *attempt_new(struct discovery *d, uint8_t question, uint32_t now)
{
	struct attempt *a = &d->attempts[d->attempt_count++];

	*a = (struct attempt){ .question = question, .sent_ms = now };
	d->config.random(a->id, sizeof(a->id));
	return a;
}

static size_t write_question(struct discovery *d, const struct attempt *a, uint32_t change)
{
	struct stun_builder b;
	uint8_t id[STUN_ID_LEN];

	stun_id(id, a->id);
	stun_begin(&b, d->message, sizeof(d->message), STUN_REQUEST, STUN_BINDING, id);
	if (change)
		stun_put_u32(&b, STUN_CHANGE_REQUEST, change);
	return stun_end(&b);
}

static bool question_is_due(const struct discovery *d, enum question which, uint32_t now)
{
	const struct state *q = &d->questions[which];

	/* Until somebody answers at all, what tests the filter is asked once: all of it could be silence. */
	return q->open && q->next_ms <= now && (d->heard || change_of(d, which) == 0 || q->sent == 0);
}

static bool sample_is_wanted(const struct discovery *d)
{
	return d->config.port_mode && d->heard && d->samples_sent < DISCOVERY_SAMPLES && d->samples_heard < SAMPLES_WANTED;
}

/*
 * The questions must not stay in step: of those sent together a server that limits its
 * answers drops the last ones, every time, and what was dropped would look filtered.
 */
static uint32_t scattered(uint32_t gap, const struct attempt *a)
{
	return gap * 3 / 4 + gap * a->id[0] / 512;
}

static enum inquiry_action send_due(struct discovery *d, uint32_t now, struct inquiry_step *step)
{
	if (d->attempt_count == ATTEMPTS)
		return INQUIRY_WAIT;
	for (enum question i = MAP_PRIMARY; i < QUESTIONS; i++) {
		struct state *q = &d->questions[i];
		struct attempt *a;

		if (!question_is_due(d, i, now))
			continue;
		a = attempt_new(d, (uint8_t)i, now);
		q->next_ms = now + scattered(gap_ms(d, ++q->sent), a);
		*step = (struct inquiry_step){ rows[i].slot, target_of(d, rows[i].to), d->message, write_question(d, a, change_of(d, i)) };
		return INQUIRY_SEND;
	}
	if (sample_is_wanted(d) && d->sample_next_ms <= now) {
		const size_t i = d->samples_sent++;

		d->sample_next_ms = now + clamp(d->rtt_max_ms / 6, SAMPLE_GAP_MIN_MS, SAMPLE_GAP_MAX_MS);
		*step = (struct inquiry_step){ DISCOVERY_SAMPLE + (unsigned)i, d->config.server, d->message,
			write_question(d, attempt_new(d, (uint8_t)(QUESTIONS + i), now), 0) };
		return INQUIRY_SEND;
	}
	return INQUIRY_WAIT;
}

enum inquiry_action discovery_step(struct discovery *d, uint64_t now_ms, struct inquiry_step *step)
{
	const uint32_t now = since(d, now_ms);

	if (d->done)
		return INQUIRY_DONE;
	count_ripe(d, now);
	if (d->news && discovery_settled(d, now))
		d->done = true;
	d->news = false;
	if (!d->done && now >= d->config.timeout_ms) {
		d->notes |= DISCOVERY_SHORT_OF_TIME;
		d->done = true;
	}
	return d->done ? INQUIRY_DONE : send_due(d, now, step);
}

uint64_t discovery_wake_ms(const struct discovery *d)
{
	uint32_t wake = d->config.timeout_ms;
	const uint32_t patience = patience_ms(d);

	if (d->done)
		return UINT64_MAX;
	if (patience && d->ripe < d->attempt_count && d->attempts[d->ripe].sent_ms + patience < wake)
		wake = d->attempts[d->ripe].sent_ms + patience;
	for (enum question i = MAP_PRIMARY; d->attempt_count < ATTEMPTS && i < QUESTIONS; i++)
		if (question_is_due(d, i, UINT32_MAX) && d->questions[i].next_ms < wake)
			wake = d->questions[i].next_ms;
	if (d->attempt_count < ATTEMPTS && sample_is_wanted(d) && d->sample_next_ms < wake)
		wake = d->sample_next_ms;
	return d->start_ms + wake;
}

static enum inquiry_action step_any(void *machine, uint64_t now_ms, struct inquiry_step *step)
{
	return discovery_step(machine, now_ms, step);
}

static bool receive_any(void *machine, unsigned slot, const struct endpoint *from, const void *bytes, size_t len, uint64_t now_ms)
{
	return discovery_receive(machine, slot, from, bytes, len, now_ms);
}

static uint64_t wake_any(const void *machine)
{
	return discovery_wake_ms(machine);
}

static void bound_any(void *machine, unsigned slot, const struct endpoint *local)
{
	discovery_bound(machine, slot, local);
}

const struct inquiry discovery_inquiry = { step_any, receive_any, wake_any, bound_any };
