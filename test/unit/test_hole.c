/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "lib/hole.h"
#include "test/sim/sim.h"

#define KEEPALIVE_MS 20000
#define MINUTE_MS    60000
#define HOUR_MS	     3600000
#define RTT_MS	     40

enum mood { HONEST, LYING, DEAD, REFUSING /* error 500; a stream's connect fails */ };

struct server {
	struct endpoint at;
	enum mood mood;
	unsigned asked;
	bool hangs_up; /* after each answer */
};

/* One hole, its servers and the NAT between them, which shows `outer` to the honest ones. */
struct world {
	struct sim sim;
	struct hole hole;
	struct server servers[4];
	size_t count;
	struct endpoint outer, lie;
	unsigned told[HOLE_SUSPECT + 1]; /* how often each hole_action came */
	uint64_t told_ms[HOLE_SUSPECT + 1];
	bool disagree;
	unsigned forgets; /* questions that are lost on their way, so many */
	unsigned stale;	  /* HOLE_FAILED of a connection, not of a server */
	uint64_t sent_ms[8]; /* the last sendings, by count modulo 8 */
	unsigned sent;
};

static void world_new(struct world *w, size_t servers, bool stream)
{
	*w = (struct world){ .count = servers, .outer = endpoint_ipv4(0xcb007109u, 40001),
		.lie = endpoint_ipv4(0xc6336401u, 6666) };
	sim_seed(1);
	w->sim.now_ms = 1000000; /* no clock begins at 0 */
	for (size_t i = 0; i < 4; i++)
		w->servers[i].at = endpoint_ipv4(0xc0000201u + (uint32_t)i, STUN_PORT);
	hole_init(&w->hole, &(struct hole_config){ .stream = stream, .keepalive_ms = KEEPALIVE_MS, .random = sim_random },
		w->sim.now_ms);
}

static void serve(struct world *w, const struct hole_step *step)
{
	struct server *s = w->servers;
	uint8_t buf[256];

	while (!endpoint_equal(&s->at, &step->to))
		s++;
	s->asked++;
	w->sent_ms[w->sent++ % 8] = w->sim.now_ms;
	if (w->forgets && w->forgets--)
		return;
	if (s->mood == REFUSING && w->hole.config.stream)
		hole_break(&w->hole, &s->at, w->sim.now_ms);
	else if (s->mood == REFUSING)
		sim_put(&w->sim, RTT_MS, 0, &s->at, buf, sim_refusal(buf, step->bytes, step->len, 500));
	else if (s->mood != DEAD && !sim_lost(&w->sim))
		sim_put(&w->sim, RTT_MS, 0, &s->at, buf,
			sim_answer(buf, step->bytes, step->len, s->mood == LYING ? &w->lie : &w->outer, NULL));
}

/* Does what the hole says until it waits; it must come to wait soon, and until a time that lies ahead. */
static void drain(struct world *w)
{
	struct endpoint servers[4];
	struct hole_step step;
	enum hole_action action;
	unsigned steps = 0;

	for (size_t i = 0; i < 4; i++)
		servers[i] = w->servers[i].at;
	while ((action = hole_step(&w->hole, servers, w->count, w->sim.now_ms, &step)) != HOLE_WAIT) {
		w->told[action]++;
		w->told_ms[action] = w->sim.now_ms;
		if (action == HOLE_SEND)
			serve(w, &step);
		w->stale += action == HOLE_FAILED && step.stale;
		if (action == HOLE_GONE)
			w->disagree = step.disagree;
		assert_true(++steps < 30);
	}
	assert_true(hole_wake_ms(&w->hole) > w->sim.now_ms);
}

static void run_until(struct world *w, uint64_t end_ms)
{
	struct sim_packet p;

	for (;;) {
		uint64_t wake_ms;

		drain(w);
		while (sim_take(&w->sim, &p)) {
			hole_receive(&w->hole, &p.from, p.bytes, p.len, w->sim.now_ms);
			for (size_t i = 0; i < 4; i++)
				if (w->servers[i].hangs_up && endpoint_equal(&w->servers[i].at, &p.from))
					hole_break(&w->hole, &p.from, w->sim.now_ms);
			drain(w);
		}
		wake_ms = hole_wake_ms(&w->hole);
		if (sim_wake_ms(&w->sim) < wake_ms)
			wake_ms = sim_wake_ms(&w->sim);
		if (wake_ms > end_ms)
			break;
		w->sim.now_ms = wake_ms;
	}
	w->sim.now_ms = end_ms;
}

static void run_for(struct world *w, uint64_t ms)
{
	run_until(w, w->sim.now_ms + ms);
}

/* An open hole with nothing counted yet. */
static void world_open(struct world *w, size_t servers, bool stream)
{
	world_new(w, servers, stream);
	run_for(w, 100);
	assert_int_equal(w->hole.state, HOLE_OPEN);
	for (size_t i = 0; i < 4; i++)
		w->servers[i].asked = 0;
	memset(w->told, 0, sizeof(w->told));
	w->sent = 0;
}

static void a_hole_is_punched_in_one_round_trip(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_new(&w, 1, stream);
		assert_int_equal(w.hole.state, HOLE_PUNCHING);
		run_for(&w, RTT_MS);
		assert_int_equal(w.hole.state, HOLE_OPEN);
		assert_true(endpoint_equal(&w.hole.outer, &w.outer));
		assert_int_equal(w.told[HOLE_OPENED], 1);
		assert_int_equal(w.sent, 1);
		assert_int_equal(w.hole.rtt_ms, RTT_MS);
	}
}

static void a_hole_may_be_of_ipv6(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 1, false);
	assert_int_equal(endpoint_parse_ip(&w.servers[0].at, "2001:db8::1", STUN_PORT), 0);
	assert_int_equal(endpoint_parse_ip(&w.outer, "2001:db8:9::9", 40001), 0);
	run_for(&w, RTT_MS);
	assert_int_equal(w.hole.state, HOLE_OPEN);
	assert_true(endpoint_equal(&w.hole.outer, &w.outer));
}

static void a_lost_question_is_sent_again(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 1, false);
	w.servers[0].mood = DEAD;
	run_for(&w, 1400);
	w.servers[0].mood = HONEST;
	run_for(&w, 100 + RTT_MS);
	assert_int_equal(w.told[HOLE_OPENED], 1);
	assert_int_equal(w.sent, 3); /* at 0, 500 and 1500 ms */
	assert_int_equal(w.hole.rtt_ms, 0); /* which of them was answered? */
	hole_recheck(&w.hole, w.sim.now_ms);
	run_for(&w, 100);
	w.servers[0].mood = DEAD;
	hole_recheck(&w.hole, w.sim.now_ms);
	run_for(&w, 400);
	w.servers[0].mood = HONEST;
	run_for(&w, 200);
	assert_int_equal(w.sent, 6);
	assert_int_equal(w.hole.rtt_ms, RTT_MS); /* the last one that is known */
}

static void the_next_server_is_asked_when_one_is_silent(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_new(&w, 3, stream);
		w.servers[0].mood = w.servers[1].mood = DEAD;
		run_for(&w, (stream ? 8000 : 5000) + RTT_MS);
		assert_int_equal(w.hole.state, HOLE_OPEN);
		assert_int_equal(w.servers[0].asked, stream ? 1 : 3);
		assert_int_equal(w.servers[1].asked, stream ? 1 : 3);
		assert_int_equal(w.servers[2].asked, 1);
		assert_int_equal(w.told[HOLE_GONE] + w.told[HOLE_SUSPECT], 0); /* nothing was there to lose */
	}
}

static void a_server_that_refuses_hands_over_at_once(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_new(&w, 2, stream);
		w.servers[0].mood = REFUSING;
		run_for(&w, RTT_MS + (stream ? 0 : RTT_MS));
		assert_int_equal(w.hole.state, HOLE_OPEN);
		assert_int_equal(w.servers[0].asked, 1);
		assert_int_equal(w.servers[1].asked, 1);
	}
}

static void a_hole_begins_at_the_server_it_was_given(void **state)
{
	struct world w;
	const uint32_t starts[] = { 0, 1, 2, 3, 5, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		world_new(&w, 3, false);
		hole_choose(&w.hole, starts[i]);
		run_for(&w, RTT_MS);
		assert_int_equal(w.servers[starts[i] % 3].asked, 1);
	}
}

static void a_keepalive_is_asked_each_interval_and_the_first_comes_early(void **state)
{
	unsigned quarters[4] = { 0 };
	struct world w;

	(void)state;
	for (uint32_t seed = 0; seed < 200; seed++) {
		uint64_t opened_ms, first_ms;

		world_new(&w, 1, false);
		sim_seed(seed);
		run_for(&w, RTT_MS);
		opened_ms = w.sim.now_ms;
		first_ms = hole_wake_ms(&w.hole) - opened_ms;
		assert_in_range(first_ms, 1, KEEPALIVE_MS);
		quarters[first_ms * 4 / (KEEPALIVE_MS + 1)]++;
		run_for(&w, first_ms + RTT_MS);
		assert_int_equal(w.sent, 2);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(hole_wake_ms(&w.hole) - w.sim.now_ms, KEEPALIVE_MS);
			run_for(&w, KEEPALIVE_MS + RTT_MS);
		}
		assert_int_equal(w.sent, 7);
	}
	for (size_t i = 0; i < 4; i++)
		assert_in_range(quarters[i], 25, 75);
}

static void a_change_is_believed_when_a_second_server_says_the_same(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_open(&w, 2, stream);
		w.outer.port = 50002;
		run_for(&w, KEEPALIVE_MS + 2 * RTT_MS);
		assert_int_equal(w.told[HOLE_SUSPECT], 1);
		assert_int_equal(w.told[HOLE_CHANGED], 1);
		assert_int_equal(w.told_ms[HOLE_CHANGED] - w.told_ms[HOLE_SUSPECT], RTT_MS);
		assert_int_equal(w.hole.outer.port, 50002);
		assert_int_equal(w.servers[0].asked, 1);
		assert_int_equal(w.servers[1].asked, 1);
		run_for(&w, HOUR_MS);
		assert_int_equal(w.told[HOLE_CHANGED], 1);
	}
}

static void one_server_alone_is_believed_when_it_says_it_twice(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, false);
	w.outer = endpoint_ipv4(0xcb007122u, 40001);
	run_for(&w, KEEPALIVE_MS + 2 * RTT_MS);
	assert_int_equal(w.told[HOLE_CHANGED], 1);
	assert_int_equal(w.servers[0].asked, 2);
	assert_true(endpoint_equal(&w.hole.outer, &w.outer));
}

static void a_dead_second_server_does_not_hide_a_change(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, false);
	w.servers[1].mood = DEAD;
	w.outer.port = 50002;
	run_for(&w, KEEPALIVE_MS + 2500 + 2 * RTT_MS);
	assert_int_equal(w.told[HOLE_CHANGED], 1);
	assert_int_equal(w.hole.outer.port, 50002);
	run_for(&w, HOUR_MS);
	assert_int_equal(w.told[HOLE_GONE], 0);
}

static void one_lying_server_among_several_changes_nothing(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 3, false);
	w.servers[0].mood = LYING;
	run_for(&w, HOUR_MS);
	assert_true(w.told[HOLE_SUSPECT] >= 1);
	assert_int_equal(w.told[HOLE_CHANGED] + w.told[HOLE_GONE], 0);
	assert_int_equal(w.hole.outer.port, 40001);
}

static void lies_now_and_then_do_not_add_up(void **state)
{
	struct world w;

	(void)state;
	for (unsigned same = 0; same < 2; same++) {
		world_open(&w, 1, false);
		for (unsigned i = 0; i < 20; i++) {
			w.servers[0].mood = LYING;
			if (!same)
				w.lie.port++;
			hole_recheck(&w.hole, w.sim.now_ms);
			run_for(&w, RTT_MS / 2);
			w.servers[0].mood = HONEST;
			run_for(&w, MINUTE_MS);
			assert_int_equal(w.told[HOLE_SUSPECT], i + 1);
		}
		assert_int_equal(w.told[HOLE_CHANGED] + w.told[HOLE_GONE], 0);
		assert_int_equal(w.hole.outer.port, 40001);
	}
}

/* A NAT that maps each question anew: no two answers are alike. */
static void answers_that_never_agree_lose_the_hole(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, false);
	while (w.told[HOLE_GONE] == 0 && w.sim.now_ms < 1000000 + HOUR_MS) {
		w.outer.port++;
		run_for(&w, RTT_MS);
	}
	assert_true(w.disagree);
	assert_int_equal(w.hole.state, HOLE_LOST);
	assert_int_equal(w.told[HOLE_CHANGED], 0);
	assert_int_equal(w.hole.outer.port, 40001); /* the last confirmed one is kept */
	assert_true(w.sent <= 4);
}

static void a_hole_lost_by_disagreement_opens_when_two_answers_agree(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, false);
	while (w.sim.now_ms < 1000000 + HOUR_MS) {
		w.outer.port++;
		run_for(&w, RTT_MS);
	}
	assert_int_equal(w.told[HOLE_GONE], 1); /* and does not flap */
	assert_int_equal(w.told[HOLE_OPENED] + w.told[HOLE_CHANGED], 0);
	assert_true(w.sent <= 4 + 2 * 120);
	run_for(&w, 31000);
	assert_int_equal(w.told[HOLE_OPENED], 1);
	assert_true(endpoint_equal(&w.hole.outer, &w.outer));
	w.servers[0].mood = w.servers[1].mood = DEAD;
	run_for(&w, MINUTE_MS);
	assert_int_equal(w.told[HOLE_GONE], 2);
	assert_false(w.disagree); /* this time it is silence */
}

static void a_silent_line_loses_the_hole_and_its_return_opens_it(void **state)
{
	struct world w;

	(void)state;
	for (size_t servers = 1; servers <= 4; servers++) {
		world_open(&w, servers, false);
		for (size_t i = 0; i < 4; i++)
			w.servers[i].mood = DEAD;
		run_for(&w, 2 * MINUTE_MS);
		assert_int_equal(w.told[HOLE_GONE], 1);
		assert_false(w.disagree);
		assert_true(w.told[HOLE_SUSPECT] >= 1);
		assert_int_equal(w.hole.state, HOLE_LOST);
		assert_int_equal(w.hole.outer.port, 40001);
		for (size_t i = 0; i < 4; i++)
			w.servers[i].mood = HONEST;
		w.outer.port = 50000;
		run_for(&w, 31000);
		assert_int_equal(w.told[HOLE_OPENED], 1);
		assert_int_equal(w.told[HOLE_CHANGED], 0);
		assert_int_equal(w.hole.outer.port, 50000);
	}
}

static void a_hole_is_not_lost_while_one_server_was_not_asked(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_open(&w, 4, stream);
		w.servers[0].mood = w.servers[1].mood = w.servers[2].mood = DEAD;
		run_for(&w, 5 * MINUTE_MS);
		assert_int_equal(w.told[HOLE_SUSPECT], stream ? 2 : 3); /* a connection that falls silent says nothing of its server */
		assert_int_equal(w.told[HOLE_GONE], 0);
		assert_int_equal(w.hole.state, HOLE_OPEN);
	}
}

/* A NAT that forgot a connection drops what is sent on it: another is tried long before a server would be given up. */
static void a_connection_that_falls_silent_is_replaced_at_once(void **state)
{
	struct world w;

	(void)state;
	for (size_t servers = 1; servers <= 2; servers++) {
		world_open(&w, servers, true);
		w.forgets = 1;
		w.outer.port = 50000;
		run_for(&w, KEEPALIVE_MS + 1000 + 5 * RTT_MS);
		assert_int_equal(w.hole.state, HOLE_OPEN);
		assert_int_equal(w.told[HOLE_CHANGED], 1);
		assert_int_equal(w.told[HOLE_FAILED], 1);
		assert_int_equal(w.stale, 1); /* no server is to blame */
		assert_int_equal(w.hole.outer.port, 50000);
		w.servers[0].mood = w.servers[1].mood = DEAD;
		run_for(&w, KEEPALIVE_MS + 1000 + 2 * RTT_MS + 8000 + 4000);
		assert_int_equal(w.stale, 2);
		assert_in_range(w.told[HOLE_FAILED], 4, 5); /* silence on a new connection is a server's */
		assert_int_equal(w.hole.state, HOLE_LOST);
	}
}

static void where_the_nat_is_known_to_forget_one_answer_is_enough(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_open(&w, 2, stream);
		hole_anew(&w.hole, w.sim.now_ms);
		run_for(&w, RTT_MS);
		assert_int_equal(w.told[HOLE_CHANGED], 0); /* it says what it said */
		w.outer.port = 50000;
		hole_recheck(&w.hole, w.sim.now_ms);
		run_for(&w, RTT_MS);
		assert_int_equal(w.told[HOLE_CHANGED], 0); /* that answer was the one that was believed */
		hole_anew(&w.hole, w.sim.now_ms);
		drain(&w);
		assert_int_equal(w.told[HOLE_CHANGED], 1); /* the one that waited for a second */
		w.outer.port = 50001;
		run_for(&w, 10);
		hole_anew(&w.hole, w.sim.now_ms);
		run_for(&w, RTT_MS);
		assert_int_equal(w.told[HOLE_CHANGED], 2);
		assert_int_equal(w.hole.outer.port, 50001);
	}
}

static void an_answer_forgives_the_failures_before_it(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, false);
	for (unsigned i = 0; i < 10; i++) {
		w.servers[0].mood = DEAD;
		run_for(&w, KEEPALIVE_MS + 2500);
		assert_int_equal(w.told[HOLE_SUSPECT], i + 1);
		w.servers[0].mood = HONEST;
		run_for(&w, 1000 + RTT_MS); /* the pause is that of a first round */
		assert_int_equal(w.hole.failures, 0);
		assert_false(w.hole.asking);
	}
	assert_int_equal(w.told[HOLE_GONE], 0);
}

/* Servers' operators do not want each lost line to knock every second. */
static void a_round_of_silence_slows_down(void **state)
{
	struct world w;

	(void)state;
	for (size_t servers = 1; servers <= 4; servers++) {
		world_new(&w, servers, false);
		for (size_t i = 0; i < 4; i++)
			w.servers[i].mood = DEAD;
		run_for(&w, 5 * MINUTE_MS);
		w.sent = 0;
		run_for(&w, 10 * MINUTE_MS);
		assert_true(w.sent / 3 <= 20 * servers); /* at most a round in 30 s */
		assert_true(w.sent / 3 >= 10 * servers); /* but one in a minute */
	}
}

static void what_is_no_answer_is_ignored(void **state)
{
	struct world w;
	struct hole_step step;
	struct endpoint elsewhere;
	uint8_t good[256], bad[256];
	size_t len;

	(void)state;
	world_new(&w, 1, false);
	assert_int_equal(hole_step(&w.hole, &w.servers[0].at, 1, w.sim.now_ms, &step), HOLE_SEND);
	len = sim_answer(good, step.bytes, step.len, &w.outer, NULL);

	for (size_t i = 4; i < 20; i++) { /* another id */
		memcpy(bad, good, len);
		bad[i] ^= 0x10;
		assert_false(hole_receive(&w.hole, &step.to, bad, len, w.sim.now_ms));
	}
	elsewhere = step.to;
	elsewhere.port++;
	assert_false(hole_receive(&w.hole, &elsewhere, good, len, w.sim.now_ms));
	elsewhere = step.to;
	elsewhere.ip[3]++;
	assert_false(hole_receive(&w.hole, &elsewhere, good, len, w.sim.now_ms));
	assert_false(hole_receive(&w.hole, &step.to, step.bytes, step.len, w.sim.now_ms)); /* a mirror: class request */
	for (size_t cut = 0; cut < len; cut++)
		assert_false(hole_receive(&w.hole, &step.to, good, cut, w.sim.now_ms));

	assert_int_equal(hole_step(&w.hole, &w.servers[0].at, 1, w.sim.now_ms, &step), HOLE_WAIT);
	assert_true(hole_receive(&w.hole, &w.servers[0].at, good, len, w.sim.now_ms));
	assert_false(hole_receive(&w.hole, &w.servers[0].at, good, len, w.sim.now_ms)); /* a duplicate */
	assert_int_equal(hole_wake_ms(&w.hole), 0);
	assert_int_equal(hole_step(&w.hole, &w.servers[0].at, 1, w.sim.now_ms, &step), HOLE_OPENED);
	assert_int_equal(hole_step(&w.hole, &w.servers[0].at, 1, w.sim.now_ms, &step), HOLE_WAIT);
}

/* The server answered, and said nothing of use: the next is asked at once. */
static void an_answer_of_no_use_fails_over(void **state)
{
	struct endpoint ipv6 = { .family = ENDPOINT_IPV6, .port = 40001, .ip = { 0x20, 1 } };
	struct endpoint port_0 = endpoint_ipv4(0xcb007109u, 0);
	struct endpoint nowhere = endpoint_ipv4(0, 40001);
	enum { NO_PORT, NOWHERE, OTHER_FAMILY, NOTHING, MALFORMED, UNKNOWN_ATTRIBUTE, ERROR, KINDS };

	(void)state;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct world w;
		struct endpoint servers[2];
		struct hole_step step;
		struct stun_message m;
		struct stun_builder b;
		uint8_t buf[256];

		world_new(&w, 2, false);
		servers[0] = w.servers[0].at;
		servers[1] = w.servers[1].at;
		assert_int_equal(hole_step(&w.hole, servers, 2, w.sim.now_ms, &step), HOLE_SEND);
		assert_int_equal(stun_decode(&m, step.bytes, step.len), 0);
		stun_begin(&b, buf, sizeof(buf), kind == ERROR ? STUN_ERROR : STUN_SUCCESS, STUN_BINDING, m.id);
		if (kind <= OTHER_FAMILY)
			stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, kind == NO_PORT ? &port_0 : kind == NOWHERE ? &nowhere : &ipv6);
		else if (kind == MALFORMED)
			stun_put_bytes(&b, STUN_XOR_MAPPED_ADDRESS, "\0\1\1\1\1\2\3", 7);
		else if (kind == ERROR)
			stun_put_error(&b, 300, "Try Alternate");
		if (kind == UNKNOWN_ATTRIBUTE) { /* RFC 8489 section 6.3.3 */
			stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &w.outer);
			stun_put_bytes(&b, 0x7abc, "", 0);
		}
		assert_true(hole_receive(&w.hole, &servers[0], buf, stun_end(&b), w.sim.now_ms));
		assert_int_equal(hole_step(&w.hole, servers, 2, w.sim.now_ms, &step), HOLE_FAILED);
		assert_true(endpoint_equal(&step.to, &servers[0]));
		assert_int_equal(hole_step(&w.hole, servers, 2, w.sim.now_ms, &step), HOLE_SEND);
		assert_true(endpoint_equal(&step.to, &servers[1]));
		assert_int_equal(w.hole.state, HOLE_PUNCHING);
	}
}

static void a_question_carries_a_new_id_and_its_repetition_the_same(void **state)
{
	struct hole h;
	struct hole_step step;
	const struct endpoint server = endpoint_ipv4(0xc0000201u, STUN_PORT);
	uint8_t first[STUN_HEADER_LEN];

	(void)state;
	sim_seed(1);
	hole_init(&h, &(struct hole_config){ .keepalive_ms = KEEPALIVE_MS, .random = sim_random }, 0);
	assert_int_equal(hole_step(&h, &server, 1, 0, &step), HOLE_SEND);
	assert_int_equal(step.len, STUN_HEADER_LEN);
	memcpy(first, step.bytes, sizeof(first));
	assert_memory_equal(first, "\0\1\0\0\x21\x12\xa4\x42", 8);
	assert_int_equal(hole_step(&h, &server, 1, 500, &step), HOLE_SEND);
	assert_memory_equal(step.bytes, first, sizeof(first));
	assert_int_equal(hole_step(&h, &server, 1, 1500, &step), HOLE_SEND);
	assert_int_equal(hole_step(&h, &server, 1, 2500, &step), HOLE_FAILED); /* and a round with it */
	assert_int_equal(hole_step(&h, &server, 1, 2500, &step), HOLE_WAIT);
	assert_int_equal(hole_step(&h, &server, 1, 3500, &step), HOLE_SEND);
	assert_memory_not_equal(step.bytes, first, sizeof(first));
}

static void a_recheck_asks_now(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, false);
	hole_recheck(&w.hole, w.sim.now_ms);
	hole_recheck(&w.hole, w.sim.now_ms);
	assert_true(hole_wake_ms(&w.hole) <= w.sim.now_ms);
	run_for(&w, 100);
	assert_int_equal(w.sent, 1);
	assert_int_equal(w.told[HOLE_SUSPECT] + w.told[HOLE_CHANGED] + w.told[HOLE_OPENED], 0);
	hole_recheck(&w.hole, w.sim.now_ms);
	drain(&w);
	hole_recheck(&w.hole, w.sim.now_ms); /* while asking: that question will do */
	run_for(&w, 100);
	assert_int_equal(w.sent, 2);
}

/* The line was away: a lost hole rests up to half a minute, and a question was on its way to nowhere. */
static void a_restarted_hole_asks_now_whatever_it_was_at(void **state)
{
	(void)state;
	for (unsigned silence_ms = 0; silence_ms < 5 * MINUTE_MS; silence_ms += 7300) {
		const bool stream = silence_ms % 2;
		struct world w;

		world_open(&w, 2, stream);
		w.servers[0].mood = w.servers[1].mood = DEAD;
		run_for(&w, silence_ms);
		w.servers[0].mood = w.servers[1].mood = HONEST;
		hole_restart(&w.hole, w.sim.now_ms);
		w.sent = 0;
		run_for(&w, 2 * RTT_MS);
		assert_int_equal(w.sent, 1);
		assert_int_equal(w.hole.state, HOLE_OPEN);
		assert_true(endpoint_equal(&w.hole.outer, &w.outer));
		assert_int_equal(w.told[HOLE_CHANGED], 0);
	}
}

static void each_keepalive_tells_how_long_the_silence_was(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, false);
	run_for(&w, KEEPALIVE_MS);
	memset(w.told, 0, sizeof(w.told));
	run_for(&w, 3 * KEEPALIVE_MS + 4 * RTT_MS);
	assert_int_equal(w.told[HOLE_HELD], 3);
	assert_int_equal(w.hole.silent_ms, KEEPALIVE_MS);
	w.outer.port++;
	run_for(&w, KEEPALIVE_MS + 2 * RTT_MS);
	assert_int_equal(w.told[HOLE_CHANGED], 1);
	assert_int_equal(w.hole.silent_ms, KEEPALIVE_MS); /* not that before the second answer */
	memset(w.told, 0, sizeof(w.told));
	w.servers[0].mood = w.servers[1].mood = DEAD; /* the questions refresh the mapping, nobody answers */
	run_for(&w, KEEPALIVE_MS + 2000);
	w.servers[0].mood = w.servers[1].mood = HONEST;
	run_for(&w, 2000);
	assert_int_equal(w.told[HOLE_HELD], 0);
	assert_int_equal(w.told[HOLE_SUSPECT], 1);
}

static void a_shorter_keepalive_counts_at_once_and_spreads(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, false);
	run_for(&w, KEEPALIVE_MS + RTT_MS);
	while (w.hole.heard_ms != w.sim.now_ms)
		run_for(&w, 1);
	run_for(&w, 2000);
	hole_keepalive(&w.hole, 5000, w.sim.now_ms);
	assert_int_equal(hole_wake_ms(&w.hole), w.hole.heard_ms + 5000);
	run_for(&w, 1000);
	hole_keepalive(&w.hole, 2000, w.sim.now_ms); /* overdue */
	assert_int_equal(hole_wake_ms(&w.hole), w.sim.now_ms);
	run_for(&w, RTT_MS);
	assert_in_range(hole_wake_ms(&w.hole) - w.sim.now_ms, 1, 2000);
	hole_keepalive(&w.hole, 60000, w.sim.now_ms); /* a longer one begins with the next rest */
	assert_in_range(hole_wake_ms(&w.hole) - w.sim.now_ms, 1, 2000);
}

static void the_server_of_a_question_may_be_chosen_and_the_question_put_off(void **state)
{
	struct world w;
	bool retry;

	(void)state;
	world_open(&w, 3, false);
	assert_false(hole_begins(&w.hole, w.sim.now_ms, &retry));
	hole_recheck(&w.hole, w.sim.now_ms);
	assert_true(hole_begins(&w.hole, w.sim.now_ms, &retry));
	assert_false(retry);
	hole_defer(&w.hole, w.sim.now_ms + 300);
	assert_false(hole_begins(&w.hole, w.sim.now_ms, &retry));
	run_for(&w, 299);
	assert_int_equal(w.sent, 0);
	hole_choose(&w.hole, 2);
	w.servers[2].mood = DEAD;
	run_for(&w, 1);
	assert_int_equal(w.servers[2].asked, 1);
	assert_false(hole_begins(&w.hole, w.sim.now_ms, &retry));
	hole_defer(&w.hole, w.sim.now_ms + 60000); /* it is being asked */
	run_for(&w, 2500 + RTT_MS);
	assert_int_equal(hole_server(&w.hole) % 3, 0);
}

static void a_hole_is_sure_while_nothing_speaks_against_it(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_new(&w, 2, stream);
		assert_false(hole_sure(&w.hole, w.sim.now_ms)); /* it is being punched */
		run_for(&w, RTT_MS);
		assert_true(hole_sure(&w.hole, w.sim.now_ms));
		run_for(&w, 5 * KEEPALIVE_MS);
		assert_true(hole_sure(&w.hole, w.sim.now_ms));
		hole_recheck(&w.hole, w.sim.now_ms);
		assert_false(hole_sure(&w.hole, w.sim.now_ms)); /* somebody suspects something */
		run_for(&w, RTT_MS);
		assert_true(hole_sure(&w.hole, w.sim.now_ms));
		w.outer.port++;
		hole_recheck(&w.hole, w.sim.now_ms);
		run_for(&w, RTT_MS);
		assert_false(hole_sure(&w.hole, w.sim.now_ms)); /* an answer deviated */
		run_for(&w, RTT_MS);
		assert_true(hole_sure(&w.hole, w.sim.now_ms));
		hole_break(&w.hole, &w.hole.asked, w.sim.now_ms);
		assert_false(hole_sure(&w.hole, w.sim.now_ms));
		run_for(&w, 2000);
		assert_true(hole_sure(&w.hole, w.sim.now_ms));
		assert_false(hole_sure(&w.hole, w.sim.now_ms + 2 * KEEPALIVE_MS)); /* the machine slept */
	}
}

/* Else ten thousand holes would ask at one moment from then on, each keepalive. */
static void holes_rechecked_together_spread_again(void **state)
{
	unsigned quarters[4] = { 0 };

	(void)state;
	for (uint32_t seed = 0; seed < 200; seed++) {
		struct world w;
		uint64_t rest_ms;

		world_open(&w, 2, false);
		sim_seed(seed);
		w.outer.port += seed % 2; /* a change, or none */
		hole_recheck(&w.hole, w.sim.now_ms);
		run_for(&w, RTT_MS * (1 + seed % 2));
		rest_ms = hole_wake_ms(&w.hole) - w.sim.now_ms;
		assert_in_range(rest_ms, 1, KEEPALIVE_MS);
		quarters[rest_ms * 4 / (KEEPALIVE_MS + 1)]++;
		run_for(&w, rest_ms + RTT_MS);
		assert_int_equal(hole_wake_ms(&w.hole) - w.sim.now_ms, KEEPALIVE_MS);
	}
	for (size_t i = 0; i < 4; i++)
		assert_in_range(quarters[i], 25, 75);
}

static void a_hole_without_servers_waits_for_some(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 0, false);
	run_for(&w, MINUTE_MS);
	assert_int_equal(w.sent, 0);
	assert_int_equal(w.hole.state, HOLE_PUNCHING);
	w.count = 2;
	run_for(&w, 1000 + RTT_MS);
	assert_int_equal(w.hole.state, HOLE_OPEN);
}

static void the_server_list_may_shrink_at_any_time(void **state)
{
	struct world w;

	(void)state;
	for (size_t left = 0; left < 4; left++) {
		world_new(&w, 4, false);
		w.servers[0].mood = w.servers[1].mood = w.servers[2].mood = w.servers[3].mood = DEAD;
		run_for(&w, 8000); /* the fourth is being asked */
		w.count = left;
		w.servers[0].mood = HONEST;
		run_for(&w, 40000);
		assert_int_equal(w.hole.state, left ? HOLE_OPEN : HOLE_PUNCHING);
	}
}

static void a_server_that_hangs_up_after_each_answer_is_not_asked_each_second(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, true);
	w.servers[0].hangs_up = true;
	run_for(&w, 2 * MINUTE_MS);
	w.servers[0].asked = 0;
	run_for(&w, HOUR_MS);
	assert_in_range(w.servers[0].asked, HOUR_MS / KEEPALIVE_MS - 2, HOUR_MS / KEEPALIVE_MS + 1);
	assert_int_equal(w.told[HOLE_GONE], 0);
}

static void a_connection_that_breaks_is_made_again_soon(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, true);
	hole_break(&w.hole, &w.servers[1].at, w.sim.now_ms); /* another's is of no concern */
	run_for(&w, 3000);
	assert_int_equal(w.sent, 0);
	hole_break(&w.hole, &w.servers[0].at, w.sim.now_ms);
	run_for(&w, 1100);
	assert_int_equal(w.servers[0].asked, 1);
	assert_int_equal(w.hole.state, HOLE_OPEN);
}

static void connections_that_break_now_and_then_are_always_made_again_soon(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, true);
	for (unsigned hour = 0; hour < 100; hour++) {
		uint64_t broke_ms;

		run_for(&w, HOUR_MS);
		while (w.hole.asking || hole_wake_ms(&w.hole) < w.sim.now_ms + 15000)
			run_for(&w, 1000);
		broke_ms = w.sim.now_ms;
		hole_break(&w.hole, &w.servers[0].at, broke_ms);
		assert_in_range(hole_wake_ms(&w.hole) - broke_ms, 0, 2000);
	}
}

/* It takes the connection, says nothing, and closes it when the question was given up. */
static void a_server_that_hangs_up_late_is_not_asked_at_once(void **state)
{
	struct world w;

	(void)state;
	world_new(&w, 1, true);
	w.servers[0].mood = DEAD;
	for (unsigned second = 0; second < 600; second++) {
		run_for(&w, 1000);
		if (!w.hole.asking)
			hole_break(&w.hole, &w.servers[0].at, w.sim.now_ms);
	}
	assert_true(w.sent <= 600 / 34 + 6);
}

static void refused_connections_slow_down(void **state)
{
	struct world w;

	(void)state;
	for (size_t servers = 1; servers <= 4; servers++) {
		world_new(&w, servers, true);
		for (size_t i = 0; i < 4; i++)
			w.servers[i].mood = REFUSING;
		run_for(&w, 2 * MINUTE_MS);
		w.sent = 0;
		run_for(&w, 10 * MINUTE_MS);
		assert_in_range(w.sent, 19 * servers, 21 * servers);
	}
}

/* 255 failures are no multiple of 2 or 4 servers: the counter once stuck there, and with it the waiting. */
static void a_day_without_a_line_asks_no_faster_than_its_first_hour(void **state)
{
	struct world w;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		for (size_t servers = 1; servers <= 4; servers++) {
			world_open(&w, servers, stream);
			for (size_t i = 0; i < 4; i++)
				w.servers[i].mood = stream ? REFUSING : DEAD;
			run_for(&w, 24 * HOUR_MS);
			w.sent = 0;
			run_for(&w, HOUR_MS);
			assert_in_range(w.sent / (stream ? 1 : 3), 60 * servers, 121 * servers);
		}
	}
}

static void a_machine_that_slept_checks_its_hole_at_once(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 2, false);
	for (unsigned i = 0; i < 40; i++) {
		w.sim.now_ms += 7 * HOUR_MS + i * 100; /* in rest, or while asking */
		run_for(&w, i % 3 * 10000 + 20);
		assert_true(hole_wake_ms(&w.hole) > w.sim.now_ms);
	}
	run_for(&w, MINUTE_MS);
	assert_int_equal(w.hole.state, HOLE_OPEN);
	assert_int_equal(w.told[HOLE_CHANGED], 0);
}

/* Else the next question on its connection would have hours to be answered. */
static void an_answer_that_waited_for_a_sleeping_machine_is_no_round_trip(void **state)
{
	struct sim_packet p;
	struct world w;

	(void)state;
	world_open(&w, 2, true);
	while (!w.hole.asking)
		run_for(&w, 1);
	w.sim.now_ms += 5 * HOUR_MS;
	assert_true(sim_take(&w.sim, &p));
	assert_true(hole_receive(&w.hole, &p.from, p.bytes, p.len, w.sim.now_ms));
	assert_int_equal(w.hole.rtt_ms, RTT_MS);
	w.forgets = 1; /* the NAT did not keep it meanwhile */
	w.outer.port = 50000;
	run_for(&w, KEEPALIVE_MS + 1000 + 5 * RTT_MS);
	assert_int_equal(w.told[HOLE_CHANGED], 1);
}

static void a_day_of_30_percent_loss_keeps_the_hole_open(void **state)
{
	struct world w;
	uint64_t open_ms = 0;

	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		world_new(&w, 3, stream);
		w.sim.loss = stream ? 5 : 30; /* of a connection: it breaks or hangs */
		for (open_ms = 0; w.sim.now_ms < 24 * HOUR_MS; run_for(&w, 1000))
			open_ms += w.hole.state == HOLE_OPEN ? 1000 : 0;
		assert_true(open_ms > 24 * HOUR_MS / 100 * 97);
		assert_int_equal(w.told[HOLE_CHANGED], 0);
		assert_int_equal(w.hole.outer.port, 40001);
		assert_true(w.told[HOLE_OPENED] <= w.told[HOLE_GONE] + 1);
	}
}

static void changes_are_found_under_loss_and_none_is_invented(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 3, false);
	w.sim.loss = 20;
	for (unsigned i = 0; i < 200; i++) {
		w.outer.port++;
		run_for(&w, 3 * MINUTE_MS);
		assert_int_equal(w.hole.outer.port, w.outer.port);
	}
	assert_true(w.told[HOLE_CHANGED] + w.told[HOLE_OPENED] <= 200 + w.told[HOLE_GONE]);
	assert_true(w.told[HOLE_CHANGED] >= 190);
}

static void without_a_nat_the_hole_is_open_and_asks_nobody(void **state)
{
	const struct endpoint own = endpoint_ipv4(0xcb007105u, 20000);
	struct world w;

	(void)state;
	world_new(&w, 2, false);
	hole_own(&w.hole, &own, w.sim.now_ms);
	run_until(&w, w.sim.now_ms + HOUR_MS);
	assert_int_equal(w.sent, 0);
	assert_int_equal(w.told[HOLE_OPENED], 1);
	assert_int_equal(w.hole.state, HOLE_OPEN);
	assert_true(endpoint_equal(&w.hole.outer, &own));
	hole_own(&w.hole, &own, w.sim.now_ms); /* nothing new */
	hole_recheck(&w.hole, w.sim.now_ms);
	hole_break(&w.hole, &w.servers[0].at, w.sim.now_ms);
	hole_keepalive(&w.hole, 5000, w.sim.now_ms); /* of those that have a NAT */
	run_until(&w, w.sim.now_ms + HOUR_MS);
	assert_int_equal(w.sent, 0);
	assert_int_equal(w.told[HOLE_OPENED], 1);
}

static void a_hole_follows_a_nat_that_goes_and_comes(void **state)
{
	const struct endpoint own = endpoint_ipv4(0xcb007105u, 20000);
	struct world w;

	(void)state;
	world_new(&w, 2, false);
	run_until(&w, w.sim.now_ms + MINUTE_MS);
	drain(&w);
	hole_own(&w.hole, NULL, w.sim.now_ms); /* there is one already: the hole is let alone */
	hole_recheck(&w.hole, w.sim.now_ms);
	drain(&w); /* a question is on its way when the NAT goes */
	hole_own(&w.hole, &own, w.sim.now_ms);
	run_until(&w, w.sim.now_ms + HOUR_MS);
	assert_int_equal(w.told[HOLE_CHANGED], 1);
	assert_true(endpoint_equal(&w.hole.outer, &own));
	w.sent = 0;
	hole_own(&w.hole, NULL, w.sim.now_ms);
	assert_true(endpoint_equal(&w.hole.outer, &own)); /* what was told stands … */
	run_until(&w, w.sim.now_ms + MINUTE_MS);
	assert_int_equal(w.told[HOLE_CHANGED], 2); /* … until two answers agree */
	assert_true(endpoint_equal(&w.hole.outer, &w.outer));
	assert_true(w.sent >= 4); /* and is held as ever */
}

static void a_lost_hole_opens_when_the_nat_goes(void **state)
{
	const struct endpoint own = endpoint_ipv4(0xcb007105u, 20000);
	struct world w;

	(void)state;
	world_new(&w, 1, false);
	run_until(&w, w.sim.now_ms + MINUTE_MS);
	w.servers[0].mood = DEAD;
	run_until(&w, w.sim.now_ms + 2 * MINUTE_MS);
	assert_int_equal(w.hole.state, HOLE_LOST);
	hole_own(&w.hole, &own, w.sim.now_ms);
	run_until(&w, w.sim.now_ms + MINUTE_MS);
	assert_int_equal(w.told[HOLE_OPENED], 2);
	assert_int_equal(w.hole.state, HOLE_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_hole_is_punched_in_one_round_trip),
		T(a_hole_may_be_of_ipv6),
		T(a_lost_question_is_sent_again),
		T(the_next_server_is_asked_when_one_is_silent),
		T(a_server_that_refuses_hands_over_at_once),
		T(a_hole_begins_at_the_server_it_was_given),
		T(a_keepalive_is_asked_each_interval_and_the_first_comes_early),
		T(a_change_is_believed_when_a_second_server_says_the_same),
		T(one_server_alone_is_believed_when_it_says_it_twice),
		T(a_dead_second_server_does_not_hide_a_change),
		T(one_lying_server_among_several_changes_nothing),
		T(lies_now_and_then_do_not_add_up),
		T(answers_that_never_agree_lose_the_hole),
		T(a_hole_lost_by_disagreement_opens_when_two_answers_agree),
		T(a_silent_line_loses_the_hole_and_its_return_opens_it),
		T(a_hole_is_not_lost_while_one_server_was_not_asked),
		T(a_connection_that_falls_silent_is_replaced_at_once),
		T(where_the_nat_is_known_to_forget_one_answer_is_enough),
		T(an_answer_forgives_the_failures_before_it),
		T(a_round_of_silence_slows_down),
		T(what_is_no_answer_is_ignored),
		T(an_answer_of_no_use_fails_over),
		T(a_question_carries_a_new_id_and_its_repetition_the_same),
		T(a_recheck_asks_now),
		T(a_restarted_hole_asks_now_whatever_it_was_at),
		T(each_keepalive_tells_how_long_the_silence_was),
		T(a_shorter_keepalive_counts_at_once_and_spreads),
		T(the_server_of_a_question_may_be_chosen_and_the_question_put_off),
		T(a_hole_is_sure_while_nothing_speaks_against_it),
		T(holes_rechecked_together_spread_again),
		T(a_hole_without_servers_waits_for_some),
		T(the_server_list_may_shrink_at_any_time),
		T(a_server_that_hangs_up_after_each_answer_is_not_asked_each_second),
		T(a_connection_that_breaks_is_made_again_soon),
		T(connections_that_break_now_and_then_are_always_made_again_soon),
		T(a_server_that_hangs_up_late_is_not_asked_at_once),
		T(refused_connections_slow_down),
		T(a_day_without_a_line_asks_no_faster_than_its_first_hour),
		T(a_machine_that_slept_checks_its_hole_at_once),
		T(an_answer_that_waited_for_a_sleeping_machine_is_no_round_trip),
		T(a_day_of_30_percent_loss_keeps_the_hole_open),
		T(changes_are_found_under_loss_and_none_is_invented),
		T(without_a_nat_the_hole_is_open_and_asks_nobody),
		T(a_hole_follows_a_nat_that_goes_and_comes),
		T(a_lost_hole_opens_when_the_nat_goes),
	};

	return RUN(tests);
}
