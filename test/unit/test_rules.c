/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gateway/rules on a firewall that is an array, and waits in a change when it is told to; conntrack is the real one, of a
 * network namespace of our own.
 */
#include "test/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#include "gateway/firewall/rules.h"
#include "sys/log.h"

#define MANY  1000
#define FIRST 20000 /* relay port */

struct firewall {
	_Atomic uint8_t has[65536]; /* by relay port: how often it was added */
	_Atomic uint16_t hairpin[65536]; /* by outer port: the relay port of whose it is */
	atomic_int health;  /* what mend says next */
	atomic_int fails;   /* so many changes fail */
	_Atomic uint16_t refuses; /* this one, always */
	char wan[16];
	atomic_size_t adds, removals, most, rebuilds, mends, reached, refused;
	uint16_t first; /* that was added */
	pthread_t loop;
	atomic_bool hold, closed;
	atomic_size_t entered;
};

/* As the kernel: whoever has it, and whoever takes it away. */
static void set_outer(struct firewall *f, const struct endpoint *outer, uint16_t relay_port)
{
	if (outer->family == ENDPOINT_IPV4)
		f->hairpin[outer->port] = relay_port;
}

/* The begin of each change: what it comes to. Cmocka's asserts are for the main thread. */
static int enter(struct firewall *f)
{
	if (f->closed || pthread_equal(pthread_self(), f->loop))
		abort();
	f->entered++;
	while (f->hold)
		sched_yield();
	if (f->fails == 0)
		return 0;
	f->fails--;
	return -EIO;
}

static int fake_add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	const int err = enter(f);

	f->adds++;
	for (size_t i = 0; i < count; i++)
		if (err == 0 && m[i].relay_port == f->refuses) {
			f->refused++;
			return -EEXIST;
		}
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			if (m[i].outer.port && m[i].outer.port == m[k].outer.port)
				return -EEXIST; /* a key twice in one change */
	if (err < 0)
		return err;
	if (count > f->most)
		f->most = count;
	if (!f->first)
		f->first = m[0].relay_port;
	for (size_t i = 0; i < count; i++) {
		f->has[m[i].relay_port]++;
		set_outer(f, &m[i].outer, m[i].relay_port);
	}
	return 0;
}

static int fake_remove(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	int err = enter(f);

	if (err < 0)
		return err;
	f->removals++;
	for (size_t i = 0; i < count; i++) {
		err = f->has[m[i].relay_port] ? err : -ENOENT;
		f->has[m[i].relay_port] = 0;
		set_outer(f, &m[i].outer, 0);
	}
	return err;
}

static int fake_mend(struct firewall *f, const struct firewall_mapping *sample)
{
	const int err = enter(f), health = f->health;

	f->mends++;
	f->health = FIREWALL_WELL;
	return err < 0 ? err : sample && !f->has[sample->relay_port] ? FIREWALL_LOST : health;
}

static void lose_all(struct firewall *f)
{
	for (size_t i = 0; i < sizeof(f->has); i++)
		f->has[i] = 0;
	for (size_t i = 0; i < sizeof(f->has); i++)
		f->hairpin[i] = 0;
}

static int fake_rebuild(struct firewall *f, const char *wan)
{
	const int err = enter(f);

	f->rebuilds++;
	if (err < 0)
		return err;
	lose_all(f);
	snprintf(f->wan, sizeof(f->wan), "%s", wan);
	return 0;
}

static int fake_reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	const int err = enter(f);

	for (size_t i = 0; i < count; i++)
		if (!f->has[changes[i].mapping->relay_port])
			return -ENOENT;
	for (size_t i = 0; i < count; i++)
		set_outer(f, &changes[i].before, 0);
	for (size_t i = 0; i < count; i++)
		set_outer(f, &changes[i].mapping->outer, changes[i].mapping->relay_port);
	f->reached += count;
	return err;
}

static int fake_exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	(void)protocol, (void)servers, (void)count;
	enter(f);
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
	unsigned told;
};

static void told(void *owner)
{
	((struct world *)owner)->told++;
}

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	struct rules_config c = { .loop = &w->loop, .backend = &fake, .firewall = &w->firewall, .wan = "wan", .wan_ip = 0x64400002,
		.walked = told, .owner = w };

	if (unshare(CLONE_NEWNET) < 0)
		skip();
	log_up_to_level(LOG_LEVEL_ERROR);
	w->firewall.loop = pthread_self();
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(rules_open(&w->rules, &c), 0);
	for (uint32_t i = 0; i < MANY; i++)
		w->all[i].mapping = (struct firewall_mapping){ .protocol = LEASE_UDP, .relay_port = (uint16_t)(FIRST + i),
			.client_ip = 0xc0a8010a, .internal_port = (uint16_t)(1 + i) };
	return w;
}

static void world_free(struct world *w)
{
	rules_close(w->rules);
	w->firewall.closed = true;
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
}

static size_t standing(const struct world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < MANY; i++)
		n += w->firewall.has[FIRST + i] > 0;
	return n;
}

/* Until nothing is to be done. */
static void run(struct world *w)
{
	uv_run(&w->loop, UV_RUN_DEFAULT);
}

/* Until a change more is under way, which waits. */
static void run_into(struct world *w)
{
	const size_t entered = w->firewall.entered;

	w->firewall.hold = true;
	while (w->firewall.entered == entered)
		uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void let_go(struct world *w)
{
	w->firewall.hold = false;
	run(w);
}

/* The first so many rules. */
static void put_up(struct world *w, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_false(rules_add(w->rules, &w->all[i]));
	run(w);
	for (size_t i = 0; i < count; i++)
		assert_true(rules_add(w->rules, &w->all[i]));
}

static void what_a_turn_asks_is_one_change_off_the_loop(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < FIREWALL_BATCH; i++)
		assert_false(rules_add(w->rules, &w->all[i]));
	assert_int_equal(w->firewall.adds, 0);
	while (!rules_stands(w->rules, &w->all[0]))
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_false(rules_scrubbed(w->rules, &w->all[0]));
	w->told = 0;
	run(w);
	assert_int_equal(w->firewall.adds, 1);
	assert_int_equal(standing(w), FIREWALL_BATCH);
	assert_true(rules_scrubbed(w->rules, &w->all[FIREWALL_BATCH - 1]));
	assert_int_not_equal(w->told, 0);
	world_free(w);
}

static void many_rules_are_put_up_in_batches_and_first_who_is_waited_for(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		rules_want(w->rules, &w->all[i]);
	assert_false(rules_add(w->rules, &w->all[MANY - 1]));
	run(w);
	assert_int_equal(standing(w), MANY);
	assert_int_equal(w->firewall.first, FIRST + MANY - 1);
	assert_int_equal(w->firewall.most, FIREWALL_BATCH);
	assert_int_equal(w->firewall.adds, MANY / FIREWALL_BATCH);
	assert_int_equal(w->firewall.rebuilds, 0);
	world_free(w);
}

static void many_rules_are_taken_down_in_batches(void **state)
{
	struct world *w = world_new();
	uint64_t first, last;

	(void)state;
	put_up(w, MANY);
	rules_remove(w->rules, &w->all[0]);
	first = rules_removed(w->rules);
	for (size_t i = 1; i < MANY; i++)
		rules_remove(w->rules, &w->all[i]);
	last = rules_removed(w->rules);
	assert_int_equal(w->firewall.removals, 0);
	assert_false(rules_gone(w->rules, first));
	while (!rules_gone(w->rules, first))
		uv_run(&w->loop, UV_RUN_ONCE);
	run(w);
	assert_true(rules_gone(w->rules, last));
	assert_int_equal(w->firewall.removals, MANY / FIREWALL_BATCH);
	assert_int_equal(standing(w), 0);
	assert_int_equal(w->firewall.rebuilds, 0);
	world_free(w);
}

static void removals_do_not_keep_others_waiting(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, MANY - 1);
	for (size_t i = 0; i < MANY - 1; i++)
		rules_remove(w->rules, &w->all[i]);
	rules_add(w->rules, &w->all[MANY - 1]);
	while (!rules_stands(w->rules, &w->all[MANY - 1]))
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_in_range(w->firewall.removals, 0, 2);
	run(w);
	assert_int_equal(standing(w), 1);
	world_free(w);
}

static void a_rule_that_comes_again_comes_after_its_removal(void **state)
{
	struct world *w = world_new();
	struct rule again = { .mapping = w->all[MANY - 1].mapping };

	(void)state;
	put_up(w, MANY);
	for (size_t i = 0; i < MANY; i++)
		rules_remove(w->rules, &w->all[i]);
	assert_false(rules_add(w->rules, &again));
	run(w);
	assert_int_equal(w->firewall.has[again.mapping.relay_port], 1);
	assert_int_equal(standing(w), 1);
	assert_int_equal(w->firewall.rebuilds, 0);
	rules_remove(w->rules, &again);
	world_free(w);
}

static void what_is_asked_during_a_change_is_the_next(void **state)
{
	struct world *w = world_new();

	(void)state;
	rules_add(w->rules, &w->all[0]);
	run_into(w);
	rules_add(w->rules, &w->all[1]);
	rules_add(w->rules, &w->all[2]);
	assert_false(rules_stands(w->rules, &w->all[0]));
	let_go(w);
	assert_int_equal(w->firewall.adds, 2);
	assert_int_equal(standing(w), 3);
	world_free(w);
}

/* fails: so many changes do. */
static void remove_under_way(struct world *w, int fails)
{
	struct rule *gone = malloc(sizeof(*gone));

	*gone = (struct rule){ .mapping = w->all[0].mapping };
	rules_add(w->rules, gone);
	run_into(w);
	w->firewall.fails = fails;
	rules_remove(w->rules, gone);
	memset(gone, 0xee, sizeof(*gone));
	free(gone);
	rules_add(w->rules, &w->all[0]);
	let_go(w);
	assert_true(rules_gone(w->rules, rules_removed(w->rules)));
	assert_int_equal(w->firewall.has[FIRST], 1);
	assert_int_equal(w->firewall.adds, 2);
	assert_int_equal(w->firewall.rebuilds, 0);
}

static void a_rule_removed_while_it_is_put_up_comes_down_then(void **state)
{
	struct world *w = world_new();

	(void)state;
	remove_under_way(w, 0);
	assert_int_equal(w->firewall.removals, 1);
	world_free(w);
}

static void what_was_refused_is_not_taken_down(void **state)
{
	struct world *w = world_new();

	(void)state;
	remove_under_way(w, 1);
	assert_int_equal(w->firewall.removals, 0);
	world_free(w);
}

static void one_that_is_refused_does_not_keep_the_others(void **state)
{
	struct world *w = world_new();

	(void)state;
	w->firewall.refuses = FIRST + 5;
	for (size_t i = 0; i < FIREWALL_BATCH; i++)
		rules_want(w->rules, &w->all[i]);
	while (standing(w) < FIREWALL_BATCH - 1)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_false(rules_stands(w->rules, &w->all[5]));
	assert_int_equal(w->firewall.refused, 2); /* with the others, and alone */
	uv_update_time(&w->loop);
	w->firewall.refuses = 0;
	run(w); /* a second later */
	assert_true(rules_stands(w->rules, &w->all[5]));
	world_free(w);
}

static void what_others_took_is_put_up_again_but_not_what_ended(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, MANY);
	lose_all(&w->firewall);
	rules_look(w->rules);
	rules_remove(w->rules, &w->all[7]); /* it is told that this was not there */
	run_into(w);
	rules_remove(w->rules, &w->all[MANY - 1]);
	let_go(w);
	assert_int_equal(standing(w), MANY - 2);
	assert_int_equal(w->firewall.has[FIRST + 7] + w->firewall.has[FIRST + MANY - 1], 0);
	assert_in_range(w->firewall.rebuilds, 1, 2);
	assert_true(rules_add(w->rules, &w->all[0]));
	world_free(w);
}

static void one_that_is_confirmed_is_looked_for_once_a_second(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, 3);
	w->firewall.has[FIRST + 1] = 0;
	assert_true(rules_confirm(w->rules, &w->all[1]));
	assert_true(rules_confirm(w->rules, &w->all[2]));
	run(w);
	assert_int_equal(w->firewall.rebuilds, 1);
	assert_int_equal(w->firewall.mends, 2); /* and when all was complete */
	assert_int_equal(standing(w), 3);
	world_free(w);
}

static void a_firewall_that_is_well_or_mended_is_not_built_anew(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, 1);
	rules_look(w->rules);
	run(w);
	w->firewall.health = FIREWALL_MENDED;
	rules_look(w->rules);
	run(w);
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
	put_up(w, 1);
	w->firewall.has[FIRST] = 0;
	rules_look(w->rules);
	run_into(w);
	assert_int_equal(w->firewall.mends, 0);
	w->firewall.hold = false;
	while (w->firewall.mends == 0)
		sched_yield();
	w->firewall.fails = 2;
	run(w);
	assert_int_equal(standing(w), 1);
	assert_int_equal(w->firewall.rebuilds, 3);
	world_free(w);
}

static void what_the_firewall_did_not_take_away_is_gone_with_its_table(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, 2);
	w->firewall.fails = 1;
	rules_remove(w->rules, &w->all[0]);
	run(w);
	assert_int_equal(w->firewall.has[FIRST], 0);
	assert_int_equal(standing(w), 1);
	assert_int_equal(w->firewall.rebuilds, 1);
	assert_true(rules_gone(w->rules, rules_removed(w->rules)));
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

static void outer_endpoints_are_told_together_of_rules_that_stand(void **state)
{
	struct world *w = world_new();
	size_t entered;

	(void)state;
	put_up(w, 3);
	entered = w->firewall.entered;
	for (size_t i = 0; i < 3; i++)
		reach(w, i, (uint16_t)(40000 + i));
	run(w);
	assert_int_equal(w->firewall.reached, 3);
	assert_int_equal(w->firewall.entered, entered + 1);
	reach(w, 0, 40000); /* nothing new: nothing is looked for */
	assert_false(uv_loop_alive(&w->loop));
	reach(w, 3, 40003); /* it comes with the rule */
	rules_add(w->rules, &w->all[3]);
	run(w);
	assert_int_equal(w->firewall.reached, 3);
	assert_int_equal(w->firewall.hairpin[40003], FIRST + 3);
	world_free(w);
}

/* The carrier hands out ports again: what was one mapping's is another's before the first has heard of it. */
static void an_outer_endpoint_is_one_rules(void **state)
{
	struct world *w = world_new();
	const _Atomic uint16_t *hairpin = w->firewall.hairpin;

	(void)state;
	put_up(w, 4);
	reach(w, 0, 40000);
	reach(w, 3, 40003);
	run(w);
	reach(w, 1, 40000);
	run(w);
	assert_int_equal(hairpin[40000], 20001);
	reach(w, 0, 40001); /* who had it takes nothing from who has it now, when he hears … */
	run(w);
	assert_int_equal(hairpin[40000], 20001);
	assert_int_equal(hairpin[40001], 20000);
	reach(w, 2, 40001);
	run(w);
	rules_remove(w->rules, &w->all[0]); /* … nor when he ends … */
	run(w);
	assert_int_equal(hairpin[40001], 20002);
	rules_remove(w->rules, &w->all[3]); /* … nor is about to */
	reach(w, 2, 40003);
	run(w);
	assert_int_equal(hairpin[40003], 20002);
	reach(w, 1, 40003); /* two change places */
	reach(w, 2, 40000);
	run(w);
	assert_int_equal(hairpin[40000], 20002);
	assert_int_equal(hairpin[40003], 20001);
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

static void an_outer_endpoint_that_changes_meanwhile_is_told_after(void **state)
{
	const struct endpoint outer = endpoint_ipv4(0xcb007101, 40000), next = endpoint_ipv4(0xcb007101, 40001);
	struct world *w = world_new();

	(void)state;
	rules_add(w->rules, &w->all[0]);
	run_into(w);
	rules_reach(w->rules, &w->all[0], &outer);
	w->firewall.hold = false;
	while (w->firewall.reached == 0)
		uv_run(&w->loop, UV_RUN_ONCE);
	rules_reach(w->rules, &w->all[0], &next);
	run(w);
	assert_int_equal(w->firewall.reached, 2);
	assert_true(endpoint_equal(&w->all[0].mapping.outer, &next));
	world_free(w);
}

static void another_line_is_another_table(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, 1);
	rules_move(w->rules, "wan", 0x64400009);
	run(w);
	assert_int_equal(w->firewall.rebuilds, 0); /* the address is in no rule */
	rules_add(w->rules, &w->all[1]);
	run_into(w);
	rules_move(w->rules, "lte", 0x64400009); /* what is under way is the old one's */
	let_go(w);
	assert_string_equal(w->firewall.wan, "lte");
	assert_int_equal(standing(w), 2);
	assert_int_equal(w->firewall.has[FIRST + 1], 1);
	world_free(w);
}

static void *let_go_soon(void *owner)
{
	uv_sleep(50);
	((struct world *)owner)->firewall.hold = false;
	return NULL;
}

static void who_stops_waits_for_the_change_under_way(void **state)
{
	struct world *w = world_new();
	pthread_t thread;

	(void)state;
	rules_add(w->rules, &w->all[0]);
	run_into(w);
	rules_remove(w->rules, &w->all[0]);
	pthread_create(&thread, NULL, let_go_soon, w);
	rules_stop(w->rules);
	w->firewall.closed = true; /* who changes it now aborts */
	assert_int_equal(standing(w), 1);
	pthread_join(thread, NULL);
	rules_look(w->rules);
	run(w);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_a_turn_asks_is_one_change_off_the_loop),
		T(many_rules_are_put_up_in_batches_and_first_who_is_waited_for),
		T(many_rules_are_taken_down_in_batches),
		T(removals_do_not_keep_others_waiting),
		T(a_rule_that_comes_again_comes_after_its_removal),
		T(what_is_asked_during_a_change_is_the_next),
		T(a_rule_removed_while_it_is_put_up_comes_down_then),
		T(what_was_refused_is_not_taken_down),
		T(one_that_is_refused_does_not_keep_the_others),
		T(what_others_took_is_put_up_again_but_not_what_ended),
		T(one_that_is_confirmed_is_looked_for_once_a_second),
		T(a_firewall_that_is_well_or_mended_is_not_built_anew),
		T(a_table_that_cannot_be_built_is_tried_again),
		T(what_the_firewall_did_not_take_away_is_gone_with_its_table),
		T(outer_endpoints_are_told_together_of_rules_that_stand),
		T(an_outer_endpoint_that_changes_meanwhile_is_told_after),
		T(an_outer_endpoint_is_one_rules),
		T(two_that_think_they_have_one_outer_endpoint_keep_nobody_down),
		T(another_line_is_another_table),
		T(who_stops_waits_for_the_change_under_way),
	};

	return RUN(tests);
}
