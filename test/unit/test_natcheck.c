/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checking client behind a NAT of RFC 4787, before servers of RFC 5780:
 *
 *	slot 0 ─┐        ┌ outer port by mapping      a:3478 a:3479 ┐ one server,
 *	slot 1 ─┴─ NAT ──┴ lets in by filtering  ───  b:3478 b:3479 ┘ a its first address
 */
#include "test/unit/test.h"

#include "lib/natcheck.h"
#include "test/sim/sim.h"

#define EI  STUNWAY_ENDPOINT_INDEPENDENT
#define AD  STUNWAY_ADDRESS_DEPENDENT
#define APD STUNWAY_ADDRESS_AND_PORT_DEPENDENT

#define RTT_MS 60

struct binding {
	unsigned slot;
	struct endpoint to; /* as much of the destination as the mapping depends on */
	uint16_t outer_port;
	struct endpoint sent[16]; /* destinations, for the filter */
	size_t sent_count;
};

struct nat {
	enum stunway_behavior mapping, filtering;
	struct binding bindings[16];
	size_t count;
};

/* What the behavior looks at in an endpoint. */
static struct endpoint seen(enum stunway_behavior b, const struct endpoint *e)
{
	struct endpoint s = *e;

	if (b != APD)
		s.port = 0;
	return b == EI ? (struct endpoint){ 0 } : s;
}

static struct endpoint nat_out(struct nat *n, unsigned slot, const struct endpoint *to)
{
	const struct endpoint key = seen(n->mapping, to);
	struct binding *b = n->bindings;

	while (b < n->bindings + n->count && (b->slot != slot || !endpoint_equal(&b->to, &key)))
		b++;
	if (b == n->bindings + n->count) {
		assert_true(n->count < 16);
		*b = (struct binding){ .slot = slot, .to = key, .outer_port = (uint16_t)(40000 + n->count++) };
	}
	b->sent[b->sent_count++ % 16] = *to;
	return endpoint_ipv4(0xcb007109u, b->outer_port);
}

/* The slot behind an outer port, -1 when the filter drops what comes from there. */
static int nat_in(const struct nat *n, uint16_t outer_port, const struct endpoint *from)
{
	const struct binding *b = &n->bindings[outer_port - 40000];
	const struct endpoint who = seen(n->filtering, from);

	for (size_t i = 0; i < b->sent_count && i < 16; i++) {
		const struct endpoint opened = seen(n->filtering, &b->sent[i]);

		if (endpoint_equal(&opened, &who))
			return (int)b->slot;
	}
	return -1;
}

enum mood {
	GOOD,	     /* RFC 5780 */
	ONE_ADDRESS, /* RFC 8489 and no more: refuses CHANGE-REQUEST with 420 */
	CLASSIC,     /* RFC 3489: MAPPED-ADDRESS and CHANGED-ADDRESS */
	SAME_IP,     /* lies: OTHER-ADDRESS is another port of its one address */
	FALSE_OTHER, /* lies: nobody lives at its OTHER-ADDRESS, not even for CHANGE-REQUEST */
	DEAF,	     /* has two addresses, and answers CHANGE-REQUEST from the one asked */
	REFUSING,    /* has two addresses, and refuses CHANGE-REQUEST */
	DEAD,
};

struct server {
	struct endpoint first, other;
	enum mood mood;
};

struct world {
	struct sim sim;
	struct nat nat;
	struct server servers[NATCHECK_SERVERS];
	size_t count;
	struct natcheck check;
	unsigned sent, slot_sent[2];
	uint64_t began_ms, mapped_ms; /* when the mapping was known */
	struct endpoint cut[2]; /* where nothing from this slot arrives */
};

static bool has_second_address(const struct server *s)
{
	return s->mood == GOOD || s->mood == CLASSIC || s->mood == DEAF || s->mood == REFUSING;
}

/* Whether this is one of the server's two or four endpoints. */
static bool lives_at(const struct server *s, const struct endpoint *e)
{
	const bool port = e->port == s->first.port || e->port == s->other.port;

	if (endpoint_same_ip(e, &s->first))
		return port;
	return endpoint_same_ip(e, &s->other) && port && has_second_address(s);
}

static struct endpoint turned(const struct server *s, const struct endpoint *e, uint32_t change)
{
	struct endpoint t = *e;

	if (change & STUN_CHANGE_IP)
		memcpy(t.ip, endpoint_same_ip(e, &s->first) ? s->other.ip : s->first.ip, sizeof(t.ip));
	if (change & STUN_CHANGE_PORT)
		t.port = e->port == s->first.port ? s->other.port : s->first.port;
	return t;
}

static size_t answer(const struct server *s, uint8_t buf[256], const struct inquiry_step *q, const struct endpoint *mapped)
{
	const struct endpoint other = turned(s, &q->to, s->mood == SAME_IP ? STUN_CHANGE_PORT : STUN_CHANGE_IP | STUN_CHANGE_PORT);
	struct stun_message m;
	struct stun_builder b;

	if (s->mood != CLASSIC)
		return sim_answer(buf, q->bytes, q->len, mapped, s->mood == ONE_ADDRESS ? NULL : &other);
	assert_int_equal(stun_decode(&m, q->bytes, q->len), 0);
	stun_begin(&b, buf, 256, STUN_SUCCESS, STUN_BINDING, m.id);
	stun_put_endpoint(&b, STUN_MAPPED_ADDRESS, mapped);
	stun_put_endpoint(&b, STUN_SOURCE_ADDRESS, &q->to);
	stun_put_endpoint(&b, STUN_CHANGED_ADDRESS, &other);
	return stun_end(&b);
}

static void serve(struct world *w, const struct server *s, const struct inquiry_step *q, const struct endpoint *outer)
{
	struct endpoint from = q->to;
	struct stun_value change = { .u32 = 0 };
	struct stun_message m;
	uint8_t buf[256];
	size_t len;
	int slot;

	assert_int_equal(stun_decode(&m, q->bytes, q->len), 0);
	if (stun_get(&m, STUN_CHANGE_REQUEST, &change) < 0)
		change.u32 = 0;
	if (s->mood == DEAD || (s->mood == FALSE_OTHER && change.u32))
		return;
	if (change.u32 && (s->mood == REFUSING || s->mood == ONE_ADDRESS)) {
		len = sim_refusal(buf, q->bytes, q->len, 420);
	} else {
		len = answer(s, buf, q, outer);
		from = turned(s, &q->to, s->mood == DEAF ? 0 : change.u32);
	}
	slot = w->check.stream ? 0 : nat_in(&w->nat, outer->port, &from);
	if (slot >= 0)
		sim_put(&w->sim, RTT_MS, (unsigned)slot, &from, buf, len);
}

static void send_out(struct world *w, const struct inquiry_step *q)
{
	const struct endpoint outer = nat_out(&w->nat, q->slot, &q->to);

	w->sent++;
	w->slot_sent[q->slot]++;
	if (sim_lost(&w->sim) || endpoint_equal(&w->cut[q->slot], &q->to))
		return;
	for (size_t i = 0; i < w->count; i++) {
		if (!lives_at(&w->servers[i], &q->to))
			continue;
		serve(w, &w->servers[i], q, &outer);
		return;
	}
}

/* count servers at 192.0.2.1, .11, .21 …, the second address of each at .2, .12, .22. */
static void world_new(struct world *w, enum stunway_behavior mapping, enum stunway_behavior filtering, size_t count)
{
	*w = (struct world){ .nat = { .mapping = mapping, .filtering = filtering }, .count = count };
	w->sim.now_ms = 500000;
	for (size_t i = 0; i < NATCHECK_SERVERS; i++)
		w->servers[i] = (struct server){ .first = endpoint_ipv4(0xc0000201u + 10 * (uint32_t)i, 3478),
			.other = endpoint_ipv4(0xc0000202u + 10 * (uint32_t)i, 3479) };
}

static void world_run(struct world *w, bool stream)
{
	w->began_ms = w->sim.now_ms;
	struct endpoint servers[NATCHECK_SERVERS];
	enum inquiry_action action;
	struct inquiry_step step;
	struct sim_packet p;

	for (size_t i = 0; i < NATCHECK_SERVERS; i++)
		servers[i] = w->servers[i].first;
	natcheck_init(&w->check, stream, servers, w->count, sim_random, w->sim.now_ms);
	for (;;) {
		uint64_t wake_ms;

		for (unsigned steps = 0; (action = natcheck_step(&w->check, w->sim.now_ms, &step)) == INQUIRY_SEND; steps++) {
			assert_true(steps < 10);
			send_out(w, &step);
		}
		if (w->check.mapping_known && w->mapped_ms == 0)
			w->mapped_ms = w->sim.now_ms;
		if (action == INQUIRY_DONE)
			break;
		wake_ms = natcheck_wake_ms(&w->check);
		assert_true(wake_ms > w->sim.now_ms);
		w->sim.now_ms = sim_wake_ms(&w->sim) < wake_ms ? sim_wake_ms(&w->sim) : wake_ms;
		while (sim_take(&w->sim, &p))
			natcheck_receive(&w->check, p.slot, &p.from, p.bytes, p.len, w->sim.now_ms);
	}
	assert_true(w->check.done);
	assert_true(natcheck_wake_ms(&w->check) == UINT64_MAX);
	assert_int_equal(natcheck_step(&w->check, w->sim.now_ms, &step), INQUIRY_DONE);
	assert_true(w->sim.now_ms - w->began_ms <= 40000);
}

static void each_nat_of_rfc4787_is_told_rfc5780_section_4(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned mapping = EI; mapping <= APD; mapping++) {
		for (unsigned filtering = EI; filtering <= APD; filtering++) {
			for (unsigned classic = 0; classic < 2; classic++) {
				world_new(&w, (enum stunway_behavior)mapping, (enum stunway_behavior)filtering, 1);
				w.servers[0].mood = classic ? CLASSIC : GOOD;
				world_run(&w, false);
				assert_int_equal(w.check.mapping, mapping);
				assert_int_equal(w.check.filtering, filtering);
				assert_false(w.check.alone);
			}
		}
	}
}

static void the_mapping_is_known_after_two_round_trips_whatever_the_filter_keeps_back(void **state)
{
	struct world w;

	(void)state;
	sim_seed(2);
	for (unsigned mapping = EI; mapping <= APD; mapping++) {
		world_new(&w, (enum stunway_behavior)mapping, APD, 1);
		world_run(&w, false);
		assert_int_equal(w.check.mapping, mapping);
		assert_int_equal(w.mapped_ms - w.began_ms, 2 * RTT_MS);
		assert_true(w.sim.now_ms > w.mapped_ms + 1000); /* the filter's silence took longer */
	}
}

/* Loss may leave a question open; it must not turn one behavior into another. */
static void a_fifth_of_all_packets_lost_makes_few_verdicts_unknown_and_hardly_one_wrong(void **state)
{
	unsigned wrong = 0, unknown = 0, total = 0;

	(void)state;
	for (uint32_t seed = 0; seed < 100; seed++) {
		for (unsigned n = 0; n < 9; n++) {
			struct world w;

			sim_seed(seed * 100 + n);
			world_new(&w, (enum stunway_behavior)(EI + n / 3), (enum stunway_behavior)(EI + n % 3), 2);
			w.sim.loss = 20;
			world_run(&w, false);
			total += 2;
			unknown += (w.check.mapping == STUNWAY_BEHAVIOR_UNKNOWN) + (w.check.filtering == STUNWAY_BEHAVIOR_UNKNOWN);
			wrong += w.check.mapping != STUNWAY_BEHAVIOR_UNKNOWN && w.check.mapping != w.nat.mapping;
			wrong += w.check.filtering != STUNWAY_BEHAVIOR_UNKNOWN && w.check.filtering != w.nat.filtering;
		}
	}
	assert_true(unknown < total * 3 / 100);
	assert_true(wrong < total / 100);
}

static void over_tcp_the_mapping_is_told_and_filtering_is_not_asked(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned mapping = EI; mapping <= APD; mapping++) {
		world_new(&w, (enum stunway_behavior)mapping, APD, 1);
		world_run(&w, true);
		assert_int_equal(w.check.mapping, mapping);
		assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
		assert_int_equal(w.slot_sent[1], 0);
		assert_int_equal(w.sent, 3); /* each once */
	}
}

static void one_server_with_one_address_knows_nothing(void **state)
{
	const enum mood moods[] = { ONE_ADDRESS, SAME_IP };
	struct world w;

	(void)state;
	sim_seed(1);
	for (size_t i = 0; i < 2; i++) {
		world_new(&w, EI, EI, 1);
		w.servers[0].mood = moods[i];
		world_run(&w, false);
		assert_true(w.check.alone);
		assert_int_equal(w.check.mapping, STUNWAY_BEHAVIOR_UNKNOWN);
		assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
	}
}

static void a_second_server_tells_the_mapping(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (int stream = 0; stream < 2; stream++) {
		for (unsigned mapping = EI; mapping <= APD; mapping++) {
			world_new(&w, (enum stunway_behavior)mapping, APD, 2);
			w.servers[0].mood = w.servers[1].mood = ONE_ADDRESS;
			world_run(&w, stream);
			assert_false(w.check.alone);
			assert_int_equal(w.check.mapping == EI, mapping == EI);
			assert_int_not_equal(w.check.mapping, STUNWAY_BEHAVIOR_UNKNOWN);
			assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
		}
	}
}

static void a_dead_server_hands_over_to_the_next(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (int stream = 0; stream < 2; stream++) {
		world_new(&w, EI, AD, 3);
		w.servers[0].mood = w.servers[1].mood = DEAD;
		world_run(&w, stream);
		assert_int_equal(w.check.mapping, EI);
		assert_int_equal(w.check.filtering, stream ? STUNWAY_BEHAVIOR_UNKNOWN : AD);
	}
}

static void any_two_living_servers_tell_the_mapping(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned stream = 0; stream < 2; stream++) {
		for (unsigned alive = 1; alive < 16; alive++) {
			const bool two = alive & (alive - 1);

			world_new(&w, EI, EI, 4);
			for (unsigned i = 0; i < 4; i++)
				w.servers[i].mood = alive >> i & 1 ? ONE_ADDRESS : DEAD;
			world_run(&w, stream);
			assert_int_equal(w.check.mapping, two ? EI : STUNWAY_BEHAVIOR_UNKNOWN);
		}
	}
}

static void without_any_answer_nothing_is_known(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (int stream = 0; stream < 2; stream++) {
		for (size_t count = 1; count <= 4; count++) {
			world_new(&w, EI, EI, count);
			w.servers[0].mood = w.servers[1].mood = w.servers[2].mood = w.servers[3].mood = DEAD;
			world_run(&w, stream);
			assert_int_equal(w.check.mapping, STUNWAY_BEHAVIOR_UNKNOWN);
			assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
		}
	}
}

static void a_refused_change_request_is_no_silence(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, EI, EI, 1);
	w.servers[0].mood = REFUSING;
	world_run(&w, false);
	assert_int_equal(w.check.mapping, EI);
	assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
}

static void a_server_that_answers_change_request_from_the_same_address_leaves_filtering_unknown(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, EI, EI, 1);
	w.servers[0].mood = DEAF;
	world_run(&w, false);
	assert_int_equal(w.check.mapping, EI);
	assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
}

/* Its "changed port" is the port that was asked: the answer passes any filter. */
static void a_server_with_two_addresses_and_one_port_cannot_tell_the_port_s_filter(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned filtering = EI; filtering <= APD; filtering++) {
		world_new(&w, EI, (enum stunway_behavior)filtering, 1);
		w.servers[0].other.port = w.servers[0].first.port;
		world_run(&w, false);
		assert_int_equal(w.check.mapping, EI);
		assert_int_equal(w.check.filtering, filtering == EI ? EI : STUNWAY_BEHAVIOR_UNKNOWN);
	}
}

/* coturn behind a NAT gives its private one. */
static void an_other_address_where_nobody_lives_does_not_make_a_nat_restricted(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (size_t count = 1; count <= 2; count++) {
		world_new(&w, EI, EI, count);
		w.servers[0].mood = FALSE_OTHER;
		world_run(&w, false);
		assert_int_equal(w.check.mapping, count == 1 ? STUNWAY_BEHAVIOR_UNKNOWN : EI); /* the second server tells */
		assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
	}
}

static void what_one_server_was_silent_to_is_not_held_against_the_next(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	world_new(&w, EI, EI, 2);
	w.servers[0].mood = FALSE_OTHER;
	w.cut[0] = w.servers[0].first; /* so the second becomes the primary, and tells the mapping … */
	w.cut[1] = w.servers[1].first; /* … but not the filtering */
	world_run(&w, false);
	assert_int_equal(w.check.mapping, EI);
	assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
}

/* Both addresses of one server are configured: slot 1 wrote to the first before it asked the second to change to it. */
static void a_filter_that_was_opened_is_not_tested(void **state)
{
	struct world w;

	(void)state;
	sim_seed(1);
	for (unsigned filtering = AD; filtering <= APD; filtering++) {
		world_new(&w, EI, (enum stunway_behavior)filtering, 2);
		w.servers[1].first = w.servers[0].other;
		w.servers[1].first.port = w.servers[0].first.port;
		w.cut[0] = w.servers[0].first;
		world_run(&w, false);
		assert_int_not_equal(w.check.filtering, EI);
	}
}

static void a_connection_that_breaks_goes_on_with_the_next_server(void **state)
{
	struct world w;
	struct inquiry_step step;
	struct endpoint servers[2];

	(void)state;
	world_new(&w, EI, EI, 2);
	servers[0] = w.servers[0].first;
	servers[1] = w.servers[1].first;
	natcheck_init(&w.check, true, servers, 2, sim_random, 1000);
	assert_int_equal(natcheck_step(&w.check, 1000, &step), INQUIRY_SEND);
	assert_true(endpoint_equal(&step.to, &servers[0]));
	natcheck_break(&w.check, &servers[1], 1010); /* not asked */
	assert_int_equal(natcheck_step(&w.check, 1010, &step), INQUIRY_WAIT);
	natcheck_break(&w.check, &servers[0], 1020);
	assert_int_equal(natcheck_step(&w.check, 1020, &step), INQUIRY_SEND);
	assert_true(endpoint_equal(&step.to, &servers[1]));
	natcheck_break(&w.check, &servers[1], 1030);
	assert_int_equal(natcheck_step(&w.check, 1030, &step), INQUIRY_DONE);
	assert_int_equal(w.check.mapping, STUNWAY_BEHAVIOR_UNKNOWN);
}

static void what_is_no_answer_is_ignored(void **state)
{
	struct world w;
	struct inquiry_step step;
	struct endpoint elsewhere, outer = endpoint_ipv4(0xcb007109u, 40000);
	uint8_t good[256], bad[256];
	size_t len;

	(void)state;
	world_new(&w, EI, EI, 1);
	natcheck_init(&w.check, false, &w.servers[0].first, 1, sim_random, 1000);
	assert_int_equal(natcheck_step(&w.check, 1000, &step), INQUIRY_SEND);
	assert_int_equal(step.slot, 0);
	len = sim_answer(good, step.bytes, step.len, &outer, NULL);
	for (size_t i = 4; i < 20; i++) {
		memcpy(bad, good, len);
		bad[i] ^= 1;
		assert_false(natcheck_receive(&w.check, 0, &step.to, bad, len, 1010));
	}
	assert_false(natcheck_receive(&w.check, 1, &step.to, good, len, 1010)); /* at the other local port */
	elsewhere = step.to;
	elsewhere.port++;
	assert_false(natcheck_receive(&w.check, 0, &elsewhere, good, len, 1010));
	assert_false(natcheck_receive(&w.check, 0, &step.to, step.bytes, step.len, 1010));
	assert_true(natcheck_receive(&w.check, 0, &step.to, good, len, 1010));
	assert_false(natcheck_receive(&w.check, 0, &step.to, good, len, 1010)); /* a duplicate */
}

static void an_answer_without_a_usable_address_is_ignored(void **state)
{
	const struct endpoint port_0 = endpoint_ipv4(0xcb007109u, 0), multicast = endpoint_ipv4(0xe0000001u, 1),
			      ipv6 = { .family = ENDPOINT_IPV6, .port = 1 };
	struct world w;
	struct inquiry_step step;
	struct stun_message m;
	struct stun_builder b;
	uint8_t buf[256];

	(void)state;
	world_new(&w, EI, EI, 1);
	natcheck_init(&w.check, false, &w.servers[0].first, 1, sim_random, 1000);
	assert_int_equal(natcheck_step(&w.check, 1000, &step), INQUIRY_SEND);
	assert_false(natcheck_receive(&w.check, 0, &step.to, buf, sim_answer(buf, step.bytes, step.len, &port_0, NULL), 1010));
	assert_false(natcheck_receive(&w.check, 0, &step.to, buf, sim_answer(buf, step.bytes, step.len, &multicast, NULL), 1010));
	assert_false(natcheck_receive(&w.check, 0, &step.to, buf, sim_answer(buf, step.bytes, step.len, &ipv6, NULL), 1010));
	assert_int_equal(stun_decode(&m, step.bytes, step.len), 0);
	stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_BINDING, m.id);
	assert_false(natcheck_receive(&w.check, 0, &step.to, buf, stun_end(&b), 1010));
	stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_BINDING, m.id);
	stun_put_bytes(&b, 0x7abc, "", 0); /* unknown, and comprehension required */
	stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &w.servers[0].first);
	assert_false(natcheck_receive(&w.check, 0, &step.to, buf, stun_end(&b), 1010));
}

/* Answers both plain questions of one server, with an OTHER-ADDRESS each; returns where the other ones went. */
static size_t asked_after(const struct endpoint *first_other, const struct endpoint *second_other, struct endpoint to[8])
{
	const struct endpoint server = endpoint_ipv4(0xc0000201u, 3478), outer = endpoint_ipv4(0xcb007109u, 40000);
	struct inquiry_step step[2];
	struct natcheck c;
	uint8_t bytes[2][STUN_HEADER_LEN], buf[256];
	size_t count = 0;

	natcheck_init(&c, false, &server, 1, sim_random, 1000);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(natcheck_step(&c, 1000, &step[i]), INQUIRY_SEND);
		memcpy(bytes[i], step[i].bytes, STUN_HEADER_LEN);
	}
	assert_true(natcheck_receive(&c, 0, &server, buf, sim_answer(buf, bytes[0], 20, &outer, first_other), 1001));
	assert_true(natcheck_receive(&c, 1, &server, buf, sim_answer(buf, bytes[1], 20, &outer, second_other), 1001));
	while (count < 8 && natcheck_step(&c, 1001, &step[0]) == INQUIRY_SEND)
		to[count++] = step[0].to;
	return count;
}

static void the_other_address_of_the_first_answer_counts_if_it_can_be_one(void **state)
{
	const struct endpoint good = endpoint_ipv4(0xc0000202u, 3479), second = endpoint_ipv4(0xc0000203u, 3480),
			      same_port = endpoint_ipv4(0xc0000202u, 3478), port_0 = endpoint_ipv4(0xc0000202u, 0),
			      ipv6 = { .family = ENDPOINT_IPV6, .port = 3479, .ip = { 0x20, 1 } },
			      lan = endpoint_ipv4(0xc0a8010au, 3479), multicast = endpoint_ipv4(0xe0000001u, 3479);
	struct endpoint to[8], port = endpoint_ipv4(0xc0000201u, 3479);

	(void)state;
	assert_int_equal(asked_after(&good, &second, to), 4); /* MAP_OTHER, MAP_PORT, and two with CHANGE-REQUEST */
	assert_true(endpoint_equal(&to[0], &good));
	assert_true(endpoint_equal(&to[1], &port));
	assert_int_equal(asked_after(&same_port, &same_port, to), 3); /* no other port to ask */
	assert_int_equal(asked_after(&port_0, &port_0, to), 0);
	assert_int_equal(asked_after(&ipv6, &ipv6, to), 0);
	assert_int_equal(asked_after(&lan, &lan, to), 0);
	assert_int_equal(asked_after(&multicast, &multicast, to), 0);
}

/* The local network is down: that says nothing about the NAT. */
static void a_send_that_fails_hard_is_no_silence(void **state)
{
	struct world w;
	struct inquiry_step step;
	const struct endpoint outer = endpoint_ipv4(0xcb007109u, 40000);
	enum inquiry_action action;
	uint8_t buf[256];

	(void)state;
	world_new(&w, EI, EI, 1);
	natcheck_init(&w.check, false, &w.servers[0].first, 1, sim_random, 1000);
	while ((action = natcheck_step(&w.check, 1000, &step)) == INQUIRY_SEND) {
		if (step.len > STUN_HEADER_LEN)
			natcheck_break(&w.check, &step.to, 1000);
		else
			natcheck_receive(&w.check, step.slot, &step.to, buf,
				sim_answer(buf, step.bytes, step.len, &outer, &w.servers[0].other), 1000);
	}
	assert_int_equal(action, INQUIRY_DONE);
	assert_int_equal(w.check.mapping, EI);
	assert_int_equal(w.check.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_nat_of_rfc4787_is_told_rfc5780_section_4),
		T(the_mapping_is_known_after_two_round_trips_whatever_the_filter_keeps_back),
		T(a_fifth_of_all_packets_lost_makes_few_verdicts_unknown_and_hardly_one_wrong),
		T(over_tcp_the_mapping_is_told_and_filtering_is_not_asked),
		T(one_server_with_one_address_knows_nothing),
		T(a_second_server_tells_the_mapping),
		T(a_dead_server_hands_over_to_the_next),
		T(any_two_living_servers_tell_the_mapping),
		T(without_any_answer_nothing_is_known),
		T(a_refused_change_request_is_no_silence),
		T(a_server_that_answers_change_request_from_the_same_address_leaves_filtering_unknown),
		T(a_server_with_two_addresses_and_one_port_cannot_tell_the_port_s_filter),
		T(an_other_address_where_nobody_lives_does_not_make_a_nat_restricted),
		T(what_one_server_was_silent_to_is_not_held_against_the_next),
		T(a_filter_that_was_opened_is_not_tested),
		T(a_connection_that_breaks_goes_on_with_the_next_server),
		T(what_is_no_answer_is_ignored),
		T(an_answer_without_a_usable_address_is_ignored),
		T(the_other_address_of_the_first_answer_counts_if_it_can_be_one),
		T(a_send_that_fails_hard_is_no_silence),
	};

	return RUN(tests);
}
