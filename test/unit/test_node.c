/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <stdlib.h>

#include "lib/stun.h"
#include "server/node.h"

/*
 *	A 198.51.100.1:3478,3479  ----  B 198.51.100.2:3478,3479	client 192.0.2.9:40000
 */
#define A      0xc6336401u
#define B      0xc6336402u
#define CLIENT 0xc0000209u
#define WALL   1700000000000u /* ms since 1970 */
#define RUN_A  0xa1a2a3a4a5a6a7a8u
#define RUN_B  0xb1b2b3b4b5b6b7b8u

static const struct node_key old_key = { "0123456789abcdef", 16 }, new_key = { "a longer key of other bytes", 27 };
static const uint8_t question[] = { 0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
static struct endpoint at_a, at_b;

static struct node_identity identity(uint32_t ip)
{
	return (struct node_identity){ { endpoint_ipv4(ip, 3478), endpoint_ipv4(ip, 3479) } };
}

static struct node_seal *seal_of(uint32_t own, uint32_t peer, const struct node_key *keys, size_t count)
{
	const struct node_identity o = identity(own), p = identity(peer);
	struct node_seal *s;

	assert_int_equal(node_seal_new(&s, &o, &p, keys, count), 0);
	return s;
}

struct two {
	struct node_seal *a, *b; /* what each signs and checks with */
	struct node *node_a, *node_b;
	uint8_t bytes[512];
	size_t len;
};

static int two_new(void **state)
{
	struct two *t = calloc(1, sizeof(*t));

	at_a = endpoint_ipv4(A, 3478);
	at_b = endpoint_ipv4(B, 3478);
	t->a = seal_of(A, B, &old_key, 1);
	t->b = seal_of(B, A, &old_key, 1);
	assert_int_equal(node_new(&t->node_a, RUN_A, 0), 0);
	assert_int_equal(node_new(&t->node_b, RUN_B, 0), 0);
	*state = t;
	return 0;
}

static int two_free(void **state)
{
	struct two *t = *state;

	node_seal_free(t->a);
	node_seal_free(t->b);
	node_free(t->node_a);
	node_free(t->node_b);
	free(t);
	return 0;
}

static struct node_message question_of(uint64_t run, uint64_t peer_run, uint64_t number)
{
	return (struct node_message){ .kind = NODE_QUESTION, .port = 1, .run = run, .peer_run = peer_run, .number = number,
		.time_ms = WALL, .client = endpoint_ipv4(CLIENT, 40000), .question = question, .question_len = sizeof(question) };
}

static struct node_message beat_of(uint64_t run, uint64_t peer_run, uint64_t number)
{
	return (struct node_message){ .kind = NODE_HEARTBEAT, .run = run, .peer_run = peer_run, .number = number, .time_ms = WALL };
}

static enum node_verdict accept_at(struct node *n, struct node_message m, uint64_t now_ms, uint64_t wall_ms)
{
	struct node_news news;

	return node_accept(n, &m, now_ms, wall_ms, &news);
}

static enum node_verdict accept(struct node *n, struct node_message m)
{
	return accept_at(n, m, 0, WALL);
}

static enum node_verdict check(const struct two *t, const uint8_t *bytes, size_t len)
{
	struct node_message m;

	return node_check(t->b, &m, &at_a, bytes, len);
}

static void sign_question(struct two *t)
{
	const struct node_message m = question_of(RUN_A, RUN_B, 1);

	t->len = node_sign(t->a, &m, t->bytes, sizeof(t->bytes));
	assert_int_equal(t->len, NODE_OVERHEAD + sizeof(question));
}

static void what_is_signed_arrives_as_it_was(void **state)
{
	struct two *t = *state;
	struct node_message m;

	sign_question(t);
	assert_int_equal(node_check(t->b, &m, &at_a, t->bytes, t->len), NODE_FINE);
	assert_int_equal(m.kind, NODE_QUESTION);
	assert_int_equal(m.port, 1);
	assert_true(m.run == RUN_A && m.peer_run == RUN_B && m.number == 1 && m.time_ms == WALL);
	assert_true(endpoint_equal(&m.client, &(struct endpoint){ .family = ENDPOINT_IPV4, .port = 40000, .ip = { 192, 0, 2, 9 } }));
	assert_int_equal(m.question_len, sizeof(question));
	assert_memory_equal(m.question, question, sizeof(question));
}

/* The picture in node.h, and an HMAC made elsewhere (Python's hmac). */
static void the_bytes_are_those_of_the_header(void **state)
{
	static const uint8_t want[] = {
		0xf5, 1, 3, 1, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8,
		0, 0, 0, 0, 0, 0, 0, 1, 0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,
		4, 0, 0x9c, 0x40, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
		0x50, 0xfd, 0xab, 0x25, 0x96, 0xa6, 0xee, 0x7a, 0x80, 0xa5, 0x58, 0x35, 0x71, 0xe1, 0x20, 0xdf,
		0x4b, 0xd1, 0x50, 0x16, 0x9a, 0x47, 0x9c, 0x4c, 0xc5, 0x8f, 0xde, 0xbc, 0x10, 0x65, 0xc6, 0x10
	};
	struct two *t = *state;

	sign_question(t);
	assert_int_equal(t->len, sizeof(want));
	assert_memory_equal(t->bytes, want, sizeof(want));
	assert_true(t->bytes[0] >> 6 != 0); /* not STUN */
}

static void every_altered_bit_is_refused(void **state)
{
	struct two *t = *state;

	sign_question(t);
	for (size_t i = 0; i < t->len * 8; i++) {
		t->bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(check(t, t->bytes, t->len), NODE_FINE);
		t->bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_int_equal(check(t, t->bytes, t->len), NODE_FINE);
}

static void every_truncation_and_extension_is_refused(void **state)
{
	struct two *t = *state;
	uint8_t *exact;

	sign_question(t);
	for (size_t len = 0; len < t->len; len++) {
		exact = malloc(len + 1); /* so that the sanitizer sees a read beyond it */
		memcpy(exact, t->bytes, len);
		assert_int_equal(check(t, exact, len), len < NODE_OVERHEAD ? NODE_MALFORMED : NODE_FORGED);
		free(exact);
	}
	t->bytes[t->len] = 0;
	assert_int_equal(check(t, t->bytes, t->len + 1), NODE_FORGED);
}

static void a_message_sent_back_to_its_sender_is_refused(void **state)
{
	struct two *t = *state;
	struct node_message m;

	sign_question(t);
	assert_int_equal(node_check(t->a, &m, &at_b, t->bytes, t->len), NODE_FORGED);
	assert_int_equal(node_check(t->a, &m, &at_a, t->bytes, t->len), NODE_STRANGER);
}

static void only_the_peers_address_is_listened_to_whatever_its_port(void **state)
{
	struct two *t = *state;
	const struct endpoint elsewhere = endpoint_ipv4(CLIENT, 3478), natted = endpoint_ipv4(A, 61000);
	struct node_message m;

	sign_question(t);
	assert_int_equal(node_check(t->b, &m, &elsewhere, t->bytes, t->len), NODE_STRANGER);
	assert_int_equal(node_check(t->b, &m, &natted, t->bytes, t->len), NODE_FINE);
}

static void other_ports_or_addresses_of_either_are_another_pair(void **state)
{
	struct two *t = *state;
	struct node_identity a = identity(A), b = identity(B);
	struct node_message m;
	struct node_seal *s;

	sign_question(t);
	b.at[1].port = 5000;
	assert_int_equal(node_seal_new(&s, &b, &a, &old_key, 1), 0);
	assert_int_equal(node_check(s, &m, &at_a, t->bytes, t->len), NODE_FORGED);
	node_seal_free(s);
	s = seal_of(B + 1, A, &old_key, 1);
	assert_int_equal(node_check(s, &m, &at_a, t->bytes, t->len), NODE_FORGED);
	node_seal_free(s);
}

static void a_key_of_others_is_refused(void **state)
{
	struct two *t = *state;
	struct node_seal *s = seal_of(B, A, &new_key, 1);
	struct node_message m;

	sign_question(t);
	assert_int_equal(node_check(s, &m, &at_a, t->bytes, t->len), NODE_FORGED);
	node_seal_free(s);
}

/* First both nodes learn of the new key, then each signs with it, then the old one goes. */
static void keys_are_changed_one_node_after_the_other(void **state)
{
	const struct node_key steps[][2] = { { old_key, old_key }, { old_key, new_key }, { new_key, old_key }, { new_key, new_key } };
	const struct node_message m = question_of(RUN_A, RUN_B, 1);
	uint8_t bytes[256];

	(void)state;
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 4; k++) {
			struct node_seal *a = seal_of(A, B, steps[i], 2), *b = seal_of(B, A, steps[k], 2);
			const size_t len = node_sign(a, &m, bytes, sizeof(bytes));
			struct node_message got;

			/* Neighbouring steps understand each other. */
			if (abs(i - k) <= 1)
				assert_int_equal(node_check(b, &got, &at_a, bytes, len), NODE_FINE);
			node_seal_free(a);
			node_seal_free(b);
		}
	}
}

static void only_the_first_key_signs(void **state)
{
	const struct node_key both[] = { new_key, old_key };
	struct two *t = *state;
	struct node_seal *a = seal_of(A, B, both, 2);
	const struct node_message m = question_of(RUN_A, RUN_B, 1);

	t->len = node_sign(a, &m, t->bytes, sizeof(t->bytes));
	assert_int_equal(check(t, t->bytes, t->len), NODE_FORGED); /* B has the old one only */
	node_seal_free(a);
}

/* Signed by who has the key, and yet not of the form. */
static void a_genuine_message_of_bad_form_is_refused(void **state)
{
	struct two *t = *state;
	struct node_message bad[12];

	for (size_t i = 0; i < 12; i++)
		bad[i] = i < 6 ? question_of(RUN_A, RUN_B, 1) : beat_of(RUN_A, RUN_B, 1);
	bad[0].kind = 4;
	bad[1].port = 2;
	bad[2].client.port = 0;
	bad[3].client.family = ENDPOINT_IPV6;
	bad[4].client.ip[4] = 1;
	bad[5].run = 0;
	bad[6].number = 0;
	bad[7].port = 1;
	bad[8].client.family = ENDPOINT_IPV4;
	bad[9].client.port = 1;
	bad[10].client.ip[0] = 1;
	bad[11].question = question;
	bad[11].question_len = sizeof(question);
	for (size_t i = 0; i < 12; i++) {
		t->len = node_sign(t->a, &bad[i], t->bytes, sizeof(t->bytes));
		assert_int_equal(check(t, t->bytes, t->len), NODE_MALFORMED);
	}
}

static void what_does_not_fit_is_not_written(void **state)
{
	static uint8_t large[NODE_MESSAGE_MAX + 1], room[70000];
	struct two *t = *state;
	struct node_message m = question_of(RUN_A, RUN_B, 1);

	for (size_t max = 0; max < NODE_OVERHEAD + sizeof(question); max++)
		assert_int_equal(node_sign(t->a, &m, t->bytes, max), 0);
	m.question = large;
	m.question_len = NODE_MESSAGE_MAX - NODE_OVERHEAD;
	assert_int_equal(node_sign(t->a, &m, room, sizeof(room)), NODE_MESSAGE_MAX);
	assert_int_equal(check(t, room, NODE_MESSAGE_MAX), NODE_FINE);
	m.question_len++;
	assert_int_equal(node_sign(t->a, &m, room, sizeof(room)), 0);
}

static void a_replay_is_refused(void **state)
{
	struct two *t = *state;

	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, 1)), NODE_FINE);
	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, 1)), NODE_REPLAYED);
	assert_int_equal(accept(t->node_b, beat_of(RUN_A, RUN_B, 1)), NODE_REPLAYED);
	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, 2)), NODE_FINE);
	assert_int_equal(accept_at(t->node_b, question_of(RUN_A, RUN_B, 2), 40000, WALL + 40000), NODE_REPLAYED);
}

/* Against a memory without bounds, over numbers that run, jump and come late. */
static void the_memory_of_numbers_is_exact(void **state)
{
	static bool taken[1 << 20];
	struct two *t = *state;
	uint64_t highest = 0, dice = 1;

	memset(taken, 0, sizeof(taken));
	for (int i = 0; i < 200000; i++) {
		uint64_t number;

		dice = dice * 6364136223846793005u + 1442695040888963407u;
		if (dice >> 60 == 0)
			number = highest + 1 + (dice >> 40) % (dice >> 59 & 1 ? 3 * NODE_WINDOW : 70);
		else
			number = highest + 4 - (dice >> 40) % (NODE_WINDOW + 200);
		if (number == 0 || number > highest + 3 * NODE_WINDOW || number >= 1 << 20)
			continue;
		const enum node_verdict v = accept(t->node_b, question_of(RUN_A, RUN_B, number));

		if (taken[number])
			assert_int_equal(v, NODE_REPLAYED);
		else if (number + NODE_WINDOW - 64 > highest)
			assert_int_equal(v, NODE_FINE);
		else if (number + NODE_WINDOW <= highest)
			assert_int_equal(v, NODE_REPLAYED);
		taken[number] |= v == NODE_FINE;
		highest = number > highest ? number : highest;
	}
	assert_true(highest > 1 << 18);
}

static void the_largest_numbers_are_like_others(void **state)
{
	struct two *t = *state;

	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, 5)), NODE_FINE);
	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, UINT64_MAX)), NODE_FINE);
	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, UINT64_MAX)), NODE_REPLAYED);
	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, UINT64_MAX - 1)), NODE_FINE);
	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, 6)), NODE_REPLAYED);
}

static void thirty_seconds_either_way_are_in_time(void **state)
{
	struct two *t = *state;
	struct node_news news;
	struct node_message m = question_of(RUN_A, RUN_B, 9);

	assert_int_equal(accept_at(t->node_b, question_of(RUN_A, RUN_B, 1), 0, WALL + 30000), NODE_FINE);
	assert_int_equal(accept_at(t->node_b, question_of(RUN_A, RUN_B, 2), 0, WALL - 30000), NODE_FINE);
	assert_int_equal(node_accept(t->node_b, &m, 0, WALL + 30001, &news), NODE_SKEWED);
	assert_int_equal(news.skew_ms, -30001);
	assert_int_equal(node_accept(t->node_b, &m, 0, WALL - 30001, &news), NODE_SKEWED);
	assert_int_equal(news.skew_ms, 30001);
	assert_int_equal(accept_at(t->node_b, m, 0, WALL), NODE_FINE); /* what was refused is not remembered */
	m.number = 10;
	m.time_ms = 0;
	assert_int_equal(accept(t->node_b, m), NODE_SKEWED);
	m.time_ms = UINT64_MAX;
	assert_int_equal(accept(t->node_b, m), NODE_SKEWED);
}

/* Its memory is gone, so what was captured before must be known by something else. */
static void after_a_restart_nothing_of_before_is_taken(void **state)
{
	struct two *t = *state;
	struct node *again;

	assert_int_equal(accept(t->node_b, question_of(RUN_A, RUN_B, 1)), NODE_FINE);
	assert_int_equal(node_new(&again, RUN_B + 1, 0), 0);
	assert_int_equal(accept(again, question_of(RUN_A, RUN_B, 1)), NODE_OTHER_RUN);
	assert_int_equal(accept(again, beat_of(RUN_A, RUN_B, 2)), NODE_FINE); /* answered, but the peer is not there for it */
	assert_int_equal(node_tick(again, 0).change, NODE_NO_CHANGE);
	assert_int_equal(accept(again, question_of(RUN_A, RUN_B + 1, 3)), NODE_FINE);
	node_free(again);
}

static void a_run_that_was_replaced_stays_so(void **state)
{
	struct two *t = *state;

	assert_int_equal(accept(t->node_b, beat_of(RUN_A, RUN_B, 1)), NODE_FINE);
	assert_int_equal(accept(t->node_b, beat_of(RUN_A + 1, RUN_B, 1)), NODE_FINE);
	assert_int_equal(accept(t->node_b, beat_of(RUN_A, RUN_B, 2)), NODE_OTHER_RUN);
	assert_int_equal(accept(t->node_b, beat_of(RUN_A + 1, RUN_B, 2)), NODE_FINE);
}

/* So many runs are remembered; the next is refused until the oldest cannot be replayed any more. */
static void the_memory_of_runs_is_bounded_and_fails_closed(void **state)
{
	struct two *t = *state;
	struct node_message m;

	for (uint64_t i = 1; i <= NODE_RUNS; i++)
		assert_int_equal(accept_at(t->node_b, beat_of(i, RUN_B, 1), i, WALL), NODE_FINE);
	assert_int_equal(accept_at(t->node_b, beat_of(100, RUN_B, 1), 60001, WALL), NODE_FULL);
	assert_int_equal(accept_at(t->node_b, beat_of(NODE_RUNS, RUN_B, 2), 60001, WALL), NODE_FINE); /* who is known goes on */
	for (uint64_t i = 1; i <= NODE_RUNS; i++)
		assert_int_equal(accept_at(t->node_b, beat_of(i, RUN_B, 1), 60001, WALL), NODE_REPLAYED);
	m = beat_of(100, RUN_B, 1);
	m.time_ms = WALL + 60002;
	assert_int_equal(accept_at(t->node_b, m, 60002, WALL + 60002), NODE_FINE);
	assert_int_equal(accept_at(t->node_b, beat_of(1, RUN_B, 1), 60002, WALL + 60002), NODE_SKEWED); /* forgotten, but too old */
}

/* --- liveness --- */

/* Sends m's next from one node and gives it to the other; returns what that wants to answer. */
static struct node_news pass(struct node *from, struct node *to, enum node_kind kind, uint64_t as_peer_run, uint64_t now_ms)
{
	struct node_message m = { .kind = kind };
	struct node_news news;

	node_stamp(from, &m, WALL + now_ms);
	if (as_peer_run)
		m.peer_run = as_peer_run;
	assert_int_equal(node_accept(to, &m, now_ms, WALL + now_ms, &news), NODE_FINE);
	return news;
}

static void two_nodes_that_start_find_each_other_at_once(void **state)
{
	struct two *t = *state;
	struct node_due due = node_tick(t->node_a, 0);
	struct node_news news;

	assert_true(due.beat);
	assert_int_equal(due.kind, NODE_ASK);
	news = pass(t->node_a, t->node_b, NODE_ASK, 0, 0);
	assert_true(news.answer_run == RUN_A);
	assert_int_equal(node_tick(t->node_b, 0).change, NODE_NO_CHANGE); /* A may be of long ago */
	news = pass(t->node_b, t->node_a, NODE_HEARTBEAT, news.answer_run, 0);
	assert_int_equal(node_tick(t->node_a, 0).change, NODE_ALIVE);
	assert_true(news.answer_run == RUN_B);
	news = pass(t->node_a, t->node_b, NODE_HEARTBEAT, news.answer_run, 0);
	assert_int_equal(node_tick(t->node_b, 0).change, NODE_ALIVE);
	assert_true(news.answer_run == RUN_A);
	news = pass(t->node_b, t->node_a, NODE_HEARTBEAT, news.answer_run, 0);
	assert_true(news.answer_run == 0); /* and it ends */
	assert_true(node_alive(t->node_a) && node_alive(t->node_b));
}

static void a_heartbeat_goes_every_five_seconds(void **state)
{
	struct two *t = *state;
	unsigned beats = 0;

	pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, 0);
	for (uint64_t now = 0; now < 60000; now += 10) {
		const struct node_due due = node_tick(t->node_b, now);

		if (due.beat)
			assert_int_equal(due.kind, NODE_HEARTBEAT);
		beats += due.beat;
		assert_in_range(due.wait_ms, 1, NODE_BEAT_MS);
		if (now % NODE_BEAT_MS == 2000)
			pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, now);
	}
	assert_int_equal(beats, 12);
}

static void a_silent_peer_is_asked_each_second_and_dead_after_sixteen(void **state)
{
	struct two *t = *state;
	unsigned asked = 0;

	pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, 0);
	assert_int_equal(node_tick(t->node_b, 0).change, NODE_ALIVE);
	for (uint64_t now = 0; now < NODE_DEAD_MS; now += 100) {
		const struct node_due due = node_tick(t->node_b, now);

		assert_int_equal(due.change, NODE_NO_CHANGE);
		asked += due.beat && due.kind == NODE_ASK;
	}
	assert_in_range(asked, 9, 11);
	assert_int_equal(node_tick(t->node_b, NODE_DEAD_MS).change, NODE_DEAD);
	assert_false(node_alive(t->node_b));
	asked = 0;
	for (uint64_t now = NODE_DEAD_MS; now < 4 * NODE_DEAD_MS; now += 100)
		asked += node_tick(t->node_b, now).beat;
	assert_in_range(asked, 9, 10); /* then every five seconds */
	pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, 4 * NODE_DEAD_MS);
	assert_int_equal(node_tick(t->node_b, 4 * NODE_DEAD_MS).change, NODE_ALIVE);
}

static void a_tick_is_never_late_for_what_it_announced(void **state)
{
	struct two *t = *state;
	uint64_t now = 0, dead_at = 0;

	pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, 0);
	for (int i = 0; i < 100 && !dead_at; i++) {
		const struct node_due due = node_tick(t->node_b, now);

		assert_true(due.wait_ms > 0);
		if (due.change == NODE_DEAD)
			dead_at = now;
		now += due.wait_ms;
	}
	assert_int_equal(dead_at, NODE_DEAD_MS);
}

static void a_peer_never_heard_is_called_dead_once(void **state)
{
	struct two *t = *state;
	unsigned changes = 0;

	for (uint64_t now = 0; now < 100000; now += 500) {
		const struct node_due due = node_tick(t->node_a, now);

		changes += due.change != NODE_NO_CHANGE;
		assert_false(node_alive(t->node_a));
		assert_int_equal(due.change == NODE_DEAD, now == NODE_DEAD_MS);
	}
	assert_int_equal(changes, 1);
}

/* Half a day of beats, each lost with 5 %, and nobody is called dead. */
static void five_percent_loss_kills_nobody(void **state)
{
	struct two *t = *state;
	struct node *nodes[2] = { t->node_a, t->node_b };
	uint64_t dice = 7, answer[2] = { 0 };

	pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, 0);
	pass(t->node_b, t->node_a, NODE_HEARTBEAT, RUN_A, 0);
	for (uint64_t now = 0; now < 43200000; now += 100) {
		for (int i = 0; i < 2; i++) {
			const struct node_due due = node_tick(nodes[i], now);

			assert_int_not_equal(due.change, NODE_DEAD);
			if (!due.beat && !answer[i])
				continue;
			answer[i] = 0;
			dice = dice * 6364136223846793005u + 1442695040888963407u;
			if ((dice >> 33) % 100 >= 5)
				answer[!i] = pass(nodes[i], nodes[!i], due.beat ? due.kind : NODE_HEARTBEAT, 0, now).answer_run;
		}
	}
}

static void a_restarted_peer_is_found_again_and_told_so(void **state)
{
	struct two *t = *state;
	struct node *again;
	struct node_news news;

	pass(t->node_a, t->node_b, NODE_HEARTBEAT, RUN_B, 0);
	pass(t->node_b, t->node_a, NODE_HEARTBEAT, RUN_A, 0);
	assert_int_equal(node_tick(t->node_a, 0).change, NODE_ALIVE);
	assert_int_equal(node_new(&again, RUN_B + 1, 1000), 0);
	news = pass(again, t->node_a, NODE_ASK, 0, 1000);
	assert_true(news.answer_run == RUN_B + 1);
	news = pass(t->node_a, again, NODE_HEARTBEAT, news.answer_run, 1000);
	assert_int_equal(node_tick(again, 1000).change, NODE_ALIVE);
	pass(again, t->node_a, NODE_HEARTBEAT, news.answer_run, 1000);
	assert_int_equal(node_tick(t->node_a, 1000).change, NODE_NO_CHANGE); /* it was not missed */
	struct node_message m = { .kind = NODE_QUESTION };

	node_stamp(t->node_a, &m, WALL);
	assert_true(m.peer_run == RUN_B + 1);
	node_free(again);
}

#define TWO(name) cmocka_unit_test_setup_teardown(name, two_new, two_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TWO(what_is_signed_arrives_as_it_was),
		TWO(the_bytes_are_those_of_the_header),
		TWO(every_altered_bit_is_refused),
		TWO(every_truncation_and_extension_is_refused),
		TWO(a_message_sent_back_to_its_sender_is_refused),
		TWO(only_the_peers_address_is_listened_to_whatever_its_port),
		TWO(other_ports_or_addresses_of_either_are_another_pair),
		TWO(a_key_of_others_is_refused),
		TWO(keys_are_changed_one_node_after_the_other),
		TWO(only_the_first_key_signs),
		TWO(a_genuine_message_of_bad_form_is_refused),
		TWO(what_does_not_fit_is_not_written),
		TWO(a_replay_is_refused),
		TWO(the_memory_of_numbers_is_exact),
		TWO(the_largest_numbers_are_like_others),
		TWO(thirty_seconds_either_way_are_in_time),
		TWO(after_a_restart_nothing_of_before_is_taken),
		TWO(a_run_that_was_replaced_stays_so),
		TWO(the_memory_of_runs_is_bounded_and_fails_closed),
		TWO(two_nodes_that_start_find_each_other_at_once),
		TWO(a_heartbeat_goes_every_five_seconds),
		TWO(a_silent_peer_is_asked_each_second_and_dead_after_sixteen),
		TWO(a_tick_is_never_late_for_what_it_announced),
		TWO(a_peer_never_heard_is_called_dead_once),
		TWO(five_percent_loss_kills_nobody),
		TWO(a_restarted_peer_is_found_again_and_told_so),
	};

	return RUN(tests);
}
