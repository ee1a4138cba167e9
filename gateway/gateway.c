/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/gateway.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/keeper.h"
#include "gateway/pace.h"
#include "gateway/pool.h"
#include "gateway/rules.h"
#include "gateway/scout.h"
#include "gateway/statefile.h"
#include "sys/clock.h"
#include "sys/holder.h"
#include "sys/log.h"

#define SWEEP_MS	 1000
#define REACH_MS	 20 /* a line that moves changes many outer endpoints: the firewall hears of them together */
#define RELAY_TRIES	 256 /* ports that others hold, before the range counts as used up */
#define REFUSAL_LOG_MS	 10000
#define REFUSAL_LOG_BURST 10
#define LOG_BURST	 100  /* lines of mappings' events at once, then one per … */
#define LOG_MS		 250
#define WISH_MIN	 1024 /* lower ports are the router's own affair */
#define SLEPT_MS	 2000 /* asleep for longer than this, the machine missed something */
#define RECHECK_MS	 5000 /* a lossy line is suspect all the time: its holes are not all asked at each turn */

#define DELETIONS_MAX	 64   /* answers to deletions that wait for the disk */
#define PUNCH_EACH_MS	 10   /* between two holes punched at start */
#define RESTORE_AGAIN_MS 5000 /* until another look at the holes that could not be */
#define PATIENCE_MS	 2000 /* a restored mapping's outer port is told unproven when nobody proves it for so long */

/* An answer that waits until what it says is on disk. */
struct deletion {
	struct lease_key key;
	uint64_t promise;
	enum natpmp_result result;
	struct gateway_asker asker;
	struct natpmp_request request;
};

struct gateway {
	uv_loop_t *loop;
	const struct config *config;
	struct netif wan;
	struct firewall *firewall;
	const struct gateway_callbacks *callbacks;
	void *owner;

	struct rules *rules;
	struct pace *pace;
	struct hooks *hooks; /* NULL: nobody to be told */
	struct leases *leases;
	struct servers *servers, *hosts; /* STUN, and for --tcp-keepalive */
	struct pool *pool;
	struct scout *scouts[2]; /* UDP, TCP */
	struct line *lines[2]; /* UDP, TCP */
	struct keeper *keeper;
	struct deletion deletions[DELETIONS_MAX];
	size_t deletion_count;
	struct lease *unpunched;	   /* restored: where the walk is that punches */
	bool skipped;			   /* some holes could not be punched */
	uv_timer_t sweep, reaching, restore, settling;
	uint32_t public_ip; /* host order, 0: not known yet */
	uint64_t epoch_ms;  /* when the table of mappings began … */
	uint32_t epoch_ip;  /* … and the public address it is of */
	uint64_t fault_ms;  /* since when the public address is unknown */
	uint64_t addressless_ms, addressless_last_ms; /* since when WAN has no address, and when that was last seen */
	uint64_t slept_ms;  /* clock_slept_ms when it was looked at last */
	uint64_t recheck_ms[2]; /* UDP, TCP: when all holes may be rechecked again */
	struct log_limit refusal_log, event_log;
	bool closed;
	unsigned closing; /* timers that are not closed yet */
};

/* What hangs on a lease: its hole, and who waits for it. */
struct mapping {
	struct gateway *gateway;
	struct lease *lease;
	struct punch *punch;
	struct rule rule;
	struct pace_item turn; /* enum errand */
	bool astray;	       /* its port could not follow the line */
	enum origin origin;
	bool fixed;	     /* its relay port is none of ours to choose */
	char *description;   /* NULL: none */
	uint32_t lifetime_s; /* what was asked */
	struct endpoint outer; /* the last known; after a start not yet proven */
	bool told;	     /* somebody relies on outer */
	uint64_t promise;    /* to be kept before anybody is told */
	struct hooked *hooked;
	bool waiting;
	uint64_t waiting_since_ms;
	struct gateway_asker asker;
	struct natpmp_request request;
};

/* What waits for a mapping's turn; the later ones do what the earlier do. */
enum errand { RECHECK = 1, RENEW, MOVE };

static const char *protocol_name(enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? "TCP" : "UDP";
}

static struct line *line_of(const struct gateway *g, enum lease_protocol protocol)
{
	return g->lines[protocol == LEASE_TCP];
}

static struct scout *scout_of(const struct gateway *g, enum lease_protocol protocol)
{
	return g->scouts[protocol == LEASE_TCP];
}

static const struct hole *hole_of(const struct mapping *m)
{
	static const struct hole none = { .state = HOLE_PUNCHING };

	return m->punch ? punch_hole(m->punch) : &none;
}

/* A mapping's own words in the log. */
static const char *mapping_text(const struct mapping *m, char *buf, size_t max)
{
	const struct endpoint client = endpoint_ipv4(m->lease->key.client_ip, m->lease->key.internal_port);
	char inner[ENDPOINT_TEXT_MAX], outer[ENDPOINT_TEXT_MAX];

	snprintf(buf, max, "protocol=%s client=%s relay=%u outer=%s", protocol_name(m->lease->key.protocol),
		endpoint_text(&client, inner), m->lease->relay_port, endpoint_text(&m->outer, outer));
	return buf;
}

uint32_t gateway_epoch_s(const struct gateway *g)
{
	return (uint32_t)((clock_ms() - g->epoch_ms) / 1000);
}

/* An event of a mapping. Clients cause these as fast as they like, and a line that moves all at once. */
static void say(struct mapping *m, enum log_level level, const char *event, const char *detail)
{
	char text[160], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&m->gateway->event_log, LOG_MS, LOG_BURST, clock_ms(), &skipped))
		log_line(level, "%s: %s%s%s", event, mapping_text(m, text, sizeof(text)), detail, log_more(more, skipped));
}

static void forget(struct mapping *m)
{
	struct gateway *g = m->gateway;

	if (g->unpunched == m->lease)
		g->unpunched = leases_next(g->leases, m->lease);
	pace_drop(g->pace, &m->turn);
	hooks_forget(&m->hooked);
	punch_close(m->punch);
	leases_remove(g->leases, m->lease);
	free(m->description);
	free(m);
}

static void tell_hook(struct mapping *m, struct endpoint outer)
{
	const uint64_t now_ms = clock_ms(), expires_ms = m->lease->expires_ms;
	const struct hooks_state now = { .key = m->lease->key, .description = m->description, .relay_port = m->lease->relay_port, .outer = outer,
		.lifetime_s = expires_ms > now_ms ? (uint32_t)((expires_ms - now_ms + 500) / 1000) : 0 };

	hooks_tell(m->gateway->hooks, &m->hooked, &now);
}

/* The caller ends as many as it must, then says rules_scrub. */
static void end(struct mapping *m, const char *why)
{
	struct gateway *g = m->gateway;

	rules_remove(g->rules, &m->rule);
	tell_hook(m, (struct endpoint){ .family = ENDPOINT_NONE });
	say(m, LOG_LEVEL_INFO, why, "");
	keeper_note(g->keeper);
	forget(m);
}

/* Never more than asked, and short: the lease is the only way to make a client ask again. */
static uint32_t told_lifetime_s(const struct gateway *g, const struct natpmp_request *request)
{
	return request->lifetime_s < g->config->lease_s ? request->lifetime_s : g->config->lease_s;
}

static uint32_t hold_s(const struct gateway *g, uint32_t lifetime_s)
{
	return lifetime_s < g->config->hold_max_s ? lifetime_s : g->config->hold_max_s;
}

static uint64_t expiry_ms(const struct gateway *g, uint32_t lifetime_s)
{
	return clock_ms() + (uint64_t)hold_s(g, lifetime_s) * 1000;
}

/* A hole that was open once keeps its promise while it is being mended. */
static bool promised(const struct mapping *m)
{
	return hole_of(m)->outer.port != 0;
}

static struct gateway_answer granted(const struct mapping *m, const struct natpmp_request *request)
{
	return (struct gateway_answer){ NATPMP_SUCCESS, m->outer.port, told_lifetime_s(m->gateway, request) };
}

static void answer_waiting(struct mapping *m, const struct gateway_answer *answer)
{
	struct gateway *g = m->gateway;

	if (m->waiting)
		g->callbacks->answer(g->owner, &m->asker, &m->request, answer);
	m->waiting = false;
}

/*
 * What was told before a restart is true until somebody shows that it is not; but while
 * there is hope for that, nobody is told again.
 */
static bool settled(const struct mapping *m)
{
	const enum line_verdict verdict = line_verdict(line_of(m->gateway, m->lease->key.protocol));

	if (promised(m))
		return verdict == LINE_SUITED || m->told;
	return m->told && verdict != LINE_UNSUITED && m->waiting && clock_ms() - m->waiting_since_ms >= PATIENCE_MS;
}

static void settle_all(uv_timer_t *timer);

/* Answers who waits, when the hole is open, the verdict is there, the firewall agrees, the disk has it, and no older flow lives. */
static void settle(struct mapping *m)
{
	struct gateway *g = m->gateway;
	struct gateway_answer answer;

	if (!settled(m) || !rules_add(g->rules, &m->rule) || !keeper_kept(g->keeper, m->promise))
		return;
	if (!rules_scrub_paced(g->rules)) {
		if (!uv_is_active((uv_handle_t *)&g->settling))
			uv_timer_start(&g->settling, settle_all, RULES_PACE_MS, 0);
		return;
	}
	answer = granted(m, &m->request);
	m->told |= m->waiting;
	answer_waiting(m, &answer);
	tell_hook(m, m->outer);
}

/* False when the outer endpoint is what it was. */
static bool learn_outer(struct mapping *m)
{
	if (endpoint_equal(&m->outer, &hole_of(m)->outer))
		return false;
	m->outer = hole_of(m)->outer;
	keeper_note(m->gateway->keeper);
	return true;
}

static void reach_due(uv_timer_t *timer)
{
	rules_reach_now(((struct gateway *)timer->data)->rules);
}

/*
 * LAN hosts reach the outer endpoint too, where it is at the line's public address: what a
 * lone STUN server says of a single hole must not turn other addresses' traffic to a client.
 */
static void reach(struct mapping *m)
{
	static const struct endpoint none;
	struct gateway *g = m->gateway;
	const struct endpoint *outer = &hole_of(m)->outer;
	const uint32_t ip = line_public_ip(line_of(g, m->lease->key.protocol));

	rules_reach(g->rules, &m->rule, ip != 0 && endpoint_ip32(outer) == ip ? outer : &none);
	if (!uv_is_active((uv_handle_t *)&g->reaching))
		uv_timer_start(&g->reaching, reach_due, REACH_MS, 0);
}

/* Those who came so close to others that one scrub serves all. */
static void settle_all(uv_timer_t *timer)
{
	struct gateway *g = timer->data;

	rules_scrub(g->rules);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (((struct mapping *)l->owner)->waiting)
			settle(l->owner);
}

static void hole_event(void *owner, enum hole_action event, bool disagree)
{
	struct mapping *m = owner;
	struct gateway *g = m->gateway;
	char text[160];
	bool news;

	switch (event) {
	case HOLE_OPENED:
		news = learn_outer(m) && m->told;
		snprintf(text, sizeof(text), " rtt=%u ms", hole_of(m)->rtt_ms);
		say(m, LOG_LEVEL_INFO, "hole open", text);
		settle(m);
		reach(m);
		if (news)
			g->callbacks->announce(g->owner);
		break;
	case HOLE_CHANGED:
		learn_outer(m);
		say(m, LOG_LEVEL_INFO, "hole changed", "");
		scout_changed(scout_of(g, m->lease->key.protocol), hole_of(m));
		settle(m);
		reach(m);
		g->callbacks->announce(g->owner);
		break;
	case HOLE_GONE:
		say(m, LOG_LEVEL_WARN, "hole lost", disagree ? " reason=\"STUN servers' answers disagree\"" : " reason=\"STUN servers fell silent\"");
		break;
	case HOLE_SUSPECT:
		log_debug("hole is checked again: %s", mapping_text(m, text, sizeof(text)));
		break;
	case HOLE_HELD:
	case HOLE_FAILED:
	case HOLE_WAIT:
	case HOLE_SEND:
		break;
	}
}

/* Settings that all holes share. */
static struct punch_config hole_config(const struct gateway *g, enum lease_protocol protocol)
{
	return (struct punch_config){ .loop = g->loop, .servers = g->servers, .hosts = g->hosts, .protocol = protocol,
		.local = endpoint_ipv4(g->wan.ip, 0), .keepalive_ms = scout_keepalive_ms(scout_of(g, protocol)) };
}

static struct punch_config punch_config_of(struct mapping *m, enum lease_protocol protocol, uint16_t relay_port)
{
	const struct gateway *g = m->gateway;
	struct punch_config c = hole_config(g, protocol);

	c.local.port = relay_port;
	c.direct = line_is_direct(line_of(g, protocol));
	c.event = hole_event;
	c.owner = m;
	return c;
}

/* From a port on, and from the range's begin again, the first relay port that --access lets a client have; 0: none. */
static uint16_t permitted_relay(const struct gateway *g, const struct lease_key *key, uint32_t from)
{
	const struct config *c = g->config;
	uint16_t port = 0;

	if (from <= c->relay_high)
		port = access_next(&c->access, key->client_ip, key->internal_port, (uint16_t)from, c->relay_high);
	return port ? port : access_next(&c->access, key->client_ip, key->internal_port, c->relay_low, c->relay_high);
}

/* Whether a client's wish for an outer port can be granted: where the line's address is public it is a relay port. */
static bool may_wish(const struct gateway *g, const struct lease_key *key, uint16_t port)
{
	const struct endpoint wan = endpoint_ipv4(g->wan.ip, port);

	return port >= WISH_MIN && !endpoint_is_local(&wan) && !leases_find_relay(g->leases, key->protocol, port) &&
		access_allows(&g->config->access, key->client_ip, key->internal_port, port);
}

/* Opens a hole on the relay port wished for, else the client's preferred one, or the next that it may have and that is free. */
static int punch_relay(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t wish, struct punch **out)
{
	const uint16_t low = g->config->relay_low, high = g->config->relay_high;
	const uint32_t range = (uint32_t)(high - low) + 1;
	uint16_t port = permitted_relay(g, key, leases_preferred_relay(key, low, high));
	struct punch_config c = punch_config_of(m, key->protocol, port);
	int err = port ? -EADDRINUSE : -EACCES;

	c.local = endpoint_ipv4(g->wan.ip, wish);
	if (may_wish(g, key, wish) && punch_open(out, &c) == 0)
		return 0;
	for (uint32_t i = 0, tries = 0; i < range && tries < RELAY_TRIES && err == -EADDRINUSE; i++) {
		if (!leases_find_relay(g->leases, key->protocol, port) && !pool_has(g->pool, key->protocol, port)) {
			c.local = endpoint_ipv4(g->wan.ip, port);
			err = punch_open(out, &c);
			tries++;
		}
		port = permitted_relay(g, key, port + 1u);
	}
	return err;
}

/* A hole that stands ready, or a new one; the pool gives way where it has the last free port or file. */
static int get_punch(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t wish)
{
	int err = 0;

	m->punch = pool_take(g->pool, key->protocol, hole_event, m);
	if (m->punch && !access_allows(&g->config->access, key->client_ip, key->internal_port, punch_port(m->punch))) {
		punch_close(m->punch);
		m->punch = NULL;
	}
	if (!m->punch)
		err = punch_relay(g, m, key, wish, &m->punch);
	if (err == -EADDRINUSE && pool_yield(g->pool, key->protocol, 0))
		err = punch_relay(g, m, key, wish, &m->punch);
	return err;
}

/* A new mapping that waits for its hole. -ENOSPC, -EDQUOT, or what the sockets say. */
static int begin(struct gateway *g, const struct lease_key *key, const struct natpmp_request *request,
	const struct gateway_asker *asker)
{
	struct mapping *m;
	int err = g->wan.ip ? leases_room(g->leases, key->client_ip) : -EADDRNOTAVAIL;

	if (err < 0)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct mapping){ .gateway = g, .lifetime_s = hold_s(g, request->lifetime_s), .waiting = true,
		.waiting_since_ms = clock_ms(), .asker = *asker, .request = *request };
	err = get_punch(g, m, key, request->suggested_port);
	if (err == 0) {
		err = leases_add(g->leases, key, punch_port(m->punch), expiry_ms(g, m->lifetime_s), &m->lease);
		if (err < 0)
			punch_close(m->punch);
	}
	if (err < 0) {
		free(m);
		return err;
	}
	m->lease->owner = m;
	m->promise = keeper_promise(g->keeper);
	m->rule.mapping = (struct firewall_mapping){ .protocol = key->protocol, .relay_port = m->lease->relay_port,
		.client_ip = key->client_ip, .internal_port = key->internal_port };
	learn_outer(m);
	reach(m);
	if (promised(m))
		say(m, LOG_LEVEL_INFO, "hole open", " from=pool");
	else if (line_verdict(line_of(g, key->protocol)) == LINE_SUITED)
		rules_add(g->rules, &m->rule); /* the question is on its way: this takes no time of the answer's */
	settle(m); /* at once, with a hole of the pool */
	return 0;
}

static bool key_matches(const struct lease *l, const struct lease_key *key)
{
	return l->key.protocol == key->protocol && l->key.client_ip == key->client_ip &&
		(key->internal_port == 0 || l->key.internal_port == key->internal_port);
}

/*
 * One mapping, or with port 0 all of the client and protocol. Deleting what is not there succeeds;
 * what the configuration made is not the client's to delete (section 3.4).
 */
static enum natpmp_result delete_matching(struct gateway *g, const struct lease_key *key)
{
	enum natpmp_result result = NATPMP_SUCCESS;
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (!key_matches(l, key))
			continue;
		if (m->origin == ORIGIN_CONFIG) {
			result = NATPMP_REFUSED;
		} else {
			end(m, "mapping deleted");
			keeper_promise(g->keeper);
		}
	}
	rules_scrub(g->rules);
	return result;
}

static bool same_key(const struct lease_key *a, const struct lease_key *b)
{
	return a->protocol == b->protocol && a->client_ip == b->client_ip && a->internal_port == b->internal_port;
}

/* Deletes, and answers when the disk has forgotten it, too. With too many waiting it is the retransmission that is answered. */
static int delete(struct gateway *g, const struct lease_key *key, const struct natpmp_request *request,
	const struct gateway_asker *asker, struct gateway_answer *answer)
{
	const enum natpmp_result result = delete_matching(g, key);
	const uint64_t promise = keeper_last(g->keeper);
	size_t i = 0;

	*answer = (struct gateway_answer){ .result = result }; /* port and lifetime 0 */
	if (keeper_kept(g->keeper, promise))
		return 1;
	while (i < g->deletion_count && !same_key(&g->deletions[i].key, key))
		i++;
	if (i == DELETIONS_MAX)
		return 0;
	g->deletion_count += i == g->deletion_count;
	g->deletions[i] = (struct deletion){ *key, promise, result, *asker, *request };
	return 0;
}

/* The disk has what was promised, or fails: those who waited for it hear. */
static void saved(void *owner)
{
	struct gateway *g = owner;
	struct lease *next;

	for (size_t i = g->deletion_count; i-- > 0;) {
		const struct deletion d = g->deletions[i];

		if (!keeper_kept(g->keeper, d.promise))
			continue;
		g->deletions[i] = g->deletions[--g->deletion_count];
		g->callbacks->answer(g->owner, &d.asker, &d.request, &(struct gateway_answer){ .result = d.result });
	}
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (m->waiting)
			settle(m);
	}
}

static int refuse(struct gateway_answer *answer, enum natpmp_result result)
{
	*answer = (struct gateway_answer){ .result = result };
	return 1;
}

static void repunch(struct mapping *m);
static void restore_some(uv_timer_t *timer);

static int renew(struct mapping *m, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer)
{
	struct gateway *g = m->gateway;

	if (m->origin != ORIGIN_CONFIG) {
		m->lifetime_s = hold_s(g, request->lifetime_s);
		m->lease->expires_ms = expiry_ms(g, m->lifetime_s);
		keeper_note(g->keeper);
	}
	if (!m->waiting && promised(m) && keeper_kept(g->keeper, m->promise) && rules_confirm(g->rules, &m->rule)) {
		m->told = true;
		*answer = granted(m, request);
		return 1;
	}
	if (!m->waiting)
		m->waiting_since_ms = clock_ms();
	m->waiting = true;
	m->asker = *asker;
	m->request = *request;
	if (!m->punch)
		repunch(m); /* now rather than in its turn */
	settle(m); /* the firewall may have refused before, or lost it */
	return 0;
}

static bool fault_lasts(const struct gateway *g, uint64_t since_ms)
{
	return clock_ms() - since_ms >= (uint64_t)g->config->fault_grace_s * 1000;
}

/* A line without its address, while it is dialled again, is a passing fault: many clients would not come back after an error. */
static int line_without_address(struct gateway *g, struct gateway_answer *answer)
{
	const uint64_t now_ms = clock_ms();

	if (fault_lasts(g, g->addressless_last_ms))
		g->addressless_ms = now_ms; /* another fault than the last */
	g->addressless_last_ms = now_ms;
	return fault_lasts(g, g->addressless_ms) ? refuse(answer, NATPMP_NETWORK_FAILURE) : 0;
}

static const char *why_no_mapping(int err)
{
	switch (err) {
	case -EDQUOT:
		return "the client has its --max-mappings-per-client";
	case -ENOSPC:
		return "there are --max-mappings";
	case -EACCES:
		return "--access forbids it";
	case -EADDRINUSE:
		return "no free port in --relay-ports";
	case -EADDRNOTAVAIL:
		return "the line has lost its address";
	default:
		return strerror(-err);
	}
}

int gateway_map(struct gateway *g, uint32_t client_ip, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer)
{
	const struct lease_key key = { request->opcode == NATPMP_MAP_TCP ? LEASE_TCP : LEASE_UDP, client_ip, request->internal_port };
	const struct endpoint client = endpoint_ipv4(client_ip, request->internal_port);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;
	struct lease *l;
	int err;

	if (request->lifetime_s == 0)
		return delete(g, &key, request, asker, answer);
	if (key.internal_port == 0)
		return refuse(answer, NATPMP_REFUSED); /* only a deletion may name no port */
	l = leases_find(g->leases, &key);
	if (l)
		return renew(l->owner, request, asker, answer);
	if (line_verdict(line_of(g, key.protocol)) == LINE_UNSUITED)
		return refuse(answer, NATPMP_REFUSED);
	err = begin(g, &key, request, asker);
	if (err == 0)
		return 0;
	if (log_allowed_burst(&g->refusal_log, REFUSAL_LOG_MS, REFUSAL_LOG_BURST, clock_ms(), &skipped))
		log_warn("no mapping for protocol=%s client=%s reason=\"%s\"%s", protocol_name(key.protocol),
			endpoint_text(&client, text), why_no_mapping(err), log_more(more, skipped));
	if (err == -EADDRNOTAVAIL)
		return line_without_address(g, answer);
	return refuse(answer, err == -EACCES ? NATPMP_REFUSED : NATPMP_OUT_OF_RESOURCES);
}

void gateway_reconsider(struct gateway *g)
{
	struct lease *next;

	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		next = leases_next(g->leases, l);
		if (!access_allows(&g->config->access, l->key.client_ip, l->key.internal_port, l->relay_port))
			end(l->owner, "mapping ended, --access forbids it");
	}
	rules_scrub(g->rules);
}

int gateway_address(struct gateway *g, enum natpmp_result *result, uint32_t *public_ip)
{
	*public_ip = g->wan.ip ? g->public_ip : 0;
	*result = *public_ip ? NATPMP_SUCCESS : NATPMP_NETWORK_FAILURE;
	return *public_ip != 0 || fault_lasts(g, g->fault_ms);
}

static void send_all(struct gateway *g, enum errand errand)
{
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		pace_add(g->pace, &((struct mapping *)l->owner)->turn, errand);
}

/* Spare holes are worth their questions only where holes are needed and work. */
static void suit(struct gateway *g, enum lease_protocol protocol)
{
	const struct line *line = line_of(g, protocol);
	const bool suited = g->wan.ip && line_verdict(line) == LINE_SUITED && !line_is_direct(line);

	pool_suited(g->pool, protocol, suited);
	scout_suited(scout_of(g, protocol), suited);
}

static void move_spares(struct gateway *g)
{
	pool_move(g->pool, g->wan.ip);
	for (size_t i = 0; i < 2; i++) {
		scout_move(g->scouts[i], g->wan.ip);
		suit(g, i ? LEASE_TCP : LEASE_UDP);
	}
}

/* Also where it was before: whatever it is, it is asked anew. The firewall first, then those who may announce a change. */
static void line_here(struct gateway *g)
{
	rules_move(g->rules, g->wan.name, g->wan.ip);
	for (size_t i = 0; i < 2; i++) {
		const int err = line_move(g->lines[i], g->wan.ip, g->wan.index);

		if (err < 0)
			log_error("cannot watch the line from its address error=\"%s\"", strerror(-err));
	}
	move_spares(g);
	send_all(g, MOVE);
	g->unpunched = leases_next(g->leases, NULL);
	uv_timer_start(&g->restore, restore_some, 0, 0);
	servers_retry(g->servers);
}

/* All that was to be asked meanwhile was not: the line is as good as new. */
static void notice_sleep(struct gateway *g)
{
	const uint64_t slept_ms = clock_slept_ms(), was_ms = g->slept_ms;

	g->slept_ms = slept_ms;
	if (slept_ms < was_ms + SLEPT_MS)
		return;
	log_info("the machine slept for %llu s: the line and all holes are asked", (unsigned long long)(slept_ms - was_ms) / 1000);
	if (g->wan.ip)
		line_here(g);
}

/* Those who waited longer than a passing fault lasts are told; what never opened is given up. */
static void sweep(uv_timer_t *timer)
{
	struct gateway *g = timer->data;
	const uint64_t now_ms = clock_ms();
	struct lease *next;

	notice_sleep(g);
	if (g->config->firewall->unheard)
		rules_look(g->rules);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (m->astray)
			pace_add(g->pace, &m->turn, MOVE);
		if (now_ms >= l->expires_ms) {
			end(m, "mapping expired");
			continue;
		}
		if (m->waiting)
			settle(m); /* patience may be over, the firewall complete again */
		if (m->waiting && fault_lasts(g, m->waiting_since_ms)) {
			answer_waiting(m, &(struct gateway_answer){ .result = NATPMP_NETWORK_FAILURE });
			if (!promised(m) && !m->told && m->origin != ORIGIN_CONFIG)
				end(m, "mapping given up");
		}
	}
	rules_scrub(g->rules);
	pool_tend(g->pool);
}

static void recheck_all(struct gateway *g, enum lease_protocol protocol)
{
	uint64_t *next_ms = &g->recheck_ms[protocol == LEASE_TCP];

	if (clock_ms() < *next_ms)
		return;
	*next_ms = clock_ms() + RECHECK_MS;
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (l->key.protocol == protocol)
			pace_add(g->pace, &((struct mapping *)l->owner)->turn, RECHECK);
	pool_recheck(g->pool, protocol);
}

static void move(struct mapping *m)
{
	struct gateway *g = m->gateway;
	char detail[128];
	int err;

	if (g->wan.ip == 0)
		return; /* gone again; the next address moves all */
	err = punch_move(m->punch, g->wan.ip);
	if (err < 0 && !m->astray) {
		snprintf(detail, sizeof(detail), " error=\"%s\": tried again each second", strerror(-err));
		say(m, LOG_LEVEL_ERROR, "cannot move to the line's address", detail);
	}
	m->astray = err < 0;
}

static void mapping_s_turn(void *owner, struct pace_item *item, unsigned errand)
{
	struct mapping *m = (struct mapping *)((char *)item - offsetof(struct mapping, turn));

	(void)owner;
	switch (errand) {
	case RECHECK:
		punch_recheck(m->punch);
		break;
	case RENEW:
		punch_renew(m->punch);
		break;
	case MOVE:
		move(m);
		break;
	}
}

static void begin_epoch(struct gateway *g)
{
	g->epoch_ms = clock_ms();
	keeper_promise(g->keeper);
}

static void keepalive_changed(void *owner, enum lease_protocol protocol)
{
	struct gateway *g = owner;
	const uint32_t keepalive_ms = scout_keepalive_ms(scout_of(g, protocol));

	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		if (l->key.protocol == protocol)
			punch_keepalive(((struct mapping *)l->owner)->punch, keepalive_ms);
	pool_keepalive(g->pool, protocol, keepalive_ms);
}

/* The pool takes no mapping's place. */
static size_t pool_room(void *owner, enum lease_protocol protocol)
{
	const struct gateway *g = owner;

	(void)protocol;
	return g->config->max_mappings - leases_count(g->leases);
}

static bool pool_taken(void *owner, enum lease_protocol protocol, uint16_t port)
{
	const struct gateway *g = owner;

	return leases_find_relay(g->leases, protocol, port) != NULL;
}

/* A new public address: no hole of the old one lives on, and clients must renew (section 3.6). */
static void moved(struct gateway *g, uint32_t ip)
{
	const bool first = g->public_ip == 0;

	g->public_ip = ip;
	if (ip != g->epoch_ip) {
		g->epoch_ip = ip;
		begin_epoch(g);
	}
	if (!first)
		send_all(g, RENEW);
	for (size_t i = 0; i < 2 && !first; i++)
		pool_renew(g->pool, i ? LEASE_TCP : LEASE_UDP);
	g->callbacks->announce(g->owner);
}

/* What the line just learned of itself changes how its holes are held, and what the LAN may reach. */
static void follow_line(struct gateway *g, enum lease_protocol protocol)
{
	const bool direct = line_is_direct(line_of(g, protocol));

	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		struct mapping *m = l->owner;

		if (l->key.protocol != protocol)
			continue;
		punch_direct(m->punch, direct);
		settle(m);
		reach(m);
	}
}

static void verdict_came(struct gateway *g, enum lease_protocol protocol)
{
	const bool unsuited = line_verdict(line_of(g, protocol)) == LINE_UNSUITED;
	struct lease *next;

	suit(g, protocol);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (l->key.protocol != protocol)
			continue;
		if (!unsuited) {
			settle(m);
			continue;
		}
		answer_waiting(m, &(struct gateway_answer){ .result = NATPMP_REFUSED });
		if (m->origin != ORIGIN_CONFIG)
			end(m, "mapping refused, the carrier's NAT is not suited");
	}
	rules_scrub(g->rules);
}

static void line_event(void *owner, enum lease_protocol protocol, enum line_event event)
{
	struct gateway *g = owner;
	const uint32_t ip = line_public_ip(line_of(g, protocol));

	switch (event) {
	case LINE_UP:
	case LINE_MOVED:
		/* UDP's address is the one announced; TCP's only where UDP has none. */
		if (protocol == LEASE_UDP || line_public_ip(line_of(g, LEASE_UDP)) == 0)
			if (ip != g->public_ip)
				moved(g, ip);
		follow_line(g, protocol);
		suit(g, protocol);
		/* All mappings are new ones; but a watch hole that rests too long may only have lost its own. */
		if (event == LINE_MOVED || g->config->watch_s * 1000 <= scout_keepalive_ms(scout_of(g, protocol)))
			scout_moved(scout_of(g, protocol));
		break;
	case LINE_SUSPECT:
		recheck_all(g, protocol);
		break;
	case LINE_VERDICT:
		verdict_came(g, protocol);
		break;
	}
}

static void servers_changed(void *owner, enum lease_protocol protocol)
{
	struct gateway *g = owner;
	struct endpoint list[2 * SERVERS_MAX];
	size_t count = servers_ranked(g->servers, protocol, list);

	if (g->hosts)
		count += servers_ranked(g->hosts, protocol, list + count);
	if (g->config->firewall->exempt(g->firewall, protocol, list, count) < 0)
		log_error("firewall did not exempt the STUN servers error=\"%s\"", g->config->firewall->error(g->firewall));
	if (line_of(g, protocol))
		line_recheck(line_of(g, protocol));
}

static int open_servers(struct gateway *g)
{
	struct server_name names[SERVERS_NAMES_MAX];
	struct servers_config c = { .loop = g->loop, .names = g->config->servers, .count = g->config->server_count, .what = "STUN server",
		.per_second = g->config->stun_rate, .changed = servers_changed, .owner = g };

	if (c.count == 0) {
		for (; c.count < SERVERS_NAMES_MAX && servers_builtin[c.count]; c.count++)
			if (server_name_parse(&names[c.count], servers_builtin[c.count]) < 0)
				return -EINVAL;
		c.names = names;
	}
	return servers_open(&g->servers, &c);
}

/* Looked up only when no STUN server keeps a TCP connection. */
static int open_hosts(struct gateway *g)
{
	struct server_name names[SERVERS_NAMES_MAX];
	struct servers_config c = { .loop = g->loop, .names = g->config->hosts, .count = g->config->host_count,
		.what = "keepalive host", .per_second = g->config->stun_rate, .changed = servers_changed, .owner = g, .idle = true };

	if (c.count == 0) {
		for (; c.count < SERVERS_NAMES_MAX && servers_builtin_web[c.count]; c.count++)
			if (server_name_parse_web(&names[c.count], servers_builtin_web[c.count]) < 0)
				return -EINVAL;
		c.names = names;
	}
	return servers_open(&g->hosts, &c);
}

static int open_scouts(struct gateway *g)
{
	int err = 0;

	for (size_t i = 0; i < 2 && err == 0; i++) {
		const struct punch_config c = { .loop = g->loop, .servers = g->servers, .hosts = g->hosts,
			.protocol = i ? LEASE_TCP : LEASE_UDP, .local = endpoint_ipv4(g->wan.ip, 0),
			.keepalive_ms = g->config->keepalive_s * 1000 };

		err = scout_open(&g->scouts[i], &c, keepalive_changed, g);
	}
	return err;
}

static int open_pool(struct gateway *g)
{
	const struct pool_config c = { .punch = hole_config(g, LEASE_UDP), .relay_low = g->config->relay_low,
		.relay_high = g->config->relay_high, .wanted = g->config->pool, .room = pool_room, .taken = pool_taken, .owner = g };

	return pool_open(&g->pool, &c);
}

/* A mapping as the file is to have it: good until the next file at least, whatever clients renew before. */
static void write_down(const struct mapping *m, uint64_t until_ms, struct state_mapping *out)
{
	const struct gateway *g = m->gateway;
	const uint32_t lease_s = m->lifetime_s < g->config->lease_s ? m->lifetime_s : g->config->lease_s;
	const uint64_t least_ms = until_ms ? until_ms + (uint64_t)lease_s * 1000 : 0;

	*out = (struct state_mapping){ .key = m->lease->key, .relay_port = m->lease->relay_port, .origin = m->origin,
		.lifetime_s = m->lifetime_s, .outer = m->outer,
		.expires_ms = m->lease->expires_ms > least_ms ? m->lease->expires_ms : least_ms };
	snprintf(out->description, sizeof(out->description), "%s", m->description ? m->description : "");
}

static int snapshot(void *owner, struct state *out, uint64_t until_ms)
{
	const struct gateway *g = owner;
	struct state s = { .epoch_ms = g->epoch_ms, .public_ip = g->epoch_ip };

	s.mappings = malloc((leases_count(g->leases) + 1) * sizeof(*s.mappings));
	if (!s.mappings)
		return -ENOMEM;
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		write_down(l->owner, until_ms, &s.mappings[s.count++]);
	*out = s;
	return 0;
}

/* A mapping that nobody asks for just now: from the file, or the configuration's. */
static int plant(struct gateway *g, const struct state_mapping *s, bool fixed)
{
	struct mapping *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	*m = (struct mapping){ .gateway = g, .origin = s->origin, .fixed = fixed, .lifetime_s = s->lifetime_s, .outer = s->outer,
		.told = s->outer.port != 0, .description = s->description[0] ? strdup(s->description) : NULL,
		.rule.mapping = { .protocol = s->key.protocol, .relay_port = s->relay_port, .client_ip = s->key.client_ip,
			.internal_port = s->key.internal_port } };
	err = leases_add(g->leases, &s->key, s->relay_port, s->expires_ms, &m->lease);
	if (err < 0) {
		free(m->description);
		free(m);
		return err;
	}
	m->lease->owner = m;
	return 0;
}

/* A relay port that no lease has, beginning at the preferred one; 0 when there is none. */
static uint16_t free_relay(const struct gateway *g, const struct lease_key *key)
{
	const uint16_t low = g->config->relay_low, high = g->config->relay_high;
	uint16_t port = leases_preferred_relay(key, low, high);

	for (uint32_t i = 0; i <= (uint32_t)(high - low); i++, port = port == high ? low : (uint16_t)(port + 1))
		if (!leases_find_relay(g->leases, key->protocol, port))
			return port;
	return 0;
}

static const struct state_mapping *find_stored(const struct state *s, const struct lease_key *key)
{
	for (size_t i = 0; i < s->count; i++)
		if (same_key(&s->mappings[i].key, key))
			return &s->mappings[i];
	return NULL;
}

/* What the file says of a permanent mapping is which relay port it had, and where that led. */
static void plant_permanent(struct gateway *g, const struct permanent *p, const struct state *stored)
{
	struct state_mapping m = { .key = { (enum lease_protocol)p->protocol, p->on_wan ? g->wan.ip : p->internal_ip, (uint16_t)p->internal_port },
		.origin = ORIGIN_CONFIG, .expires_ms = LEASES_FOREVER, .relay_port = (uint16_t)p->relay_port };
	const struct state_mapping *was = find_stored(stored, &m.key);
	int err = -EEXIST;

	snprintf(m.description, sizeof(m.description), "%s", p->name);
	if (was && (!p->relay_port || p->relay_port == was->relay_port)) {
		m.outer = was->outer;
		m.relay_port = was->relay_port;
	}
	if (m.relay_port)
		err = plant(g, &m, p->relay_port != 0);
	if (err == -EEXIST && !p->relay_port) {
		m.relay_port = free_relay(g, &m.key);
		m.outer = (struct endpoint){ 0 };
		err = m.relay_port ? plant(g, &m, false) : -EADDRINUSE;
	}
	if (err < 0)
		log_error("no permanent mapping %s reason=\"%s\"", p->name, err == -EEXIST ? "its host and port are another's" : why_no_mapping(err));
}

static bool is_served(const struct gateway *g, const struct state_limits *limits, uint32_t ip)
{
	bool served = netif_owns(&g->wan, ip);

	for (size_t i = 0; i < limits->lan_count; i++)
		served |= netif_is_neighbour(&limits->lans[i], ip);
	return served;
}

/* Those that have no choice of relay port come first. */
static void plant_permanents(struct gateway *g, const struct state *stored, const struct state_limits *limits)
{
	for (size_t i = 0; i < g->config->permanent_count; i++) {
		const struct permanent *p = &g->config->permanents[i];
		const struct endpoint host = endpoint_ipv4(p->internal_ip, (uint16_t)p->internal_port);
		char text[ENDPOINT_TEXT_MAX];

		if (!p->on_wan && !is_served(g, limits, p->internal_ip))
			log_warn("permanent mapping %s: internal_ip=%s is on no LAN that is served", p->name, endpoint_ip_text(&host, text));
	}
	for (int fixed = 1; fixed >= 0; fixed--)
		for (size_t i = 0; i < g->config->permanent_count; i++)
			if ((g->config->permanents[i].relay_port != 0) == fixed)
				plant_permanent(g, &g->config->permanents[i], stored);
}

/* What clients were granted. Returns how many could not be as they were. */
static size_t plant_stored(struct gateway *g, const struct state *s, bool same_boot)
{
	const uint64_t now_ms = clock_ms();
	size_t lost = 0, forbidden = 0;

	for (size_t i = 0; i < s->count; i++) {
		struct state_mapping m = s->mappings[i];
		const uint64_t full_ms = expiry_ms(g, m.lifetime_s);
		int err;

		if (m.origin == ORIGIN_CONFIG || (same_boot && m.expires_ms <= now_ms))
			continue;
		if (!access_next(&g->config->access, m.key.client_ip, m.key.internal_port, m.relay_port, m.relay_port)) {
			forbidden++;
			continue;
		}
		m.expires_ms = same_boot && m.expires_ms < full_ms ? m.expires_ms : full_ms;
		err = plant(g, &m, false);
		if (err == -EEXIST && !leases_find(g->leases, &m.key)) { /* its relay port is a permanent mapping's now */
			m.relay_port = free_relay(g, &m.key);
			m.outer = (struct endpoint){ 0 };
			if (m.relay_port)
				plant(g, &m, false);
		}
		lost += err < 0;
	}
	if (forbidden)
		log_warn("mappings left out because --access allows them no longer count=%zu", forbidden);
	return lost + forbidden;
}

/* Everything is in the table before anything else happens, so that no file is written without it. */
static void restore(struct gateway *g, const struct state_limits *limits)
{
	struct state s = { 0 };
	char boot_id[STATE_BOOT_ID];
	bool whole = false, same_boot;
	size_t lost;

	if (g->config->state)
		statefile_read(g->config->state, limits, &s, &whole);
	state_boot_id(boot_id);
	same_boot = boot_id[0] && strcmp(boot_id, s.boot_id) == 0;
	plant_permanents(g, &s, limits);
	lost = plant_stored(g, &s, same_boot);
	if (same_boot && whole && lost == 0 && s.epoch_ms <= clock_ms()) {
		g->epoch_ms = s.epoch_ms;
		g->epoch_ip = s.public_ip;
	}
	if (leases_count(g->leases))
		log_info("mappings restored=%zu permanent=%zu boot=%s", leases_count(g->leases), g->config->permanent_count,
			same_boot ? "same" : "another");
	state_clear(&s);
	/* Where the carrier still has the old holes, strangers get in again. */
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		rules_want(g->rules, &((struct mapping *)l->owner)->rule);
	g->unpunched = leases_next(g->leases, NULL);
}

/* Somebody else has its relay port now. Whoever was told of the old outer port has to hear. */
static int relocate(struct mapping *m)
{
	struct gateway *g = m->gateway;
	int err = punch_relay(g, m, &m->lease->key, 0, &m->punch);

	if (err < 0)
		return err;
	rules_remove(g->rules, &m->rule);
	leases_move(g->leases, m->lease, punch_port(m->punch));
	m->rule.mapping.relay_port = m->lease->relay_port;
	m->outer = (struct endpoint){ 0 };
	rules_add(g->rules, &m->rule);
	begin_epoch(g);
	m->promise = keeper_last(g->keeper);
	return 0;
}

/* The hole of a restored mapping. What cannot be just now is tried again later. */
static void repunch(struct mapping *m)
{
	struct gateway *g = m->gateway;
	const struct punch_config c = punch_config_of(m, m->lease->key.protocol, m->lease->relay_port);
	int err = g->wan.ip ? punch_open(&m->punch, &c) : -EADDRNOTAVAIL;
	char holder[HOLDER_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (err == -EADDRINUSE && !m->fixed)
		err = relocate(m);
	if (err == 0)
		return;
	g->skipped = true;
	if (!uv_is_active((uv_handle_t *)&g->restore))
		uv_timer_start(&g->restore, restore_some, RESTORE_AGAIN_MS, 0);
	if (!log_allowed_burst(&g->refusal_log, REFUSAL_LOG_MS, REFUSAL_LOG_BURST, clock_ms(), &skipped))
		return;
	if (err == -EADDRINUSE)
		log_error("relay port %u of mapping %s is held by %s: stop it, or take another relay_port%s", m->lease->relay_port,
			m->description ? m->description : "", holder_name(holder, m->lease->key.protocol == LEASE_TCP ? SOCK_STREAM : SOCK_DGRAM,
			&c.local), log_more(more, skipped));
	else
		log_warn("no hole yet at relay port %u reason=\"%s\"%s", m->lease->relay_port, why_no_mapping(err), log_more(more, skipped));
}

static struct mapping *take(struct gateway *g, struct lease **walk)
{
	struct mapping *m = (*walk)->owner;

	*walk = leases_next(g->leases, *walk);
	return m;
}

/* Hole by hole. */
static void restore_some(uv_timer_t *timer)
{
	struct gateway *g = timer->data;
	struct mapping *m = NULL;

	while (g->unpunched && (!m || m->punch))
		m = take(g, &g->unpunched);
	if (m && !m->punch)
		repunch(m);
	if (g->unpunched) {
		uv_timer_start(timer, restore_some, PUNCH_EACH_MS, 0);
	} else if (g->skipped) {
		g->skipped = false;
		g->unpunched = leases_next(g->leases, NULL);
		uv_timer_start(timer, restore_some, RESTORE_AGAIN_MS, 0);
	}
}

static int open_parts(struct gateway *g, const struct state_limits *limits)
{
	const struct rules_config rules = { .loop = g->loop, .backend = g->config->firewall, .firewall = g->firewall,
		.wan = g->wan.name, .wan_ip = g->wan.ip };
	const struct keeper_config keeper = { .loop = g->loop, .path = g->config->state, .lazy_ms = g->config->state_lazy_s * 1000,
		.snapshot = snapshot, .saved = saved, .owner = g };
	int err = leases_new(&g->leases, g->config->max_mappings, g->config->max_mappings_per_client);

	if (err == 0)
		err = rules_open(&g->rules, &rules);
	if (err == 0)
		err = pace_open(&g->pace, g->loop, mapping_s_turn, g);
	if (err == 0)
		err = keeper_open(&g->keeper, &keeper);
	if (err == 0)
		err = open_servers(g);
	if (err == 0)
		err = open_hosts(g);
	if (err == 0)
		err = open_scouts(g);
	if (err == 0)
		err = open_pool(g);
	for (size_t i = 0; i < 2 && err == 0; i++) {
		const struct line_config c = { .loop = g->loop, .servers = g->servers, .hosts = g->hosts,
			.protocol = i ? LEASE_TCP : LEASE_UDP, .wan_ip = g->wan.ip, .wan_index = g->wan.index, .watch_ms = g->config->watch_s * 1000, .event = line_event,
			.owner = g };

		err = line_open(&g->lines[i], &c);
	}
	if (err == 0)
		restore(g, limits);
	return err;
}

int gateway_open(struct gateway **out, uv_loop_t *loop, const struct config *config, const struct netif *wan,
	const struct netif *lans, size_t lan_count, struct firewall *firewall, const struct gateway_callbacks *callbacks, void *owner)
{
	const struct state_limits limits = { lans, lan_count, config->max_mappings, config->max_mappings_per_client };
	struct gateway *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	*g = (struct gateway){ .loop = loop, .config = config, .wan = *wan, .firewall = firewall, .callbacks = callbacks,
		.owner = owner, .epoch_ms = clock_ms(), .fault_ms = clock_ms(), .slept_ms = clock_slept_ms() };
	uv_timer_init(loop, &g->sweep);
	uv_timer_init(loop, &g->reaching);
	uv_timer_init(loop, &g->restore);
	uv_timer_init(loop, &g->settling);
	g->sweep.data = g->reaching.data = g->restore.data = g->settling.data = g;
	err = open_parts(g, &limits);
	if (err < 0) {
		gateway_close(g);
		return err;
	}
	uv_timer_start(&g->sweep, sweep, SWEEP_MS, SWEEP_MS);
	uv_timer_start(&g->restore, restore_some, 0, 0);
	*out = g;
	return 0;
}

struct line_nat gateway_nat(const struct gateway *g, enum lease_protocol protocol)
{
	return line_nat(line_of(g, protocol));
}

static void log_nat(const struct gateway *g, enum lease_protocol protocol)
{
	const struct line_nat n = gateway_nat(g, protocol);
	const uint32_t known = line_public_ip(line_of(g, protocol));
	const struct endpoint ip = known ? endpoint_ipv4(known, 0) : (struct endpoint){ 0 };
	const char *mapping = stunway_behavior_text(n.mapping), *filtering = stunway_behavior_text(n.filtering);
	char text[ENDPOINT_TEXT_MAX];

	log_info("line %s: public=%s nat=%s mapping=%s filtering=%s", protocol_name(protocol), endpoint_ip_text(&ip, text),
		n.direct ? "none" : "carrier", mapping[0] ? mapping : "unknown", filtering[0] ? filtering : "unknown");
}

static void line_gone(struct gateway *g)
{
	g->fault_ms = clock_ms();
	for (size_t i = 0; i < 2; i++)
		line_move(g->lines[i], 0, 0);
	move_spares(g);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		punch_pause(((struct mapping *)l->owner)->punch);
}

void gateway_follow(struct gateway *g, const struct netif *wan)
{
	g->wan = *wan;
	if (wan->ip)
		line_here(g);
	else
		line_gone(g);
}

void gateway_firewall_changed(struct gateway *g)
{
	rules_look(g->rules);
}

void gateway_hooks(struct gateway *g, struct hooks *hooks)
{
	g->hooks = hooks;
}

/* The old ones stay in use until nothing borrows them any more. */
void gateway_reload(struct gateway *g, bool servers)
{
	struct servers *old = g->servers;

	gateway_reconsider(g);
	if (!servers || open_servers(g) < 0)
		return;
	for (size_t i = 0; i < 2; i++)
		line_servers(g->lines[i], g->servers);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l))
		punch_servers(((struct mapping *)l->owner)->punch, g->servers);
	servers_close(old);
}

void gateway_log_mappings(const struct gateway *g)
{
	static const char *const states[] = { [HOLE_PUNCHING] = "punching", [HOLE_OPEN] = "open", [HOLE_LOST] = "lost" };
	const uint64_t now_ms = clock_ms();
	char text[160];

	log_nat(g, LEASE_UDP);
	log_nat(g, LEASE_TCP);
	log_info("mappings count=%zu epoch=%u s pool: UDP=%zu TCP=%zu keepalive: UDP=%u TCP=%u ms", leases_count(g->leases),
		gateway_epoch_s(g), pool_ready(g->pool, LEASE_UDP), pool_ready(g->pool, LEASE_TCP),
		scout_keepalive_ms(scout_of(g, LEASE_UDP)), scout_keepalive_ms(scout_of(g, LEASE_TCP)));
	servers_log_health(g->servers);
	servers_log_health(g->hosts);
	for (struct lease *l = leases_next(g->leases, NULL); l; l = leases_next(g->leases, l)) {
		const struct mapping *m = l->owner;

		char expires[24] = "never";

		if (l->expires_ms != LEASES_FOREVER)
			snprintf(expires, sizeof(expires), "%llu s", (unsigned long long)(l->expires_ms > now_ms ? (l->expires_ms - now_ms) / 1000 : 0));
		log_info("mapping %s state=%s expires=%s origin=%s", mapping_text(m, text, sizeof(text)), states[hole_of(m)->state], expires,
			origin_name(m->origin));
	}
}

static void timer_closed(uv_handle_t *handle)
{
	struct gateway *g = handle->data;

	if (--g->closing == 0)
		free(g);
}

void gateway_close(struct gateway *g)
{
	if (!g || g->closed)
		return;
	g->closed = true;
	keeper_close(g->keeper); /* with all that is in it still */
	while (g->leases && leases_next(g->leases, NULL)) {
		struct mapping *m = leases_next(g->leases, NULL)->owner;

		/* The firewall goes as a whole, after this; only the flows are left to end. */
		rules_forget(g->rules, &m->rule);
		forget(m);
	}
	pool_close(g->pool);
	scout_close(g->scouts[0]);
	scout_close(g->scouts[1]);
	rules_close(g->rules);
	pace_close(g->pace);
	leases_free(g->leases);
	line_close(g->lines[0]);
	line_close(g->lines[1]);
	servers_close(g->servers);
	servers_close(g->hosts);
	g->closing = 4;
	uv_close((uv_handle_t *)&g->sweep, timer_closed);
	uv_close((uv_handle_t *)&g->reaching, timer_closed);
	uv_close((uv_handle_t *)&g->restore, timer_closed);
	uv_close((uv_handle_t *)&g->settling, timer_closed);
}
