/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>

#include "lib/leases.h"

#define CLIENT 0xc0a80164u /* 192.168.1.100 */

static struct lease_key key_of(enum lease_protocol protocol, uint32_t client_ip, uint16_t internal_port)
{
	return (struct lease_key){ .protocol = protocol, .client_ip = client_ip, .internal_port = internal_port };
}

static void a_lease_is_found_by_its_key_and_by_its_relay_port(void **state)
{
	const struct lease_key key = key_of(LEASE_UDP, CLIENT, 6881);
	struct leases *t;
	struct lease *l;

	(void)state;
	assert_int_equal(leases_new(&t, 10, 10), 0);
	assert_int_equal(leases_add(t, &key, 9000, 7200000, &l), 0);
	assert_ptr_equal(leases_find(t, &key), l);
	assert_ptr_equal(leases_find_relay(t, LEASE_UDP, 9000), l);
	assert_null(leases_find_relay(t, LEASE_TCP, 9000));
	assert_null(leases_find(t, &(struct lease_key){ LEASE_TCP, CLIENT, 6881 }));
	assert_null(leases_find(t, &(struct lease_key){ LEASE_UDP, CLIENT + 1, 6881 }));
	assert_null(leases_find(t, &(struct lease_key){ LEASE_UDP, CLIENT, 6882 }));
	assert_int_equal(l->expires_ms, 7200000);
	assert_null(l->owner);
	leases_remove(t, l);
	assert_null(leases_find(t, &key));
	assert_null(leases_find_relay(t, LEASE_UDP, 9000));
	assert_int_equal(leases_count(t), 0);
	leases_free(t);
	leases_free(NULL);
}

static void a_key_and_a_relay_port_have_one_lease_each(void **state)
{
	const struct lease_key one = key_of(LEASE_UDP, CLIENT, 1), two = key_of(LEASE_UDP, CLIENT, 2),
			       tcp = key_of(LEASE_TCP, CLIENT, 1);
	struct leases *t;
	struct lease *l, *untouched = NULL;

	(void)state;
	assert_int_equal(leases_new(&t, 3, 3), 0);
	assert_int_equal(leases_add(t, &one, 9000, 0, &l), 0);
	assert_int_equal(leases_add(t, &one, 9001, 0, &untouched), -EEXIST);
	assert_int_equal(leases_add(t, &two, 9000, 0, &untouched), -EEXIST);
	assert_null(untouched);
	assert_int_equal(leases_add(t, &tcp, 9000, 0, &l), 0); /* another protocol's port is another port */
	assert_int_equal(leases_add(t, &two, 9001, 0, &l), 0);
	assert_int_equal(leases_add(t, &one, 9002, 0, &l), -EEXIST); /* full, and yet: it is there already */
	assert_int_equal(leases_count(t), 3);
	leases_free(t);
}

static void a_client_has_its_share_and_the_table_its_end(void **state)
{
	struct lease_key key = key_of(LEASE_UDP, CLIENT, 1);
	struct leases *t;
	struct lease *l, *first;

	(void)state;
	assert_int_equal(leases_new(&t, 3, 2), 0);
	assert_int_equal(leases_room(t, CLIENT), 0);
	assert_int_equal(leases_add(t, &key, 1, 0, &first), 0);
	key.internal_port = 2;
	assert_int_equal(leases_add(t, &key, 2, 0, &l), 0);
	key.internal_port = 3;
	assert_int_equal(leases_room(t, CLIENT), -EDQUOT);
	assert_int_equal(leases_add(t, &key, 3, 0, &l), -EDQUOT);
	key.client_ip++;
	assert_int_equal(leases_room(t, CLIENT + 1), 0);
	assert_int_equal(leases_add(t, &key, 3, 0, &l), 0);
	assert_int_equal(leases_room(t, CLIENT), -ENOSPC);
	assert_int_equal(leases_room(t, CLIENT + 2), -ENOSPC);
	key.client_ip++;
	assert_int_equal(leases_add(t, &key, 4, 0, &l), -ENOSPC);
	leases_remove(t, first);
	assert_int_equal(leases_add(t, &key, 4, 0, &l), 0);
	leases_free(t);
}

static void a_table_of_nothing_takes_nothing(void **state)
{
	const struct lease_key key = key_of(LEASE_TCP, CLIENT, 1);
	struct leases *t;
	struct lease *l;

	(void)state;
	assert_int_equal(leases_new(&t, 0, 5), 0);
	assert_int_equal(leases_add(t, &key, 1, 0, &l), -ENOSPC);
	assert_null(leases_next(t, NULL));
	leases_free(t);
	assert_int_equal(leases_new(&t, 5, 0), 0);
	assert_int_equal(leases_add(t, &key, 1, 0, &l), -EDQUOT);
	leases_free(t);
}

static void the_lease_at_hand_may_be_removed_on_a_walk(void **state)
{
	struct leases *t;
	struct lease *l, *next;
	unsigned seen = 0;

	(void)state;
	assert_int_equal(leases_new(&t, 100, 100), 0);
	for (uint16_t i = 1; i <= 100; i++) {
		const struct lease_key key = key_of(LEASE_UDP, CLIENT, i);

		assert_int_equal(leases_add(t, &key, i, i, &l), 0);
	}
	for (l = leases_next(t, NULL); l; l = next) {
		next = leases_next(t, l);
		seen++;
		if (l->relay_port % 3 != 0)
			leases_remove(t, l);
	}
	assert_int_equal(seen, 100);
	assert_int_equal(leases_count(t), 33);
	for (l = leases_next(t, NULL); l; l = leases_next(t, l))
		assert_int_equal(l->relay_port % 3, 0);
	leases_free(t);
}

/* The naive table: an array that is searched from end to end. */
struct model {
	struct lease_key key;
	uint16_t relay_port;
	struct lease *lease; /* NULL: free */
};

#define MODEL_MAX 40
#define SHARE	  15

static bool same_key(const struct lease_key *a, const struct lease_key *b)
{
	return a->protocol == b->protocol && a->client_ip == b->client_ip && a->internal_port == b->internal_port;
}

static int model_add(struct model *m, const struct lease_key *key, uint16_t relay_port)
{
	size_t count = 0, of_client = 0;

	for (size_t i = 0; i < MODEL_MAX; i++) {
		if (!m[i].lease)
			continue;
		if (same_key(&m[i].key, key) || (m[i].key.protocol == key->protocol && m[i].relay_port == relay_port))
			return -EEXIST;
		count++;
		of_client += m[i].key.client_ip == key->client_ip;
	}
	return count == MODEL_MAX ? -ENOSPC : of_client == SHARE ? -EDQUOT : 0;
}

static void model_check(const struct model *m, const struct leases *t)
{
	size_t count = 0, walked = 0;

	for (size_t i = 0; i < MODEL_MAX; i++) {
		if (!m[i].lease)
			continue;
		count++;
		assert_ptr_equal(leases_find(t, &m[i].key), m[i].lease);
		assert_ptr_equal(leases_find_relay(t, m[i].key.protocol, m[i].relay_port), m[i].lease);
		assert_int_equal(m[i].lease->relay_port, m[i].relay_port);
	}
	for (const struct lease *l = leases_next(t, NULL); l; l = leases_next(t, l))
		walked++;
	assert_int_equal(leases_count(t), count);
	assert_int_equal(walked, count);
}

static void random_operations_agree_with_a_naive_table(void **state)
{
	struct model model[MODEL_MAX] = { 0 };
	struct leases *t;
	struct lease *l;
	uint32_t seed = 1;

	(void)state;
	assert_int_equal(leases_new(&t, MODEL_MAX, SHARE), 0);
	for (unsigned n = 0; n < 50000; n++) {
		seed = seed * 1664525 + 1013904223;
		const struct lease_key key =
			key_of(seed >> 31 ? LEASE_TCP : LEASE_UDP, CLIENT + (seed >> 28 & 3), (uint16_t)(1 + (seed >> 22 & 15)));
		const uint16_t relay_port = (uint16_t)(9000 + (seed >> 16 & 63));
		struct lease *found = leases_find(t, &key);
		size_t i = 0;

		if (seed >> 8 & 1) {
			const int want = model_add(model, &key, relay_port);

			assert_int_equal(leases_add(t, &key, relay_port, n, &l), want);
			while (want == 0 && model[i].lease)
				i++;
			if (want == 0)
				model[i] = (struct model){ key, relay_port, l };
		} else if (found) {
			while (model[i].lease != found)
				i++;
			model[i].lease = NULL;
			leases_remove(t, found);
		}
		if (n % 16 == 0)
			model_check(model, t);
	}
	leases_free(t);
}

static void the_preferred_relay_port_is_stable_spread_and_in_range(void **state)
{
	unsigned used[100] = { 0 };

	(void)state;
	for (uint32_t client = 0; client < 100; client++) {
		for (uint16_t port = 1; port <= 100; port++) {
			const struct lease_key key = key_of(port % 2 ? LEASE_UDP : LEASE_TCP, CLIENT + client, port);
			const uint16_t relay = leases_preferred_relay(&key, 9000, 9099);

			assert_in_range(relay, 9000, 9099);
			assert_int_equal(relay, leases_preferred_relay(&key, 9000, 9099));
			assert_int_equal(leases_preferred_relay(&key, 7777, 7777), 7777);
			assert_int_equal(leases_preferred_relay(&key, 65535, 65535), 65535);
			assert_true(leases_preferred_relay(&key, 1, 65535) >= 1);
			leases_preferred_relay(&key, 0, 65535);
			used[relay - 9000]++;
		}
	}
	for (size_t i = 0; i < 100; i++)
		assert_in_range(used[i], 50, 150); /* 100 each, by chance */
}

static void the_preferred_relay_port_is_the_same_after_an_upgrade(void **state)
{
	const struct lease_key key = key_of(LEASE_UDP, CLIENT, 6881);

	(void)state;
	assert_int_equal(leases_preferred_relay(&key, 1024, 65535), 53682);
}

static void a_lease_for_ever_counts_in_no_quota(void **state)
{
	const struct lease_key keys[] = { key_of(LEASE_UDP, CLIENT, 1), key_of(LEASE_UDP, CLIENT, 2), key_of(LEASE_UDP, CLIENT, 3) };
	struct leases *t;
	struct lease *l, *forever;

	(void)state;
	assert_int_equal(leases_new(&t, 1, 1), 0);
	assert_int_equal(leases_add(t, &keys[0], 9000, LEASES_FOREVER, &forever), 0);
	assert_int_equal(leases_add(t, &keys[1], 9001, 5, &l), 0);
	assert_int_equal(leases_room(t, CLIENT + 1), -ENOSPC);
	leases_remove(t, forever);
	assert_int_equal(leases_room(t, CLIENT + 1), -ENOSPC);
	assert_int_equal(leases_add(t, &keys[2], 9002, LEASES_FOREVER, &forever), 0); /* also where there is no room */
	leases_remove(t, l);
	assert_int_equal(leases_room(t, CLIENT), 0);
	leases_free(t);
}

static void a_lease_moves_to_another_relay_port(void **state)
{
	const struct lease_key one = key_of(LEASE_UDP, CLIENT, 1), two = key_of(LEASE_UDP, CLIENT, 2);
	struct leases *t;
	struct lease *l, *other;

	(void)state;
	assert_int_equal(leases_new(&t, 2, 2), 0);
	assert_int_equal(leases_add(t, &one, 9000, 5, &l), 0);
	assert_int_equal(leases_add(t, &two, 9001, 5, &other), 0);
	assert_int_equal(leases_move(t, l, 9001), -EEXIST);
	assert_int_equal(leases_move(t, l, 9002), 0);
	assert_null(leases_find_relay(t, LEASE_UDP, 9000));
	assert_ptr_equal(leases_find_relay(t, LEASE_UDP, 9001), other);
	assert_ptr_equal(leases_find_relay(t, LEASE_UDP, 9002), l);
	leases_remove(t, l);
	assert_null(leases_find_relay(t, LEASE_UDP, 9002));
	leases_free(t);
}

static void a_lease_that_nobody_was_granted_follows_an_address(void **state)
{
	const struct lease_key one = key_of(LEASE_UDP, CLIENT, 1), moved = key_of(LEASE_UDP, CLIENT + 1, 1), taken = key_of(LEASE_UDP, CLIENT + 2, 1);
	struct leases *t;
	struct lease *l, *other;

	(void)state;
	assert_int_equal(leases_new(&t, 2, 2), 0);
	assert_int_equal(leases_add(t, &one, 9000, LEASES_FOREVER, &l), 0);
	assert_int_equal(leases_add(t, &taken, 9001, 5, &other), 0);
	assert_int_equal(leases_follow(t, l, CLIENT + 2), -EEXIST);
	assert_ptr_equal(leases_find(t, &one), l);
	assert_int_equal(leases_follow(t, l, CLIENT + 1), 0);
	assert_null(leases_find(t, &one));
	assert_ptr_equal(leases_find(t, &moved), l);
	assert_ptr_equal(leases_find_relay(t, LEASE_UDP, 9000), l);
	assert_int_equal(leases_add(t, &one, 9002, LEASES_FOREVER, &other), 0); /* its place is free again */
	leases_remove(t, l);
	assert_null(leases_find(t, &moved));
	leases_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_lease_is_found_by_its_key_and_by_its_relay_port),
		T(a_key_and_a_relay_port_have_one_lease_each),
		T(a_client_has_its_share_and_the_table_its_end),
		T(a_table_of_nothing_takes_nothing),
		T(the_lease_at_hand_may_be_removed_on_a_walk),
		T(random_operations_agree_with_a_naive_table),
		T(the_preferred_relay_port_is_stable_spread_and_in_range),
		T(the_preferred_relay_port_is_the_same_after_an_upgrade),
		T(a_lease_for_ever_counts_in_no_quota),
		T(a_lease_moves_to_another_relay_port),
		T(a_lease_that_nobody_was_granted_follows_an_address),
	};

	return RUN(tests);
}
