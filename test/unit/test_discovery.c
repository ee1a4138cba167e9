/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the million runs of test/sim do not play: servers that are less than RFC 5780
 * wants or hostile, lines that change meanwhile. The NAT is test/sim's.
 */
#include "test/unit/test.h"

#include "lib/discovery.h"
#include "test/sim/nat.h"

#define START_MS   1000000
#define TIMEOUT_MS 5000

struct world {
	struct sim_nat nat;
	struct sim sim;
	struct discovery *discovery;
	bool port_mode;
	/* What becomes of a packet that reaches the client: false drops it. */
	bool (*fate)(struct world *w, struct sim_packet *p);
	uint32_t host_rtt_ms; /* told after 300 ms */
	unsigned lives;
	unsigned sent;
	struct discovery_verdict v;
	uint64_t took_ms;
};

static struct world world(enum stunway_behavior mapping, enum stunway_behavior filtering)
{
	return (struct world){
		.nat = { .line = LINE_NAT, .mapping = mapping, .filtering = filtering, .ports = STUNWAY_PORTS_RANDOM, .rtt_ms = 50,
			.second_port = 3479, .a = endpoint_ipv4(0xc6336401u, 3478), .b = endpoint_ipv4(0xc6336402u, 3478) },
		.sim = { .now_ms = START_MS },
	};
}

static void inquire(struct world *w)
{
	const struct discovery_config config = { .server = w->nat.a, .timeout_ms = TIMEOUT_MS, .port_mode = w->port_mode, .random = sim_random };
	struct discovery *d = w->discovery = discovery_new(&config, START_MS);
	enum inquiry_action action;
	struct inquiry_step step;
	struct sim_packet p;

	assert_non_null(d);
	for (;;) {
		while ((action = discovery_step(d, w->sim.now_ms, &step)) == INQUIRY_SEND) {
			const struct endpoint local = sim_nat_local(&w->nat, step.slot);

			discovery_bound(d, step.slot, &local);
			sim_nat_send(&w->nat, &w->sim, step.slot, &step.to, step.bytes, step.len);
			w->sent++;
		}
		if (action == INQUIRY_DONE)
			break;
		const uint64_t net_ms = sim_wake_ms(&w->sim), wake_ms = discovery_wake_ms(d);

		assert_true(wake_ms >= w->sim.now_ms); /* no busy loop */
		assert_true(wake_ms <= START_MS + TIMEOUT_MS);
		w->sim.now_ms = net_ms < wake_ms ? net_ms : wake_ms;
		if (w->host_rtt_ms && w->sim.now_ms >= START_MS + 300)
			discovery_reachable(d, w->host_rtt_ms, w->sim.now_ms);
		while (sim_nat_take(&w->nat, &w->sim, &p))
			if (!w->fate || w->fate(w, &p))
				discovery_receive(d, p.slot, &p.from, p.bytes, p.len, w->sim.now_ms);
	}
	discovery_verdict(d, w->sim.now_ms, &w->v);
	w->took_ms = w->sim.now_ms - START_MS;
	assert_true(discovery_wake_ms(d) == UINT64_MAX);
	discovery_free(d);
}

#define EI  STUNWAY_ENDPOINT_INDEPENDENT
#define AD  STUNWAY_ADDRESS_DEPENDENT
#define APD STUNWAY_ADDRESS_AND_PORT_DEPENDENT

static void a_full_cone_is_known_after_two_round_trips(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_FULL_CONE);
	assert_true(w.took_ms <= 2 * 50 + 1);
	assert_int_equal(w.v.rtt_ms, 50);
	assert_true(w.v.confidence > 0.999 && w.v.confidence < 1);
	assert_int_equal(w.v.notes, 0);
	assert_int_equal(endpoint_ip32(&w.v.outer), 0xcb007101u);
}

static void silence_is_believed_within_a_second(void **state)
{
	static const enum stunway_behavior kinds[] = { EI, AD, APD };

	(void)state;
	for (int m = 0; m < 3; m++)
		for (int f = 1; f < 3; f++) {
			struct world w = world(kinds[m], kinds[f]);

			inquire(&w);
			assert_int_equal(w.v.mapping, kinds[m]);
			assert_int_equal(w.v.filtering, kinds[f]);
			assert_true(w.took_ms <= 1000);
			assert_true(w.sent < 100);
		}
}

static void without_an_answer_it_waits_for_the_deadline(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.line = LINE_BLOCKED;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_BLOCKED);
	assert_int_equal(w.took_ms, TIMEOUT_MS);
	assert_true(w.v.confidence > 0.99);
	assert_true(w.sent < 120);
}

static void a_host_that_answers_otherwise_makes_blocked_quick(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.line = LINE_BLOCKED;
	w.host_rtt_ms = 50;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_BLOCKED);
	assert_true(w.took_ms <= 1200);
	assert_true(w.v.notes & DISCOVERY_TCP_ANSWERS);
}

/* The verdict is Unknown, for this reason, and not at the deadline. */
static void is_unknown(struct world *w, unsigned note)
{
	inquire(w);
	assert_int_equal(w->v.type, STUNWAY_UNKNOWN);
	assert_true(w->v.notes & note);
	assert_false(w->v.notes & DISCOVERY_SHORT_OF_TIME);
	assert_true(w->took_ms < 2500);
	assert_int_equal(w->v.outer.family, ENDPOINT_IPV4);
}

static void a_server_without_a_second_address_leaves_the_type_unknown(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.alone = true;
	is_unknown(&w, DISCOVERY_NO_OTHER);
	assert_int_equal(w.v.mapping, STUNWAY_BEHAVIOR_UNKNOWN);
	assert_int_equal(w.v.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
}

static void of_a_server_with_a_second_port_only_a_strict_nat_is_known(void **state)
{
	struct world mapping = world(APD, APD), filtering = world(EI, APD), open = world(EI, EI);

	(void)state;
	mapping.nat.other = filtering.nat.other = open.nat.other = endpoint_ipv4(0xc6336401u, 3479);
	inquire(&mapping);
	assert_int_equal(mapping.v.type, STUNWAY_SYMMETRIC_NAT);
	is_unknown(&filtering, DISCOVERY_NO_OTHER);
	assert_int_equal(filtering.v.filtering, APD);
	is_unknown(&open, DISCOVERY_NO_OTHER);
	assert_int_equal(open.v.filtering, STUNWAY_BEHAVIOR_UNKNOWN);
}

static void a_second_address_with_the_same_port_leaves_two_kinds_alike(void **state)
{
	struct world open = world(EI, EI), closed = world(EI, AD);

	(void)state;
	open.nat.other = closed.nat.other = open.nat.b;
	open.nat.second_port = closed.nat.second_port = 3478;
	inquire(&open);
	assert_int_equal(open.v.type, STUNWAY_FULL_CONE);
	is_unknown(&closed, DISCOVERY_NO_OTHER_PORT);
	assert_int_equal(closed.v.mapping, EI);
}

static void a_dead_second_address_is_no_filter(void **state)
{
	struct world w = world(EI, EI), firewall = world(EI, APD);

	(void)state;
	w.nat.b_dead = firewall.nat.b_dead = true;
	is_unknown(&w, DISCOVERY_OTHER_SILENT);
	firewall.nat.line = LINE_FIREWALL;
	inquire(&firewall);
	assert_true(firewall.v.notes & DISCOVERY_OTHER_SILENT);
	assert_int_not_equal(firewall.v.type, STUNWAY_OPEN_INTERNET);
}

static void an_other_address_where_nobody_lives_is_no_filter(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.b_dead = true;
	w.nat.other = endpoint_ipv4(0xc63364ffu, 3479);
	w.nat.handover_loss = 100;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_UNKNOWN);
}

static void a_server_that_never_answers_from_elsewhere_is_no_filter(void **state)
{
	static const enum stunway_behavior kinds[] = { EI, AD, APD };

	(void)state;
	for (int f = 0; f < 3; f++) {
		struct world deaf = world(EI, kinds[f]), refusing = world(EI, kinds[f]), ignoring = world(EI, kinds[f]);

		deaf.nat.handover_loss = 100;
		is_unknown(&deaf, DISCOVERY_NO_CHANGE);
		assert_int_equal(deaf.v.mapping, EI);
		refusing.nat.change_code = 420;
		is_unknown(&refusing, DISCOVERY_NO_CHANGE);
		ignoring.nat.ignores_change = true;
		is_unknown(&ignoring, DISCOVERY_NO_CHANGE);
	}
}

static void a_server_that_refuses_is_an_error_and_is_asked_seldom(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.code = 500;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_ERROR);
	assert_int_equal(w.v.code, 500);
	assert_true(w.v.notes & DISCOVERY_REFUSED);
	assert_true(w.sent < 20);
	assert_true(w.took_ms < 1000);
}

/* The carrier gives the line another address after the first answer. */
static bool renumber(struct world *w, struct sim_packet *p)
{
	(void)p;
	if (w->nat.outer_count == 0) {
		w->nat.outer_count = 1;
		w->nat.count = 0; /* all mappings are gone; random ports do the rest */
	}
	return true;
}

static void a_line_that_changes_once_is_asked_anew(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.fate = renumber;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_FULL_CONE);
}

static bool forget(struct world *w, struct sim_packet *p)
{
	(void)p;
	w->nat.count = 0;
	return true;
}

static void a_line_that_never_stands_still_is_unknown(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.fate = forget;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_UNKNOWN);
	assert_true(w.v.notes & DISCOVERY_UNSTEADY);
}

/* The server answers so often, then no more. */
static bool dies(struct world *w, struct sim_packet *p)
{
	(void)p;
	return w->lives > 0 && w->lives-- > 0;
}

static void a_server_that_dies_meanwhile_is_no_filter(void **state)
{
	static const enum stunway_behavior kinds[] = { EI, AD, APD };

	(void)state;
	for (unsigned lives = 1; lives < 40; lives++)
		for (int m = 0; m < 4; m++)
			for (int f = 0; f < 3; f++) {
				struct world w = world(kinds[m % 3], kinds[f]), live;

				w.nat.line = m == 3 ? LINE_FIREWALL : LINE_NAT;
				live = w;
				inquire(&live);
				w.lives = lives;
				w.fate = dies;
				inquire(&w);
				if (w.v.type != STUNWAY_UNKNOWN)
					assert_int_equal(w.v.type, live.v.type);
				if (w.v.filtering != STUNWAY_BEHAVIOR_UNKNOWN)
					assert_int_equal(w.v.filtering, kinds[f]);
			}
}

/* The server refuses, until one refusal has arrived. */
static bool relents(struct world *w, struct sim_packet *p)
{
	(void)p;
	w->nat.code = 0;
	return true;
}

static void a_refusal_that_passes_is_no_verdict(void **state)
{
	struct world w = world(EI, APD);

	(void)state;
	w.nat.code = 500;
	w.fate = relents;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_PORT_RESTRICTED_CONE);
	assert_int_equal(w.v.notes, 0);
}

/* Questions that stay in step lose always the same of them to the limit. */
static void a_server_that_limits_its_answers_is_no_filter(void **state)
{
	static const enum stunway_behavior kinds[] = { EI, AD, APD };
	unsigned right = 0;

	(void)state;
	for (uint32_t seed = 0; seed < 300; seed++)
		for (int f = 0; f < 3; f++) {
			struct world w = world(EI, kinds[f]);

			sim_seed(seed);
			w.sim.loss = 10;
			w.nat.rate = 10;
			w.nat.rtt_ms = 5;
			inquire(&w);
			if (w.v.filtering != STUNWAY_BEHAVIOR_UNKNOWN)
				assert_int_equal(w.v.filtering, kinds[f]);
			right += w.v.filtering == kinds[f];
		}
	assert_true(right >= 890);
}

/* A copy of the packet, altered, arrives before it. */
static void hostile(struct world *w, const struct sim_packet *p, unsigned slot, const struct endpoint *from, const void *bytes, size_t len)
{
	assert_false(discovery_receive(w->discovery, slot, from, bytes, len, w->sim.now_ms));
	(void)p;
}

static bool among_lies(struct world *w, struct sim_packet *p)
{
	const struct endpoint stranger = endpoint_ipv4(0xc0000242u, 3478), liar = endpoint_ipv4(0x01020304u, 7);
	struct endpoint other_port = p->from, v6;
	struct stun_message m;
	struct stun_builder b;
	uint8_t bytes[256];
	size_t len;

	memcpy(bytes, p->bytes, p->len);
	hostile(w, p, p->slot, &stranger, p->bytes, p->len); /* an address that was not asked */
	other_port.port++;
	if (other_port.port == 3480) /* 3479 is the server's, too */
		hostile(w, p, p->slot, &other_port, p->bytes, p->len);
	hostile(w, p, p->slot ^ 1, &p->from, p->bytes, p->len); /* another port of ours */
	for (size_t cut = 0; cut < p->len; cut++)
		hostile(w, p, p->slot, &p->from, p->bytes, cut);
	bytes[19] ^= 1;
	hostile(w, p, p->slot, &p->from, bytes, p->len); /* another id */
	bytes[19] ^= 1;
	bytes[0] ^= 1;
	bytes[1] ^= 0x10;
	hostile(w, p, p->slot, &p->from, bytes, p->len); /* an indication, or some such */
	bytes[0] ^= 1;
	bytes[1] ^= 0x10;
	bytes[22] = 0xff; /* an attribute longer than the message */
	hostile(w, p, p->slot, &p->from, bytes, p->len);

	assert_int_equal(stun_decode(&m, p->bytes, p->len), 0);
	endpoint_parse_ip(&v6, "2001:db8::bad", 4000);
	stun_begin(&b, bytes, sizeof(bytes), STUN_SUCCESS, STUN_BINDING, m.id); /* mapped in another family */
	stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &v6);
	len = stun_end(&b);
	hostile(w, p, p->slot, &p->from, bytes, len);
	stun_begin(&b, bytes, sizeof(bytes), STUN_REQUEST, STUN_BINDING, m.id); /* a request, with the right id */
	stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &liar);
	len = stun_end(&b);
	hostile(w, p, p->slot, &p->from, bytes, len);
	stun_begin(&b, bytes, sizeof(bytes), STUN_SUCCESS, STUN_SHARED_SECRET, m.id);
	stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &liar);
	len = stun_end(&b);
	hostile(w, p, p->slot, &p->from, bytes, len);
	return true;
}

static void lies_change_nothing(void **state)
{
	static const enum stunway_behavior kinds[] = { EI, AD, APD };

	(void)state;
	for (int m = 0; m < 3; m++)
		for (int f = 0; f < 3; f++) {
			struct world w = world(kinds[m], kinds[f]);

			w.fate = among_lies;
			inquire(&w);
			assert_int_equal(w.v.mapping, kinds[m]);
			assert_int_equal(w.v.filtering, kinds[f]);
			assert_int_equal(endpoint_ip32(&w.v.outer), 0xcb007101u);
		}
}

static void nobody_is_sent_to_knock_at_doors_of_our_own_lan(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.a = endpoint_ipv4(0x08080808u, 3478);
	w.nat.b = endpoint_ipv4(0x08080809u, 3478);
	w.nat.other = endpoint_ipv4(0xc0a80101u, 3479);
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_UNKNOWN);
	assert_int_equal(w.v.other.family, ENDPOINT_NONE);
	for (size_t i = 0; i < w.nat.count; i++)
		for (size_t j = 0; j < w.nat.bindings[i].sent_count; j++)
			assert_true(endpoint_same_ip(&w.nat.bindings[i].sent[j], &w.nat.a));
}

/* The answers' MAPPED-ADDRESS, if any, is another than what the server said. */
static bool rewrite(struct world *w, struct sim_packet *p)
{
	const struct endpoint inner = sim_nat_local(&w->nat, p->slot);
	struct endpoint outer;
	struct stun_message m;
	struct stun_builder b;
	struct stun_value other;
	uint8_t bytes[256];

	assert_int_equal(stun_decode(&m, p->bytes, p->len), 0);
	assert_int_equal(stun_mapped(&m, &outer), 0);
	assert_int_equal(stun_get(&m, STUN_OTHER_ADDRESS, &other), 0);
	stun_begin(&b, bytes, sizeof(bytes), STUN_SUCCESS, STUN_BINDING, m.id);
	stun_put_endpoint(&b, STUN_MAPPED_ADDRESS, &inner);
	if (w->port_mode)
		stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &outer);
	stun_put_endpoint(&b, STUN_CHANGED_ADDRESS, &other.endpoint);
	p->len = stun_end(&b);
	memcpy(p->bytes, bytes, p->len);
	return true;
}

static void an_alg_is_noticed_and_not_believed(void **state)
{
	struct world both = world(EI, EI), classic = world(EI, EI);

	(void)state;
	both.fate = classic.fate = rewrite;
	both.port_mode = true; /* with XOR-MAPPED-ADDRESS beside */
	inquire(&both);
	assert_int_equal(both.v.type, STUNWAY_FULL_CONE);
	assert_true(both.v.notes & DISCOVERY_ALG);
	/* A server across the Internet, which says that we have a private address there. */
	classic.nat.a = endpoint_ipv4(0x08080808u, 3478);
	classic.nat.b = endpoint_ipv4(0x08080809u, 3478);
	inquire(&classic);
	assert_int_equal(classic.v.type, STUNWAY_UNKNOWN);
	assert_true(classic.v.notes & DISCOVERY_ALG);
}

/* RFC 3489: MAPPED-ADDRESS, CHANGED-ADDRESS, no more. */
static bool classic(struct world *w, struct sim_packet *p)
{
	struct endpoint outer;
	struct stun_message m;
	struct stun_builder b;
	struct stun_value other;
	uint8_t bytes[256];

	(void)w;
	assert_int_equal(stun_decode(&m, p->bytes, p->len), 0);
	assert_int_equal(stun_mapped(&m, &outer), 0);
	assert_int_equal(stun_get(&m, STUN_OTHER_ADDRESS, &other), 0);
	stun_begin(&b, bytes, sizeof(bytes), STUN_SUCCESS, STUN_BINDING, m.id);
	stun_put_endpoint(&b, STUN_MAPPED_ADDRESS, &outer);
	stun_put_endpoint(&b, STUN_CHANGED_ADDRESS, &other.endpoint);
	p->len = stun_end(&b);
	memcpy(p->bytes, bytes, p->len);
	return true;
}

static void a_server_of_rfc_3489_suffices(void **state)
{
	struct world cone = world(EI, AD), symmetric = world(APD, APD);

	(void)state;
	cone.fate = symmetric.fate = classic;
	inquire(&cone);
	assert_int_equal(cone.v.type, STUNWAY_RESTRICTED_CONE);
	inquire(&symmetric);
	assert_int_equal(symmetric.v.type, STUNWAY_SYMMETRIC_NAT);
}

static void a_pool_of_outer_addresses_is_noticed_and_its_counter_seen(void **state)
{
	struct world w = world(EI, EI);

	(void)state;
	w.nat.ports = STUNWAY_PORTS_INCREMENT;
	w.nat.outer_count = 3;
	w.port_mode = true;
	inquire(&w);
	assert_int_equal(w.v.type, STUNWAY_FULL_CONE);
	assert_int_equal(w.v.port_mode, STUNWAY_PORTS_INCREMENT);
	assert_true(w.v.notes & DISCOVERY_POOL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_full_cone_is_known_after_two_round_trips),
		T(silence_is_believed_within_a_second),
		T(without_an_answer_it_waits_for_the_deadline),
		T(a_host_that_answers_otherwise_makes_blocked_quick),
		T(a_server_without_a_second_address_leaves_the_type_unknown),
		T(of_a_server_with_a_second_port_only_a_strict_nat_is_known),
		T(a_second_address_with_the_same_port_leaves_two_kinds_alike),
		T(a_dead_second_address_is_no_filter),
		T(an_other_address_where_nobody_lives_is_no_filter),
		T(a_server_that_never_answers_from_elsewhere_is_no_filter),
		T(a_server_that_refuses_is_an_error_and_is_asked_seldom),
		T(a_line_that_changes_once_is_asked_anew),
		T(a_line_that_never_stands_still_is_unknown),
		T(a_server_that_dies_meanwhile_is_no_filter),
		T(a_server_that_limits_its_answers_is_no_filter),
		T(a_refusal_that_passes_is_no_verdict),
		T(lies_change_nothing),
		T(nobody_is_sent_to_knock_at_doors_of_our_own_lan),
		T(an_alg_is_noticed_and_not_believed),
		T(a_server_of_rfc_3489_suffices),
		T(a_pool_of_outer_addresses_is_noticed_and_its_counter_seen),
	};

	return RUN(tests);
}
