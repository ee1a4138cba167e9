/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hole/line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/hole/check.h"
#include "gateway/hole/punch.h"
#include "sys/clock.h"
#include "sys/log.h"

#define CHECK_AGAIN_MS	 60000	/* while the verdict is unknown */
#define CHECK_HOPE_MS	 600000 /* while it is bad */
#define SILENCE_AFTER_MS 6000	/* until it is said that no server answers */
#define SILENCE_EVERY_MS 300000 /* and said again */

struct line {
	struct line_config config;
	struct punch *watch;
	struct check *check;
	uv_timer_t check_timer, silence_timer;
	bool closed, checked;
	bool looked_twice; /* the check that runs is the second look */
	unsigned closing; /* timers that are not closed yet */
	struct natcheck verdict;
	bool said; /* to the log, what was */
	enum stunway_behavior said_mapping, said_filtering;
	uint32_t public_ip;
	bool direct;
	uint64_t silent_since_ms; /* 0: a server answers */
};

static const char *name_of(const struct line *l)
{
	return l->config.protocol == LEASE_TCP ? "TCP" : "UDP";
}

bool line_is_direct(const struct line *l)
{
	return l->direct;
}

struct line_nat line_nat(const struct line *l)
{
	struct line_nat n = { .direct = l->direct };

	if (l->direct || (l->checked && l->verdict.mapping_known))
		n.mapping = l->direct ? STUNWAY_ENDPOINT_INDEPENDENT : l->verdict.mapping;
	if (l->checked && l->verdict.done)
		n.filtering = l->verdict.filtering;
	return n;
}

enum line_verdict line_verdict(const struct line *l)
{
	if (l->direct)
		return LINE_SUITED;
	if (!l->checked)
		return LINE_ASKING;
	return l->verdict.mapping == STUNWAY_BEHAVIOR_UNKNOWN || l->verdict.mapping == STUNWAY_ENDPOINT_INDEPENDENT ? LINE_SUITED : LINE_UNSUITED;
}

uint32_t line_public_ip(const struct line *l)
{
	return l->public_ip;
}

static void tell(struct line *l, enum line_event event)
{
	l->config.event(l->config.owner, l->config.protocol, event);
}

/* Likewise where there is no NAT: what stands before the line may filter all the same. */
static void log_direct(const struct line *l)
{
	const enum stunway_behavior filtering = l->verdict.filtering;

	if (l->config.protocol == LEASE_TCP || filtering == STUNWAY_BEHAVIOR_UNKNOWN)
		log_info("no NAT %s: the public address is the line's own; whether strangers are let in cannot be asked here", name_of(l));
	else if (filtering == STUNWAY_ENDPOINT_INDEPENDENT)
		log_info("no NAT UDP filtering=%s: the public address is the line's own, strangers reach mapped ports",
			stunway_behavior_text(filtering));
	else
		log_warn("no NAT UDP filtering=%s: the public address is the line's own, but something before it lets a stranger in only "
			 "after the client has sent to that %s first",
			stunway_behavior_text(filtering), filtering == STUNWAY_ADDRESS_DEPENDENT ? "address" : "address and port");
}

/* What the verdict means for people. */
static void log_verdict(const struct line *l)
{
	const struct natcheck *v = &l->verdict;
	const char *mapping = stunway_behavior_text(v->mapping), *filtering = stunway_behavior_text(v->filtering);

	if (l->direct)
		log_direct(l);
	else if (v->alone)
		log_warn("carrier's NAT %s: cannot tell whether holes work, the STUN server has no second address: "
			 "name another --stun; mappings are tried",
			name_of(l));
	else if (v->mapping == STUNWAY_BEHAVIOR_UNKNOWN)
		log_warn("carrier's NAT %s: no verdict, a STUN server fell silent; asked again in %u s, mappings are tried meanwhile",
			name_of(l), CHECK_AGAIN_MS / 1000);
	else if (line_verdict(l) == LINE_UNSUITED)
		log_warn("carrier's NAT %s mapping=%s: it gives each destination another outer port, so no port can be promised to strangers; "
			 "mappings are refused (result 2). Ask the carrier for a public address or a full-cone NAT",
			name_of(l), mapping);
	else if (l->config.protocol == LEASE_TCP)
		log_info("carrier's NAT TCP mapping=%s: holes work; whether strangers are let in cannot be asked over TCP", mapping);
	else if (v->filtering == STUNWAY_BEHAVIOR_UNKNOWN)
		log_info("carrier's NAT UDP mapping=%s filtering=unknown: the STUN server cannot test it", mapping);
	else if (v->filtering == STUNWAY_ENDPOINT_INDEPENDENT)
		log_info("carrier's NAT UDP mapping=%s filtering=%s: strangers reach mapped ports", mapping, filtering);
	else
		log_warn("carrier's NAT UDP mapping=%s filtering=%s: mapped ports are true, but the carrier lets a stranger in only after "
			 "the client has sent to that %s first",
			mapping, filtering, v->filtering == STUNWAY_ADDRESS_DEPENDENT ? "address" : "address and port");
}

static void start_check(struct line *l);

/* What a running check learned so far is of another line, or of fewer servers. */
static void restart_check(struct line *l)
{
	check_close(l->check);
	l->check = NULL;
	start_check(l);
}

static void check_again(uv_timer_t *timer)
{
	start_check(timer->data);
}

/* A verdict is asked for again while it is unknown, and, seldom, while it is bad. */
static void check_later(struct line *l)
{
	if (line_verdict(l) == LINE_UNSUITED)
		uv_timer_start(&l->check_timer, check_again, CHECK_HOPE_MS, 0);
	else if (l->verdict.mapping == STUNWAY_BEHAVIOR_UNKNOWN && !l->verdict.alone)
		uv_timer_start(&l->check_timer, check_again, CHECK_AGAIN_MS, 0);
}

static void conclude(struct line *l)
{
	const bool said = l->said && l->said_mapping == l->verdict.mapping && l->said_filtering == l->verdict.filtering;

	check_close(l->check);
	l->check = NULL;
	check_later(l);
	if (!said)
		log_verdict(l);
	l->said = true;
	l->said_mapping = l->verdict.mapping;
	l->said_filtering = l->verdict.filtering;
}

/*
 * Two answers differ too where the carrier flushed its NAT between them: a verdict that
 * would end every mapping is asked for twice.
 */
static bool wants_second_look(struct line *l, const struct natcheck *verdict)
{
	const bool bad = verdict->mapping == STUNWAY_ADDRESS_DEPENDENT || verdict->mapping == STUNWAY_ADDRESS_AND_PORT_DEPENDENT;
	const bool wants = bad && !l->looked_twice && (!l->checked || line_verdict(l) == LINE_SUITED);

	l->looked_twice = wants;
	return wants;
}

/* The mapping decides what clients are told; the filtering, which takes longer, only what is logged. */
static void check_verdict(void *owner, const struct natcheck *verdict)
{
	struct line *l = owner;
	const bool news = !l->checked || verdict->mapping != l->verdict.mapping;

	if (wants_second_look(l, verdict)) {
		restart_check(l);
		return;
	}
	l->verdict = *verdict;
	l->checked = true;
	if (verdict->done || line_verdict(l) == LINE_UNSUITED)
		conclude(l);
	if (news)
		tell(l, LINE_VERDICT);
}

static void start_check(struct line *l)
{
	struct endpoint servers[SERVERS_MAX];
	const size_t count = servers_ranked(l->config.servers, l->config.protocol, servers);
	const struct check_config config = { .loop = l->config.loop, .protocol = l->config.protocol,
		.local = endpoint_ipv4(l->config.wan_ip, 0), .wan_index = l->config.wan_index, .servers = servers,
		.server_count = count, .verdict = check_verdict, .owner = l };
	int err;

	if (count == 0 || l->check || l->config.wan_ip == 0)
		return;
	err = check_open(&l->check, &config);
	if (err < 0) {
		log_error("cannot check the carrier's NAT %s error=\"%s\"", name_of(l), strerror(-err));
		uv_timer_start(&l->check_timer, check_again, CHECK_AGAIN_MS, 0);
	}
}

static bool is_undecided(const struct line *l)
{
	return !l->checked || l->verdict.mapping == STUNWAY_BEHAVIOR_UNKNOWN;
}

/* No NAT: STUN shows the very endpoint that asked, and it is one that the Internet can have. */
static bool shows_itself(const struct line *l)
{
	const struct endpoint own = endpoint_ipv4(l->config.wan_ip, punch_port(l->watch));

	return !endpoint_is_local(&own) && endpoint_equal(&own, &punch_hole(l->watch)->outer);
}

uint16_t line_port(const struct line *l)
{
	return l->watch ? punch_port(l->watch) : 0;
}

static void learned(struct line *l)
{
	const uint32_t ip = endpoint_ip32(&punch_hole(l->watch)->outer);
	const enum line_event event = l->public_ip == 0 || ip == l->public_ip ? LINE_UP : LINE_MOVED;
	char text[ENDPOINT_TEXT_MAX];

	l->silent_since_ms = 0;
	l->public_ip = ip;
	l->said &= l->direct == shows_itself(l);
	l->direct = shows_itself(l);
	log_info("line %s: public address=%s rtt=%u ms%s", name_of(l), endpoint_ip_text(&punch_hole(l->watch)->outer, text),
		punch_hole(l->watch)->rtt_ms, l->direct ? ", the line's own: no hole is needed" : "");
	tell(l, event);
	if (event == LINE_MOVED)
		restart_check(l);
	else if (is_undecided(l))
		start_check(l);
}

static void silence(uv_timer_t *timer);

static void watch_event(void *owner, enum hole_action event, bool disagree)
{
	struct line *l = owner;
	struct endpoint before;

	switch (event) {
	case HOLE_OPENED: /* for the first time; or nobody answered for a while, and who knows what else was lost meanwhile */
	case HOLE_CHANGED:
		before = punch_hole(l->watch)->before;
		learned(l);
		if (before.port)
			tell(l, endpoint_equal(&before, &punch_hole(l->watch)->outer) ? LINE_SUSPECT : LINE_CHANGED);
		break;
	case HOLE_SUSPECT:
		tell(l, LINE_SUSPECT);
		break;
	case HOLE_GONE:
		log_warn("line %s: %s", name_of(l), disagree ? "STUN servers' answers disagree" : "STUN servers fell silent");
		if (!disagree) {
			l->silent_since_ms = clock_ms();
			uv_timer_start(&l->silence_timer, silence, SILENCE_AFTER_MS, 0);
		}
		break;
	case HOLE_HELD:
	case HOLE_FAILED:
	case HOLE_WAIT:
	case HOLE_SEND:
		break;
	}
}

static void silence(uv_timer_t *timer)
{
	struct line *l = timer->data;
	char asked[1024];

	if (l->silent_since_ms == 0 || punch_hole(l->watch)->heard_ms >= l->silent_since_ms)
		return; /* what it heard was no news */
	servers_text(l->config.servers, l->config.protocol, asked, sizeof(asked));
	log_warn("no STUN server answers over %s asked=\"%s\" since=%llu s: is the line up, the name right (--stun), the port not blocked?",
		name_of(l), asked, (unsigned long long)(clock_ms() - l->silent_since_ms) / 1000);
	uv_timer_start(&l->silence_timer, silence, SILENCE_EVERY_MS, 0);
}

static int open_watch(struct line *l)
{
	const struct punch_config watch = { .loop = l->config.loop, .servers = l->config.servers, .hosts = l->config.hosts,
		.protocol = l->config.protocol, .local = endpoint_ipv4(l->config.wan_ip, 0), .keepalive_ms = l->config.watch_ms,
		.steady = true, .event = watch_event, .owner = l };

	return punch_open(&l->watch, &watch);
}

/* An answer, from now on. */
static void expect(struct line *l)
{
	l->silent_since_ms = l->config.wan_ip ? clock_ms() : 0;
	uv_timer_start(&l->silence_timer, silence, SILENCE_AFTER_MS, 0);
}

int line_move(struct line *l, uint32_t wan_ip, unsigned wan_index)
{
	int err = 0;

	l->config.wan_ip = wan_ip;
	l->config.wan_index = wan_index;
	if (wan_ip && l->watch)
		err = punch_move(l->watch, wan_ip);
	else if (wan_ip)
		err = open_watch(l);
	if (err < 0)
		l->config.wan_ip = 0;
	if (l->config.wan_ip == 0 && l->watch)
		punch_pause(l->watch);
	expect(l);
	restart_check(l);
	return err;
}

int line_open(struct line **out, const struct line_config *config)
{
	struct line *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->config = *config;
	err = config->wan_ip ? open_watch(l) : 0;
	if (err == -EADDRNOTAVAIL) { /* gone since it was seen: whoever saw it will see that too */
		l->config.wan_ip = 0;
		err = 0;
	}
	if (err < 0) {
		free(l);
		return err;
	}
	uv_timer_init(config->loop, &l->check_timer);
	uv_timer_init(config->loop, &l->silence_timer);
	l->check_timer.data = l->silence_timer.data = l;
	expect(l);
	*out = l;
	return 0;
}

void line_recheck(struct line *l)
{
	if (l->watch)
		punch_recheck(l->watch);
	if (l->public_ip != 0 && is_undecided(l))
		restart_check(l);
}

void line_doubt(struct line *l, bool moved)
{
	if (moved)
		punch_renew(l->watch);
	else
		punch_redial(l->watch);
}

static void free_line(uv_handle_t *handle)
{
	struct line *l = handle->data;

	if (--l->closing == 0)
		free(l);
}

void line_servers(struct line *l, struct servers *servers)
{
	l->config.servers = servers;
	punch_servers(l->watch, servers);
	line_recheck(l);
}

void line_close(struct line *l)
{
	if (!l || l->closed)
		return;
	l->closed = true;
	punch_close(l->watch);
	check_close(l->check);
	l->closing = 2;
	uv_close((uv_handle_t *)&l->check_timer, free_line);
	uv_close((uv_handle_t *)&l->silence_timer, free_line);
}
