/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gateway/rules on a firewall that is an array; conntrack is the real one, of a network namespace of our own. */
#include "test/unit/test.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <uv.h>

#include "gateway/firewall/rules.h"
#include "sys/log.h"

#define MANY 1000

struct firewall {
	uint8_t has[65536]; /* by relay port: how often it was added */
	uint16_t hairpin[65536]; /* by outer port: the relay port of whose it is */
	int health;	    /* what mend says next */
	int fails;	    /* so many changes fail */
	char wan[16];
	size_t adds, removals, most, rebuilds, mends, turns, reached;
};

/* As the kernel: whoever has it, and whoever takes it away. */
static void set_outer(struct firewall *f, const struct endpoint *outer, uint16_t relay_port)
{
	if (outer->family == ENDPOINT_IPV4)
		f->hairpin[outer->port] = relay_port;
}

static int fake_add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	f->adds++;
	if (f->fails > 0) {
		f->fails--;
		return -EIO;
	}
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			if (m[i].outer.port && m[i].outer.port == m[k].outer.port)
				return -EEXIST; /* a key twice in one change */
	if (count > f->most)
		f->most = count;
	for (size_t i = 0; i < count; i++) {
		f->has[m[i].relay_port]++;
		set_outer(f, &m[i].outer, m[i].relay_port);
	}
	return 0;
}

static int fake_remove(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	if (f->fails > 0) {
		f->fails--;
		return -EIO;
	}
	f->removals++;
	for (size_t i = 0; i < count; i++) {
		f->has[m[i].relay_port] = 0;
		set_outer(f, &m[i].outer, 0);
	}
	return 0;
}

static int fake_mend(struct firewall *f, const struct firewall_mapping *sample)
{
	const int health = f->health;

	f->mends++;
	f->health = FIREWALL_WELL;
	return sample && !f->has[sample->relay_port] ? FIREWALL_LOST : health;
}

static int fake_rebuild(struct firewall *f, const char *wan)
{
	f->rebuilds++;
	if (f->fails > 0) {
		f->fails--;
		return -EIO;
	}
	memset(f->has, 0, sizeof(f->has));
	memset(f->hairpin, 0, sizeof(f->hairpin));
	snprintf(f->wan, sizeof(f->wan), "%s", wan);
	return 0;
}

static int fake_reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!f->has[changes[i].mapping->relay_port])
			return -ENOENT;
	for (size_t i = 0; i < count; i++)
		set_outer(f, &changes[i].before, 0);
	for (size_t i = 0; i < count; i++)
		set_outer(f, &changes[i].mapping->outer, changes[i].mapping->relay_port);
	f->reached += count;
	return 0;
}

static int fake_exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	(void)f, (void)protocol, (void)servers, (void)count;
	return -EIO;
}

static const char *fake_error(const struct firewall *f)
{
	(void)f;
	return "as told";
}

static const struct firewall_backend fake = { .name = "fake", .add = fake_add, .remove = fake_remove, .reach = fake_reach,
	.exempt = fake_exempt, .mend = fake_mend,
	.rebuild = fake_rebuild, .error = fake_error };

struct world {
	uv_loop_t loop;
	struct firewall firewall;
	struct rules *rules;
	struct rule all[MANY];
};

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	struct rules_config c = { .loop = &w->loop, .backend = &fake, .firewall = &w->firewall, .wan = "wan", .wan_ip = 0x64400002 };

	if (unshare(CLONE_NEWNET) < 0)
		skip();
	log_up_to_level(LOG_LEVEL_ERROR);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(rules_open(&w->rules, &c), 0);
	for (uint32_t i = 0; i < MANY; i++)
		w->all[i].mapping = (struct firewall_mapping){ .protocol = LEASE_UDP, .relay_port = (uint16_t)(20000 + i),
			.client_ip = 0xc0a8010a, .internal_port = (uint16_t)(1 + i) };
	return w;
}

static void world_free(struct world *w)
{
	rules_close(w->rules);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
}

static size_t standing(const struct world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < MANY; i++)
		n += w->firewall.has[20000 + i] > 0;
	return n;
}

/* Until nothing is to be done; each turn may add one batch. */
static void run(struct world *w)
{
	while (uv_loop_alive(&w->loop)) {
		const size_t adds = w->firewall.adds;

		uv_run(&w->loop, UV_RUN_NOWAIT);
		assert_in_range(w->firewall.adds - adds, 0, 1);
		w->firewall.turns++;
	}
}

static void many_rules_are_put_up_a_batch_a_turn(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		rules_want(w->rules, &w->all[i]);
	assert_int_equal(standing(w), 0);
	run(w);
	assert_int_equal(standing(w), MANY);
	assert_int_equal(w->firewall.most, FIREWALL_BATCH);
	assert_int_equal(w->firewall.adds, MANY / FIREWALL_BATCH);
	assert_int_equal(w->firewall.rebuilds, 0);
	world_free(w);
}

static void many_rules_are_taken_down_a_batch_a_turn(void **state)
{
	struct world *w = world_new();
	uint64_t number;

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		assert_true(rules_add(w->rules, &w->all[i]));
	for (size_t i = 0; i < MANY; i++)
		rules_remove(w->rules, &w->all[i]);
	assert_int_equal(w->firewall.removals, 0);
	number = rules_scrub(w->rules);
	assert_int_equal(w->firewall.removals, 1);
	assert_int_equal(standing(w), MANY - RULES_REMOVED);
	assert_false(rules_gone(w->rules, number));
	for (unsigned turns = 0; !rules_gone(w->rules, number); turns++) {
		const size_t removals = w->firewall.removals;

		assert_in_range(turns, 0, 10000);
		uv_sleep(1);
		uv_run(&w->loop, UV_RUN_NOWAIT); /* UV_RUN_ONCE looks at timers twice */
		assert_in_range(w->firewall.removals - removals, 0, 1);
	}
	assert_int_equal(w->firewall.removals, MANY / RULES_REMOVED);
	assert_int_equal(standing(w), 0);
	world_free(w);
}

static void a_rule_that_comes_again_comes_after_its_removal(void **state)
{
	struct world *w = world_new();
	struct rule again = { .mapping = w->all[MANY - 1].mapping };

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		assert_true(rules_add(w->rules, &w->all[i]));
	for (size_t i = 0; i < MANY; i++)
		rules_remove(w->rules, &w->all[i]);
	assert_true(rules_add(w->rules, &again));
	while (!rules_gone(w->rules, rules_scrub(w->rules)))
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(w->firewall.has[again.mapping.relay_port], 1);
	assert_int_equal(standing(w), 1);
	rules_remove(w->rules, &again);
	world_free(w);
}

static void what_others_took_is_put_up_again_but_not_what_ended(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		assert_true(rules_add(w->rules, &w->all[i]));
	memset(w->firewall.has, 0, sizeof(w->firewall.has));
	rules_look(w->rules);
	assert_false(rules_add(w->rules, &w->all[0])); /* not before its table stands */
	rules_remove(w->rules, &w->all[7]);
	rules_remove(w->rules, &w->all[MANY - 1]);
	run(w);
	assert_int_equal(w->firewall.rebuilds, 1);
	assert_int_equal(standing(w), MANY - 2);
	assert_int_equal(w->firewall.has[20007] + w->firewall.has[20000 + MANY - 1], 0);
	assert_true(rules_add(w->rules, &w->all[0]));
	world_free(w);
}

static void a_firewall_that_is_well_or_mended_is_not_built_anew(void **state)
{
	struct world *w = world_new();

	(void)state;
	assert_true(rules_add(w->rules, &w->all[0]));
	rules_look(w->rules);
	w->firewall.health = FIREWALL_MENDED;
	rules_look(w->rules);
	w->firewall.health = -EIO;
	rules_look(w->rules);
	run(w);
	assert_int_equal(w->firewall.mends, 3);
	assert_int_equal(w->firewall.rebuilds, 0);
	assert_int_equal(w->firewall.adds, 1);
	world_free(w);
}

static void a_table_that_cannot_be_built_is_tried_again(void **state)
{
	struct world *w = world_new();

	(void)state;
	assert_true(rules_add(w->rules, &w->all[0]));
	w->firewall.has[20000] = 0;
	w->firewall.fails = 2;
	rules_look(w->rules);
	run(w);
	assert_int_equal(standing(w), 1);
	assert_int_equal(w->firewall.rebuilds, 3);
	world_free(w);
}

static void what_the_firewall_did_not_take_away_is_gone_with_its_table(void **state)
{
	struct world *w = world_new();

	(void)state;
	assert_true(rules_add(w->rules, &w->all[0]));
	assert_true(rules_add(w->rules, &w->all[1]));
	w->firewall.fails = 1;
	rules_remove(w->rules, &w->all[0]);
	rules_scrub(w->rules);
	assert_int_equal(w->firewall.has[20000], 1);
	run(w);
	assert_int_equal(w->firewall.has[20000], 0);
	assert_int_equal(standing(w), 1);
	assert_int_equal(w->firewall.rebuilds, 1);
	rules_exempt(w->rules, LEASE_UDP, NULL, 0); /* the table has the servers last named */
	run(w);
	assert_int_equal(w->firewall.rebuilds, 2);
	world_free(w);
}

static void reach(struct world *w, size_t i, uint16_t outer_port)
{
	const struct endpoint outer = endpoint_ipv4(0xcb007101, outer_port);

	rules_reach(w->rules, &w->all[i], &outer);
}

/* The carrier hands out ports again: what was one mapping's is another's before the first has heard of it. */
static void an_outer_endpoint_is_one_rules(void **state)
{
	struct world *w = world_new();
	const uint16_t *hairpin = w->firewall.hairpin;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_true(rules_add(w->rules, &w->all[i]));
	reach(w, 0, 40000);
	reach(w, 3, 40003);
	rules_reach_now(w->rules);
	reach(w, 1, 40000);
	rules_reach_now(w->rules);
	assert_int_equal(hairpin[40000], 20001);
	reach(w, 0, 40001); /* who had it takes nothing from who has it now, when he hears … */
	rules_reach_now(w->rules);
	assert_int_equal(hairpin[40000], 20001);
	assert_int_equal(hairpin[40001], 20000);
	reach(w, 2, 40001);
	rules_reach_now(w->rules);
	rules_remove(w->rules, &w->all[0]); /* … nor when he ends … */
	rules_scrub(w->rules);
	assert_int_equal(hairpin[40001], 20002);
	rules_remove(w->rules, &w->all[3]); /* … nor was about to */
	reach(w, 2, 40003);
	rules_reach_now(w->rules);
	rules_scrub(w->rules);
	assert_int_equal(hairpin[40003], 20002);
	assert_int_equal(w->firewall.rebuilds, 0);
	world_free(w);
}

/* Else the firewall would refuse all of them, again and again. */
static void two_that_think_they_have_one_outer_endpoint_keep_nobody_down(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		reach(w, i, 40000);
		rules_want(w->rules, &w->all[i]);
	}
	run(w);
	assert_int_equal(standing(w), MANY);
	assert_int_equal(w->firewall.adds, MANY / FIREWALL_BATCH);
	world_free(w);
}

static void outer_endpoints_are_told_of_rules_that_stand(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_true(rules_add(w->rules, &w->all[i]));
	for (size_t i = 0; i < 3; i++)
		reach(w, i, (uint16_t)(40000 + i));
	rules_reach_now(w->rules);
	assert_int_equal(w->firewall.reached, 3);
	memset(w->firewall.has, 0, sizeof(w->firewall.has));
	rules_look(w->rules);
	rules_reach(w->rules, &w->all[0], &(struct endpoint){ 0 });
	rules_reach_now(w->rules); /* it comes with the rule */
	run(w);
	assert_int_equal(w->firewall.reached, 3);
	assert_int_equal(w->firewall.rebuilds, 1);
	assert_int_equal(w->all[0].mapping.outer.family, ENDPOINT_NONE);
	world_free(w);
}

static void another_line_is_another_table(void **state)
{
	struct world *w = world_new();

	(void)state;
	assert_true(rules_add(w->rules, &w->all[0]));
	rules_move(w->rules, "wan", 0x64400009);
	run(w);
	assert_int_equal(w->firewall.rebuilds, 0); /* the address is in no rule */
	rules_move(w->rules, "lte", 0x64400009);
	run(w);
	assert_string_equal(w->firewall.wan, "lte");
	assert_int_equal(standing(w), 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(many_rules_are_put_up_a_batch_a_turn),
		T(many_rules_are_taken_down_a_batch_a_turn),
		T(a_rule_that_comes_again_comes_after_its_removal),
		T(what_others_took_is_put_up_again_but_not_what_ended),
		T(a_firewall_that_is_well_or_mended_is_not_built_anew),
		T(a_table_that_cannot_be_built_is_tried_again),
		T(what_the_firewall_did_not_take_away_is_gone_with_its_table),
		T(outer_endpoints_are_told_of_rules_that_stand),
		T(an_outer_endpoint_is_one_rules),
		T(two_that_think_they_have_one_outer_endpoint_keep_nobody_down),
		T(another_line_is_another_table),
	};

	return RUN(tests);
}
