/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/node.h"

#include <errno.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cursor.h"

#define VERSION 1
#define MAC_LEN SHA256_DIGEST_SIZE
#define WORDS	(NODE_WINDOW / 64)

/* --- the seal --- */

/* A key that has taken in who speaks to whom: what follows is the message. */
struct direction {
	struct hmac_sha256_ctx keys[NODE_KEYS_MAX];
};

struct node_seal {
	struct endpoint peer;
	struct direction out, in;
	size_t count;
};

static void identity_write(struct writer *w, const struct node_identity *id)
{
	write_u8(w, id->at[0].family);
	write_bytes(w, id->at[0].ip, sizeof(id->at[0].ip));
	for (size_t i = 0; i < 2; i++)
		write_u16(w, id->at[i].family == ENDPOINT_NONE ? 0 : id->at[i].port);
}

static void direction_begin(struct direction *d, const struct node_identity *from, const struct node_identity *to,
	const struct node_key *keys, size_t count)
{
	uint8_t parties[2 * (1 + 16 + 4)];
	struct writer w = writer_new(parties, sizeof(parties));

	identity_write(&w, from);
	identity_write(&w, to);
	for (size_t i = 0; i < count; i++) {
		hmac_sha256_set_key(&d->keys[i], keys[i].len, keys[i].bytes);
		hmac_sha256_update(&d->keys[i], w.used, parties);
	}
}

int node_seal_new(struct node_seal **out, const struct node_identity *own, const struct node_identity *peer,
	const struct node_key *keys, size_t count)
{
	struct node_seal *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->peer = peer->at[0];
	s->count = count;
	direction_begin(&s->out, own, peer, keys, count);
	direction_begin(&s->in, peer, own, keys, count);
	*out = s;
	return 0;
}

void node_seal_free(struct node_seal *s)
{
	if (s)
		explicit_bzero(s, sizeof(*s));
	free(s);
}

static void mac(const struct hmac_sha256_ctx *key, const uint8_t *bytes, size_t len, uint8_t out[MAC_LEN])
{
	struct hmac_sha256_ctx h = *key; /* the key stays as it is: threads share it */

	hmac_sha256_update(&h, len, bytes);
	hmac_sha256_digest(&h, MAC_LEN, out);
}

static void write_u64(struct writer *w, uint64_t v)
{
	write_u32(w, (uint32_t)(v >> 32));
	write_u32(w, (uint32_t)v);
}

static uint64_t read_u64(struct reader *r)
{
	const uint64_t high = read_u32(r);

	return high << 32 | read_u32(r);
}

size_t node_sign(const struct node_seal *s, const struct node_message *m, void *buf, size_t max)
{
	struct writer w = writer_new(buf, max < NODE_MESSAGE_MAX ? max : NODE_MESSAGE_MAX);
	uint8_t *seal;

	write_u8(&w, NODE_FIRST_BYTE);
	write_u8(&w, VERSION);
	write_u8(&w, (uint8_t)m->kind);
	write_u8(&w, m->port);
	write_u64(&w, m->run);
	write_u64(&w, m->peer_run);
	write_u64(&w, m->number);
	write_u64(&w, m->time_ms);
	write_u8(&w, m->client.family);
	write_u8(&w, 0);
	write_u16(&w, m->client.port);
	write_bytes(&w, m->client.ip, sizeof(m->client.ip));
	write_bytes(&w, m->question, m->question_len);
	seal = write_room(&w, MAC_LEN);
	if (!seal)
		return 0;
	mac(&s->out.keys[0], w.start, w.used - MAC_LEN, seal);
	return w.used;
}

/* Tells no key apart from another, nor how much of the HMAC was right, by its time. */
static bool genuine(const struct node_seal *s, const uint8_t *bytes, size_t len)
{
	const uint8_t *seal = bytes + len - MAC_LEN;
	uint8_t want[MAC_LEN];
	bool found = false;

	for (size_t i = 0; i < s->count; i++) {
		mac(&s->in.keys[i], bytes, len - MAC_LEN, want);
		found |= memeql_sec(want, seal, MAC_LEN) != 0;
	}
	return found;
}

static bool zeros(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Is what was read what node_sign would have been given? */
static bool well_formed(const struct node_seal *s, const struct node_message *m)
{
	if (m->run == 0 || m->number == 0)
		return false;
	if (m->kind == NODE_HEARTBEAT || m->kind == NODE_ASK)
		return m->port == 0 && m->client.family == ENDPOINT_NONE && m->client.port == 0 && zeros(m->client.ip, 16) &&
			m->question_len == 0;
	return m->kind == NODE_QUESTION && m->port < 2 && m->client.family == s->peer.family && m->client.port != 0 &&
		(m->client.family == ENDPOINT_IPV6 || zeros(m->client.ip + 4, 12));
}

static bool decode(const struct node_seal *s, struct node_message *m, const uint8_t *bytes, size_t len)
{
	struct reader r = { .at = bytes, .left = len < MAC_LEN ? 0 : len - MAC_LEN };
	const uint8_t first = read_u8(&r), version = read_u8(&r);
	const uint8_t *ip;
	uint8_t zero;

	*m = (struct node_message){ .kind = (enum node_kind)read_u8(&r) };
	m->port = read_u8(&r);
	m->run = read_u64(&r);
	m->peer_run = read_u64(&r);
	m->number = read_u64(&r);
	m->time_ms = read_u64(&r);
	m->client.family = read_u8(&r);
	zero = read_u8(&r);
	m->client.port = read_u16(&r);
	ip = read_bytes(&r, sizeof(m->client.ip));
	if (r.overrun)
		return false;
	memcpy(m->client.ip, ip, sizeof(m->client.ip));
	m->question_len = r.left;
	m->question = r.left ? read_bytes(&r, r.left) : NULL;
	return first == NODE_FIRST_BYTE && version == VERSION && zero == 0 && len <= NODE_MESSAGE_MAX && well_formed(s, m);
}

enum node_verdict node_check(const struct node_seal *s, struct node_message *out, const struct endpoint *from,
	const void *bytes, size_t len)
{
	struct node_message m;

	if (!endpoint_same_ip(from, &s->peer))
		return NODE_STRANGER;
	if (!decode(s, &m, bytes, len))
		return NODE_MALFORMED;
	if (!genuine(s, bytes, len))
		return NODE_FORGED;
	*out = m;
	return NODE_FINE;
}

/* --- what is remembered --- */

/*
 * A run of the peer: the highest number seen, and which of the NODE_WINDOW below it,
 * as a ring of bits (RFC 6479). The word that the highest stands in is only begun, so
 * one word less than the window is certain.
 */
struct run {
	uint64_t id; /* 0: a free row */
	uint64_t highest;
	uint64_t seen_ms;
	bool replaced; /* the peer has confirmed a later one */
	uint64_t bits[WORDS];
};

enum state { UNKNOWN, ALIVE, DEAD };

struct node {
	uint64_t run, peer_run, number;
	uint64_t heard_ms; /* a message of a peer that knows this run of ours; at first the start */
	uint64_t beat_ms;  /* when the next is due */
	uint64_t ask_ms;   /* likewise of one that wants an answer, at the earliest */
	enum state state;
	struct run runs[NODE_RUNS];
};

int node_new(struct node **out, uint64_t run, uint64_t now_ms)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->run = run;
	n->heard_ms = now_ms;
	n->beat_ms = now_ms;
	*out = n;
	return 0;
}

void node_free(struct node *n)
{
	free(n);
}

void node_stamp(struct node *n, struct node_message *m, uint64_t wall_ms)
{
	m->run = n->run;
	m->peer_run = n->peer_run;
	m->number = ++n->number;
	m->time_ms = wall_ms;
}

static struct run *run_find(struct node *n, uint64_t id)
{
	for (size_t i = 0; i < NODE_RUNS; i++)
		if (n->runs[i].id == id)
			return &n->runs[i];
	return NULL;
}

/*
 * A row for another run: a free one, else that silent for longest, once whatever it
 * took is too old to be taken again (a message may come 30 s early and stay good for 60).
 */
static struct run *run_room(struct node *n, uint64_t now_ms)
{
	struct run *oldest = &n->runs[0];

	for (size_t i = 0; i < NODE_RUNS; i++) {
		if (n->runs[i].id == 0)
			return &n->runs[i];
		if (n->runs[i].seen_ms < oldest->seen_ms)
			oldest = &n->runs[i];
	}
	return now_ms - oldest->seen_ms > 2 * NODE_CLOCK_MS ? oldest : NULL;
}

static bool seen(const struct run *r, uint64_t number)
{
	if (number > r->highest)
		return false;
	if (r->highest / 64 - number / 64 >= WORDS)
		return true; /* not known any more: refused like one that was */
	return r->bits[number / 64 % WORDS] >> number % 64 & 1;
}

static void mark(struct run *r, uint64_t number)
{
	const uint64_t at = number / 64, was = r->highest / 64;

	if (at > was) {
		for (uint64_t i = 1; i <= (at - was < WORDS ? at - was : WORDS); i++)
			r->bits[(was + i) % WORDS] = 0;
	}
	if (number > r->highest)
		r->highest = number;
	r->bits[at % WORDS] |= 1ull << number % 64;
}

static bool in_time(uint64_t time_ms, uint64_t wall_ms)
{
	return (time_ms > wall_ms ? time_ms - wall_ms : wall_ms - time_ms) <= NODE_CLOCK_MS;
}

/* The peer answers to this run of ours, so it is there now. */
static void confirmed(struct node *n, const struct node_message *m, uint64_t now_ms, struct node_news *news)
{
	n->heard_ms = now_ms;
	if (n->peer_run == m->run)
		return;
	if (n->peer_run) {
		struct run *old = run_find(n, n->peer_run);

		if (old)
			old->replaced = true;
	}
	n->peer_run = m->run;
	news->answer_run = m->run; /* so that it knows as well */
}

enum node_verdict node_accept(struct node *n, const struct node_message *m, uint64_t now_ms, uint64_t wall_ms,
	struct node_news *news)
{
	struct run *r = run_find(n, m->run);
	const bool for_us = m->peer_run == n->run;

	*news = (struct node_news){ 0 };
	/* Before its time is judged: a replay is not a clock gone wrong. */
	if (r && seen(r, m->number))
		return NODE_REPLAYED;
	if (!in_time(m->time_ms, wall_ms)) {
		news->skew_ms = (int64_t)(m->time_ms - wall_ms);
		return NODE_SKEWED;
	}
	if ((r && r->replaced) || (m->kind == NODE_QUESTION && !for_us))
		return NODE_OTHER_RUN;
	if (!r) {
		r = run_room(n, now_ms);
		if (!r)
			return NODE_FULL;
		*r = (struct run){ .id = m->run };
	}
	mark(r, m->number);
	r->seen_ms = now_ms;
	if (m->kind == NODE_ASK || !for_us)
		news->answer_run = m->run;
	if (for_us)
		confirmed(n, m, now_ms, news);
	return NODE_FINE;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The peer should have been heard by now; until it first was, from the beginning. */
static uint64_t overdue_ms(const struct node *n)
{
	return n->heard_ms + (n->peer_run ? NODE_OVERDUE_MS : 0);
}

/* When it is to be asked whether it is there: one that is dead only with every beat. */
static uint64_t ask_at_ms(const struct node *n)
{
	const uint64_t overdue = overdue_ms(n);

	if (n->state == DEAD)
		return UINT64_MAX;
	return n->ask_ms > overdue ? n->ask_ms : overdue;
}

static enum state state_at(const struct node *n, uint64_t now_ms)
{
	if (now_ms - n->heard_ms >= NODE_DEAD_MS)
		return DEAD;
	return n->peer_run ? ALIVE : UNKNOWN;
}

struct node_due node_tick(struct node *n, uint64_t now_ms)
{
	const enum state before = n->state;
	struct node_due due = { .kind = now_ms >= overdue_ms(n) ? NODE_ASK : NODE_HEARTBEAT };
	uint64_t next;

	n->state = state_at(n, now_ms);
	if (n->state != before)
		due.change = n->state == ALIVE ? NODE_ALIVE : NODE_DEAD;
	due.beat = now_ms >= n->beat_ms || now_ms >= ask_at_ms(n);
	if (now_ms >= n->beat_ms)
		n->beat_ms = now_ms + NODE_BEAT_MS;
	if (due.beat)
		n->ask_ms = now_ms + NODE_ASK_MS;
	next = least(n->beat_ms, ask_at_ms(n));
	if (n->state != DEAD)
		next = least(next, n->heard_ms + NODE_DEAD_MS);
	due.wait_ms = (uint32_t)(next - now_ms);
	return due;
}

bool node_alive(const struct node *n)
{
	return n->state == ALIVE;
}
