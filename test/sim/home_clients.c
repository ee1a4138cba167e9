/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/home.h"

#include <string.h>

#include "test/sim/loop.h"
#include "test/sim/sim.h"

#define CLIENTS	     44
#define PER_HOST     6
#define FIRST_HOST   50 /* 192.168.1.50 */
#define FIRST_MS     250
#define TRIES	     9 /* RFC 6886 section 3.1 */
#define REST_MS	     (30 * MINUTE)
#define AGAIN_MS     30000
#define QUOTA_MS     (5 * MINUTE)
#define GREEDY_HOST  40
#define GREEDY_PORTS 30

struct clients_count clients_count;

enum client_state { AWAY, ASKING, HOLDING, DELETING };

static struct client {
	struct loop_event event;
	enum client_state state;
	struct lease_key key;
	uint32_t asks_s, renews; /* renews: percent of the granted time */
	bool listens;
	unsigned tries;
	uint32_t serial, answered; /* of its questions: the last, and the last that was answered */
	uint64_t asked_ms; /* true time, as all below */
	uint64_t lease_until_ms, hold_until_ms; /* 0: it holds nothing */
	uint64_t leaves_ms;
	uint16_t told; /* outer port */
} clients[CLIENTS];
static bool resting;
static void (*new_grant)(void);

static void act(struct loop_event *e);

static void act_in(struct client *c, uint64_t ms)
{
	loop_in(&c->event, ms, act);
}

/* About so long. */
static uint64_t about(uint64_t ms)
{
	return ms / 2 + sim_below((uint32_t)ms);
}

static void refuse_or_wait(struct client *c, enum natpmp_result result)
{
	if (result == NATPMP_OUT_OF_RESOURCES) {
		if (!router.gateway || leases_room(router.gateway->leases, c->key.client_ip) == 0)
			breach(ANSWERS_RIGHT, "client %zu was refused though there is room", (size_t)(c - clients));
		clients_count.refused++;
		act_in(c, QUOTA_MS);
	} else if (result == NATPMP_NETWORK_FAILURE) {
		clients_count.faults++;
		act_in(c, AGAIN_MS);
	} else {
		breach(ANSWERS_RIGHT, "client %zu got result %d", (size_t)(c - clients), result);
		act_in(c, AGAIN_MS);
	}
	c->tries = 0;
}

static void granted(struct client *c, const struct gateway_answer *answer)
{
	const uint64_t now_ms = loop_true_ms();
	const bool renewed = c->state == HOLDING || c->hold_until_ms > now_ms;
	void (*const heard)(void) = new_grant;

	if (answer->outer_port == 0 || answer->lifetime_s == 0 || answer->lifetime_s > c->asks_s || answer->lifetime_s > HOME_LEASE)
		breach(ANSWERS_RIGHT, "client %zu was granted port %u for %u s of %u s", (size_t)(c - clients), answer->outer_port, answer->lifetime_s,
			c->asks_s);
	c->state = HOLDING;
	c->told = answer->outer_port;
	c->tries = 0;
	c->lease_until_ms = now_ms + answer->lifetime_s * 1000ull;
	c->hold_until_ms = c->asked_ms + c->asks_s * 1000ull;
	act_in(c, answer->lifetime_s * 10ull * c->renews);
	clients_count.renewed += renewed;
	clients_count.granted++;
	if (renewed || !heard)
		return;
	new_grant = NULL;
	heard();
}

static void take_answer(struct client *c, uint32_t serial, const struct natpmp_request *request, const struct gateway_answer *answer)
{
	if (serial <= c->answered)
		breach(ANSWERS_RIGHT, "client %zu was answered twice", (size_t)(c - clients));
	c->answered = serial;
	if (request->internal_port != c->key.internal_port && request->internal_port != 0)
		return; /* it has gone on to another port */
	if (request->lifetime_s == 0) {
		if (answer->result != NATPMP_SUCCESS || answer->outer_port || answer->lifetime_s)
			breach(ANSWERS_RIGHT, "client %zu could not delete: result %d", (size_t)(c - clients), answer->result);
		if (c->state != DELETING)
			return;
		if (router.gateway && leases_find(router.gateway->leases, &c->key))
			breach(ANSWERS_RIGHT, "client %zu deleted in vain", (size_t)(c - clients));
		clients_count.deleted++;
		c->state = AWAY;
		act_in(c, about(REST_MS));
	} else if (c->state == ASKING || c->state == HOLDING) {
		if (answer->result == NATPMP_SUCCESS)
			granted(c, answer);
		else
			refuse_or_wait(c, answer->result);
	}
}

static void ask(struct client *c, uint32_t lifetime_s)
{
	const struct natpmp_request request = { .opcode = c->key.protocol == LEASE_TCP ? NATPMP_MAP_TCP : NATPMP_MAP_UDP,
		.internal_port = c->key.internal_port, .suggested_port = c->told, .lifetime_s = lifetime_s };
	const uint32_t from[2] = { (uint32_t)(c - clients), ++c->serial };
	struct gateway_asker asker = { .answer = clients_answered };
	struct gateway_answer answer;

	clients_count.questions++;
	c->asked_ms = loop_true_ms();
	act_in(c, FIRST_MS << c->tries++);
	memcpy(asker.reply_to, from, sizeof(from));
	if (router.gateway && gateway_map(router.gateway, c->key.client_ip, &request, &asker, &answer))
		take_answer(c, from[1], &request, &answer);
}

void clients_answered(void *owner, const struct gateway_asker *asker, const struct natpmp_request *request, const struct gateway_answer *answer)
{
	uint32_t to[2];

	(void)owner;
	if (!router.gateway)
		breach(ANSWERS_RIGHT, "a dead gateway answers");
	memcpy(to, asker->reply_to, sizeof(to));
	if (to[0] < CLIENTS)
		take_answer(&clients[to[0]], to[1], request, answer);
}

/* Comes (again), perhaps as another program. */
static void come(struct client *c)
{
	static const uint32_t lifetimes[] = { 90, 600, 3600, 7200, 86400 };
	const size_t i = (size_t)(c - clients);

	if (c->key.internal_port == 0 || (sim_below(2) && c->hold_until_ms < loop_true_ms()))
		c->key = (struct lease_key){ sim_below(2) ? LEASE_TCP : LEASE_UDP, HOME_LAN + FIRST_HOST + (uint32_t)(i / PER_HOST),
			(uint16_t)(7000 + i + 100 * sim_below(20)) };
	c->asks_s = lifetimes[sim_below(5)];
	c->renews = sim_below(2) ? 50 : 75;
	c->listens = sim_below(2);
	c->leaves_ms = loop_true_ms() + about(sim_below(2) ? 2 * HOUR : 2 * DAY);
	c->state = ASKING;
	c->tries = 0;
	ask(c, c->asks_s);
}

/* Politely or not. */
static void leave(struct client *c)
{
	c->tries = 0;
	if (sim_below(2)) {
		c->state = AWAY;
		act_in(c, about(REST_MS));
		return;
	}
	c->state = DELETING;
	c->hold_until_ms = 0;
	ask(c, 0);
}

static void act(struct loop_event *e)
{
	struct client *c = (struct client *)e;

	if (resting && c->state == AWAY) {
		act_in(c, about(REST_MS));
	} else if (c->state == AWAY) {
		come(c);
	} else if (c->tries == TRIES) {
		c->tries = 0;
		c->state = c->state == DELETING ? AWAY : ASKING;
		act_in(c, AGAIN_MS);
	} else if (!resting && c->state == HOLDING && c->tries == 0 && loop_true_ms() >= c->leaves_ms) {
		leave(c);
	} else {
		ask(c, c->state == DELETING ? 0 : c->asks_s);
	}
}

void clients_begin(void)
{
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		act_in(c, sim_below((uint32_t)(10 * MINUTE)));
}

void clients_rest(bool rest)
{
	resting = rest;
}

void clients_hear(void)
{
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		if (c->listens && c->state == HOLDING && c->tries == 0)
			act_in(c, sim_below(5000));
}

void clients_after_kill(bool lost, bool unsaid)
{
	for (struct client *c = clients; c < clients + CLIENTS; c++) {
		if (lost || unsaid)
			c->hold_until_ms = 0;
		else if (c->hold_until_ms > c->lease_until_ms)
			c->hold_until_ms = c->lease_until_ms; /* its last renewal may be missing on the disk */
	}
}

void clients_after_sleep(void)
{
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		if (c->state == HOLDING) {
			c->tries = 0;
			act_in(c, sim_below(20000));
		}
}

void clients_one_comes(void (*heard)(void))
{
	new_grant = heard;
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		if (c->state == AWAY) {
			come(c);
			return;
		}
}

void clients_vanish(void)
{
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		if (c->state == HOLDING && sim_below(2)) {
			c->state = AWAY;
			act_in(c, about(REST_MS));
		}
}

void clients_delete_all(void)
{
	const uint32_t host = HOME_LAN + FIRST_HOST + sim_below(CLIENTS / PER_HOST);
	const struct natpmp_request request = { .opcode = sim_below(2) ? NATPMP_MAP_TCP : NATPMP_MAP_UDP };
	const enum lease_protocol protocol = request.opcode == NATPMP_MAP_TCP ? LEASE_TCP : LEASE_UDP;
	struct gateway_asker asker = { .answer = clients_answered };
	struct gateway_answer answer;

	if (!router.gateway)
		return;
	memset(asker.reply_to, 0xff, sizeof(asker.reply_to)); /* nobody waits for the answer */
	for (struct client *c = clients; c < clients + CLIENTS; c++)
		if (c->key.client_ip == host && c->key.protocol == protocol)
			c->hold_until_ms = 0;
	if (gateway_map(router.gateway, host, &request, &asker, &answer) && answer.result != NATPMP_SUCCESS)
		breach(ANSWERS_RIGHT, "all could not be deleted: result %d", answer.result);
}

void clients_be_greedy(void)
{
	struct gateway_asker asker = { .answer = clients_answered };
	struct gateway_answer answer;
	size_t refused = 0;

	if (!router.gateway || line_verdict(router.gateway->lines[0]) != LINE_SUITED || !router.gateway->wan.ip)
		return;
	memset(asker.reply_to, 0xff, sizeof(asker.reply_to));
	for (uint16_t i = 0; i < GREEDY_PORTS; i++) {
		const struct natpmp_request request = { .opcode = NATPMP_MAP_UDP, .internal_port = (uint16_t)(9000 + i), .lifetime_s = 300 };

		refused += gateway_map(router.gateway, HOME_LAN + GREEDY_HOST, &request, &asker, &answer) && answer.result == NATPMP_OUT_OF_RESOURCES;
	}
	if (refused < GREEDY_PORTS - router.config.max_mappings_per_client)
		breach(ANSWERS_RIGHT, "of %d requests of one client only %zu were refused", GREEDY_PORTS, refused);
}

void clients_check(bool calm)
{
	const uint64_t now_ms = loop_true_ms();

	clients_count.holding = 0;
	for (struct client *c = clients; c < clients + CLIENTS; c++) {
		const struct lease *l = leases_find(router.gateway->leases, &c->key);

		if (c->hold_until_ms <= now_ms)
			continue;
		clients_count.holding += c->state == HOLDING;
		if (!l)
			breach(LEASES_KEPT, "client %zu, %s port %u: forgotten %llu s before its end", (size_t)(c - clients), protocol_name(c->key.protocol),
				c->key.internal_port, (unsigned long long)(c->hold_until_ms - now_ms) / 1000);
		else if (calm && c->state == HOLDING && c->told != ((const struct mapping *)l->owner)->outer.port)
			breach(TOLD_TRUE, "client %zu was told port %u, it is %u", (size_t)(c - clients), c->told, ((const struct mapping *)l->owner)->outer.port);
		if (l)
			continue;
		c->hold_until_ms = 0; /* said once */
	}
}
