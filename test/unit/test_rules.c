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
	pthread_mutex_t lock; /* a change is seen whole */
	_Atomic uint8_t has[65536]; /* by relay port: how often it was added */
	_Atomic uint16_t client[65536]; /* by relay port: whom it leads to, by his port */
	_Atomic uint16_t relay[65536]; /* by the client's port: by which he leaves */
	_Atomic uint16_t hairpin[65536]; /* by outer port: the relay port of whose it is */
	atomic_int health;  /* what mend says next */
	atomic_int fails;   /* so many changes fail */
	_Atomic uint16_t refuses, refuses_to; /* these relay ports, always */
	unsigned takes_ms; /* each change */
	char wan[16];
	atomic_size_t adds, removals, most, rebuilds, mends, reached, refused, conflicts;
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
	uv_sleep(f->takes_ms);
	while (f->hold)
		sched_yield();
	pthread_mutex_lock(&f->lock);
	if (f->fails == 0)
		return 0;
	f->fails--;
	return -EIO;
}

/* Its end. */
static int leave(struct firewall *f, int result)
{
	pthread_mutex_unlock(&f->lock);
	return result;
}

/* A key that is another mapping's still, or twice in one change. */
static bool is_conflict(const struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if ((f->has[m[i].relay_port] && f->client[m[i].relay_port] != m[i].internal_port) ||
			(f->relay[m[i].internal_port] && f->relay[m[i].internal_port] != m[i].relay_port))
			return true;
		for (size_t k = 0; k < i; k++)
			if (m[i].relay_port == m[k].relay_port || m[i].internal_port == m[k].internal_port ||
				(m[i].outer.port && m[i].outer.port == m[k].outer.port))
				return true;
	}
	return false;
}

static int fake_add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	int err = enter(f);

	f->adds++;
	for (size_t i = 0; i < count; i++)
		if (err == 0 && m[i].relay_port >= f->refuses && m[i].relay_port < f->refuses_to) {
			f->refused++;
			err = -EEXIST;
		}
	if (is_conflict(f, m, count)) {
		f->conflicts++;
		err = -EEXIST;
	}
	for (size_t i = 0; i < count; i++)
		set_outer(f, &m[i].outer, err < 0 ? 0 : m[i].relay_port);
	if (err < 0)
		return leave(f, err);
	if (count > f->most)
		f->most = count;
	if (!f->first)
		f->first = m[0].relay_port;
	for (size_t i = 0; i < count; i++) {
		f->has[m[i].relay_port]++;
		f->client[m[i].relay_port] = m[i].internal_port;
		f->relay[m[i].internal_port] = m[i].relay_port;
	}
	return leave(f, 0);
}

static int fake_remove(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	int err = enter(f);

	if (err < 0)
		return leave(f, err);
	f->removals++;
	for (size_t i = 0; i < count; i++) {
		err = f->has[m[i].relay_port] ? err : -ENOENT;
		f->has[m[i].relay_port] = 0;
		f->relay[m[i].internal_port] = 0;
		set_outer(f, &m[i].outer, 0);
	}
	return leave(f, err);
}

static int fake_mend(struct firewall *f, const struct firewall_mapping *sample)
{
	const int err = enter(f), health = f->health;

	f->mends++;
	if (err < 0)
		return leave(f, err);
	f->health = FIREWALL_WELL;
	return leave(f, sample && !f->has[sample->relay_port] ? FIREWALL_LOST : health);
}

static void lose_all(struct firewall *f)
{
	for (size_t i = 0; i < sizeof(f->has); i++) {
		f->has[i] = 0;
		f->relay[i] = 0;
		f->hairpin[i] = 0;
	}
}

static int fake_rebuild(struct firewall *f, const char *wan)
{
	const int err = enter(f);

	f->rebuilds++;
	if (err < 0)
		return leave(f, err);
	lose_all(f);
	snprintf(f->wan, sizeof(f->wan), "%s", wan);
	return leave(f, 0);
}

static int fake_reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	const int err = enter(f);

	for (size_t i = 0; i < count; i++)
		if (!f->has[changes[i].mapping->relay_port])
			return leave(f, -ENOENT);
	for (size_t i = 0; i < count; i++)
		set_outer(f, &changes[i].before, 0);
	for (size_t i = 0; i < count; i++)
		set_outer(f, &changes[i].mapping->outer, changes[i].mapping->relay_port);
	f->reached += count;
	return leave(f, err);
}

static int fake_exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	(void)protocol, (void)servers, (void)count;
	enter(f);
	return leave(f, -EIO);
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
	pthread_mutex_init(&w->firewall.lock, NULL);
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
	w->firewall.refuses_to = FIRST + 6;
	for (size_t i = 0; i < FIREWALL_BATCH; i++)
		rules_want(w->rules, &w->all[i]);
	while (standing(w) < FIREWALL_BATCH - 1)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_false(rules_stands(w->rules, &w->all[5]));
	assert_int_equal(w->firewall.refused, 2); /* with the others, and alone */
	uv_update_time(&w->loop);
	w->firewall.refuses_to = 0;
	run(w); /* a second later */
	assert_true(rules_stands(w->rules, &w->all[5]));
	world_free(w);
}

/* Even where their second is over before all of them were tried. */
static void many_that_are_refused_do_not_keep_the_others(void **state)
{
	struct world *w = world_new();

	(void)state;
	w->firewall.refuses = FIRST;
	w->firewall.refuses_to = FIRST + MANY / 4;
	w->firewall.takes_ms = 3;
	for (size_t i = 0; i < MANY; i++)
		rules_want(w->rules, &w->all[i]);
	while (standing(w) < MANY - MANY / 4 && w->firewall.refused < MANY)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(standing(w), MANY - MANY / 4);
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

/* Else flows begin by what is there still, and outlive it. */
static void what_the_firewall_did_not_take_away_is_not_gone_before(void **state)
{
	struct world *w = world_new();

	(void)state;
	put_up(w, 1);
	w->firewall.fails = 1;
	rules_remove(w->rules, &w->all[0]);
	while (w->firewall.fails)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	w->firewall.fails = 1; /* the table's, too */
	while (w->firewall.rebuilds < 1)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	for (int i = 0; i < 10; i++) {
		uv_sleep(SCRUB_PACE_MS / 4);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(w->firewall.has[FIRST], 1);
	assert_false(rules_gone(w->rules, rules_removed(w->rules)));
	run(w);
	assert_int_equal(w->firewall.has[FIRST], 0);
	assert_true(rules_gone(w->rules, rules_removed(w->rules)));
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
	reach(w, 1, 40000); /* wrongly, and who has it says so at his next keepalive */
	run(w);
	assert_int_equal(hairpin[40000], 20001);
	reach(w, 2, 40000);
	run(w);
	assert_int_equal(hairpin[40000], 20002);
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
	rules_move(w->rules, "wan", 0x64400009);
	run_into(w);
	rules_move(w->rules, "ppp", 0x64400009); /* while the table is built */
	let_go(w);
	assert_string_equal(w->firewall.wan, "ppp");
	assert_int_equal(standing(w), 2);
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

/*
 * Whatever is asked in whatever order, while changes run, fail and are undone by others: at the end stands what is wanted, and
 * nothing else; and what is said to be gone is gone.
 */
#define SLOTS  240 /* mappings, of as many relay ports and clients' ports */
#define OUTERS 60
#define STEPS  3000

struct chaos {
	struct world *w;
	unsigned seed;
	bool fails; /* changes do, now and then; that costs time */
	const char *line;
	struct rule *rules[SLOTS];
	bool relays[SLOTS], clients[SLOTS]; /* taken */
	uint16_t claims[SLOTS]; /* the outer port last reached, 0: none */
	uint64_t ended[SLOTS];	/* by relay port: the removal of who had it last */
};

static unsigned any(struct chaos *c, unsigned below)
{
	c->seed = c->seed * 1103515245 + 12345;
	return (c->seed >> 16) % below;
}

static unsigned any_free(struct chaos *c, bool taken[SLOTS])
{
	unsigned i = any(c, SLOTS);

	while (taken[i])
		i = (i + 1) % SLOTS;
	taken[i] = true;
	return i;
}

static void begin_rule(struct chaos *c, unsigned i)
{
	struct rule *rule = c->rules[i];

	if (!rule) {
		rule = c->rules[i] = calloc(1, sizeof(*rule));
		rule->mapping = (struct firewall_mapping){ .protocol = LEASE_UDP, .client_ip = 0xc0a8010a,
			.relay_port = (uint16_t)(FIRST + any_free(c, c->relays)), .internal_port = (uint16_t)(1 + any_free(c, c->clients)) };
		c->claims[i] = 0;
	}
	if (any(c, 2))
		rules_add(c->w->rules, rule);
	else
		rules_want(c->w->rules, rule);
}

static void claim(struct chaos *c, unsigned i, uint16_t port)
{
	const struct endpoint outer = port ? endpoint_ipv4(0xcb007101, port) : (struct endpoint){ 0 };

	c->claims[i] = port;
	rules_reach(c->w->rules, c->rules[i], &outer);
}

/* Some go for good, some are another mapping's then, some the same again at once. */
static void end_rule(struct chaos *c, unsigned i)
{
	struct rule *rule = c->rules[i];
	const uint16_t relay_port = rule->mapping.relay_port, internal_port = rule->mapping.internal_port;

	rules_remove(c->w->rules, rule);
	c->ended[relay_port - FIRST] = rules_removed(c->w->rules);
	if (any(c, 4) == 0) {
		rules_add(c->w->rules, rule);
		return;
	}
	c->relays[relay_port - FIRST] = c->clients[internal_port - 1] = false;
	memset(rule, 0xee, sizeof(*rule));
	free(rule);
	c->rules[i] = NULL;
}

static void others_act(struct chaos *c)
{
	struct firewall *f = &c->w->firewall;
	static const char *const lines[] = { "wan", "lte" };

	switch (any(c, c->fails ? 6 : 3)) {
	case 0:
		pthread_mutex_lock(&f->lock);
		lose_all(f);
		f->health = FIREWALL_LOST;
		pthread_mutex_unlock(&f->lock);
		rules_look(c->w->rules);
		break;
	case 1:
		c->line = lines[any(c, 2)];
		rules_move(c->w->rules, c->line, 0x64400002 + any(c, 2));
		break;
	case 2:
		rules_exempt(c->w->rules, LEASE_UDP, NULL, 0);
		break;
	default:
		f->fails = (int)any(c, 4);
	}
}

static void step(struct chaos *c)
{
	const unsigned i = any(c, SLOTS), what = any(c, 100);

	if (what < 45)
		begin_rule(c, i);
	else if (what < 70 && c->rules[i])
		end_rule(c, i);
	else if (what < 90 && c->rules[i])
		claim(c, i, any(c, 5) ? (uint16_t)(40000 + any(c, OUTERS)) : 0);
	else if (what < 94)
		c->w->firewall.hold ^= true;
	else if (what < 95)
		rules_look(c->w->rules);
	else if (what < 96 && c->rules[i])
		rules_confirm(c->w->rules, c->rules[i]);
	else if (what < 97 && any(c, 3) == 0)
		others_act(c);
	else if (what >= 97)
		uv_sleep(any(c, 2));
}

static void what_is_said_to_be_gone_is_gone(struct chaos *c)
{
	struct firewall *f = &c->w->firewall;

	for (size_t i = 0; i < SLOTS; i++)
		if (!c->relays[i] && rules_gone(c->w->rules, c->ended[i]))
			assert_int_equal(f->has[FIRST + i], 0);
}

/* Whom an outer endpoint leads to claimed it last of all that there are, if he is there. */
static void check_all(struct chaos *c)
{
	const struct firewall *f = &c->w->firewall;
	size_t wanted = 0;

	for (size_t i = 0; i < SLOTS; i++) {
		const struct rule *rule = c->rules[i];

		if (!rule)
			continue;
		wanted++;
		assert_true(rules_stands(c->w->rules, rule));
		assert_true(rules_scrubbed(c->w->rules, rule));
		assert_int_equal(f->has[rule->mapping.relay_port] > 0, 1);
		assert_int_equal(f->client[rule->mapping.relay_port], rule->mapping.internal_port);
		assert_int_equal(f->relay[rule->mapping.internal_port], rule->mapping.relay_port);
		assert_true(rule->mapping.outer.port == 0 || rule->mapping.outer.port == c->claims[i]);
		if (rule->mapping.outer.port)
			assert_int_equal(f->hairpin[rule->mapping.outer.port], rule->mapping.relay_port);
	}
	assert_int_equal(standing(c->w), wanted);
	for (size_t i = 0; i < SLOTS; i++)
		wanted -= f->relay[1 + i] != 0;
	assert_int_equal(wanted, 0);
	for (size_t port = 40000, i; port < 40000 + OUTERS; port++) {
		for (i = 0; i < SLOTS && f->hairpin[port]; i++)
			if (c->rules[i] && c->rules[i]->mapping.outer.port == port)
				break;
		assert_int_not_equal(i, SLOTS);
	}
	assert_int_equal(f->conflicts, 0);
	if (f->rebuilds)
		assert_string_equal(f->wan, c->line);
	assert_true(rules_gone(c->w->rules, rules_removed(c->w->rules)));
}

/* Closes in the midst of it. */
static void chaos_free(struct chaos *c)
{
	for (unsigned i = 0; i < any(c, 3) * 200; i++) {
		step(c);
		uv_run(&c->w->loop, UV_RUN_NOWAIT);
	}
	c->w->firewall.hold = false;
	if (any(c, 2)) {
		rules_stop(c->w->rules);
		c->w->firewall.closed = true;
		uv_run(&c->w->loop, UV_RUN_NOWAIT);
	}
	rules_close(c->w->rules);
	c->w->firewall.closed = true;
	for (size_t i = 0; i < SLOTS; i++)
		free(c->rules[i]);
	uv_run(&c->w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&c->w->loop), 0);
	free(c->w);
}

static void stir(unsigned seed, bool fails)
{
	struct chaos c = { .w = world_new(), .seed = seed, .fails = fails, .line = "wan" };

	for (size_t i = 0; i < STEPS; i++) {
		step(&c);
		if (any(&c, 3) == 0)
			uv_run(&c.w->loop, UV_RUN_NOWAIT);
		what_is_said_to_be_gone_is_gone(&c);
	}
	c.w->firewall.fails = 0;
	rules_look(c.w->rules);
	let_go(c.w);
	check_all(&c);
	for (unsigned i = 0; i < SLOTS; i++) /* what was another's meanwhile is told when it is heard again */
		if (c.rules[i])
			claim(&c, i, (uint16_t)(40000 + i));
	let_go(c.w);
	for (unsigned i = 0; i < SLOTS; i++)
		assert_int_equal(c.w->firewall.hairpin[40000 + i], c.rules[i] ? c.rules[i]->mapping.relay_port : 0);
	check_all(&c);
	chaos_free(&c);
}

static void in_the_end_stands_what_is_wanted(void **state)
{
	const char *seed = getenv("SEED");

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		stir((seed ? (unsigned)atoi(seed) : 1) * 1000 + i, i >= 8);
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
		T(many_that_are_refused_do_not_keep_the_others),
		T(what_others_took_is_put_up_again_but_not_what_ended),
		T(one_that_is_confirmed_is_looked_for_once_a_second),
		T(a_firewall_that_is_well_or_mended_is_not_built_anew),
		T(a_table_that_cannot_be_built_is_tried_again),
		T(what_the_firewall_did_not_take_away_is_gone_with_its_table),
		T(what_the_firewall_did_not_take_away_is_not_gone_before),
		T(outer_endpoints_are_told_together_of_rules_that_stand),
		T(an_outer_endpoint_that_changes_meanwhile_is_told_after),
		T(an_outer_endpoint_is_one_rules),
		T(two_that_think_they_have_one_outer_endpoint_keep_nobody_down),
		T(another_line_is_another_table),
		T(who_stops_waits_for_the_change_under_way),
		T(in_the_end_stands_what_is_wanted),
	};

	return RUN(tests);
}
