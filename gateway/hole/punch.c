/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hole/punch.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/hole/anchor.h"
#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/dial.h"
#include "sys/entropy.h"
#include "sys/log.h"
#include "sys/net.h"
#include "sys/udp.h"

#define ANCHOR_WAIT_MS	200 /* until it is looked again whether the anchor stands */
#define WATCH_ANCHOR_MS 20000 /* a watch hole's interval is not for holding */
#define ANCHORED	4 /* STUN servers are asked every so many intervals */

struct punch {
	struct punch_config config;
	struct hole hole;
	uv_timer_t timer;
	uint16_t port;
	bool closed, paused;
	uint32_t seed;	   /* chooses servers */
	uint64_t place_ms; /* the next question's place in a server's queue, 0: none yet */
	struct udp *udp;	   /* UDP */
	int holder;		   /* TCP: the bound socket, else -1 */
	int short_of;		   /* TCP: why the last connection could not even be tried, 0 if it could */
	struct dial *held, *fresh; /* TCP: the connection that holds, and the one that will take its place */
	bool doubted;		   /* TCP: a question on held was not answered */
	bool answered, stays;	   /* TCP: held gave an answer, and a second one */
	struct anchor *anchor;	   /* TCP: holds in place of held where no server keeps a connection */
};

const struct hole *punch_hole(const struct punch *p)
{
	return &p->hole;
}

uint16_t punch_port(const struct punch *p)
{
	return p->port;
}

static void advance(struct punch *p);

/* The connection that holds is dropped only now that another stands in its place. */
static void established(void *owner, struct dial *d)
{
	struct punch *p = owner;

	if (d == p->fresh) {
		dial_close(p->held);
		p->held = d;
		p->fresh = NULL;
		p->doubted = p->answered = p->stays = false;
	}
}

static void noted(struct punch *p, const struct endpoint *from)
{
	servers_answered(p->config.servers, p->config.protocol, from, p->hole.rtt_ms);
}

static void message(void *owner, struct dial *d, const uint8_t *bytes, size_t len)
{
	struct punch *p = owner;

	if (hole_receive(&p->hole, dial_server(d), bytes, len, clock_ms())) {
		noted(p, dial_server(d));
		if (p->answered && !p->stays)
			servers_stayed(p->config.servers, dial_server(d));
		p->stays = p->answered;
		p->answered = true;
	}
	advance(p);
}

static void broken(void *owner, struct dial *d)
{
	struct punch *p = owner;
	const struct endpoint server = *dial_server(d);
	const bool was_held = d == p->held;

	if (was_held)
		p->held = NULL;
	else
		p->fresh = NULL;
	dial_close(d);
	if (was_held && p->answered && !p->stays)
		servers_hung_up(p->config.servers, &server);
	/* What an anchor holds is not broken by the end of a question's connection. */
	if (!was_held || p->hole.asking || !p->anchor || !anchor_stands(p->anchor))
		hole_break(&p->hole, &server, clock_ms());
	else
		hole_closed(&p->hole);
	advance(p);
}

static const struct dial_callbacks dial_callbacks = { .established = established, .message = message, .broken = broken };

static bool is_to(const struct dial *d, const struct endpoint *server)
{
	return d && endpoint_equal(dial_server(d), server);
}

static void ask_tcp(struct punch *p, const struct hole_step *step)
{
	struct endpoint local = p->config.local;
	int err;

	if (is_to(p->held, &step->to) && !p->doubted) {
		dial_send(p->held, step->bytes, step->len);
		return;
	}
	if (is_to(p->held, &step->to)) { /* two connections of the same ports and addresses cannot be */
		dial_close(p->held);
		p->held = NULL;
	}
	dial_close(p->fresh);
	p->fresh = NULL;
	local.port = p->port;
	err = dial_open(&p->fresh, p->config.loop, &local, &step->to, &dial_callbacks, p);
	p->short_of = err == -EMFILE || err == -ENFILE || err == -ENOMEM ? err : 0;
	if (err < 0)
		hole_break(&p->hole, &step->to, clock_ms());
	else
		dial_send(p->fresh, step->bytes, step->len);
}

static void ask(struct punch *p, const struct hole_step *step)
{
	if (p->hole.question.sent > 1) /* a repetition has no place of its own, but takes one */
		servers_reserve(p->config.servers, p->config.protocol, hole_server(&p->hole));
	if (p->config.protocol == LEASE_TCP)
		ask_tcp(p, step);
	else
		udp_send(p->udp, &step->to, step->bytes, step->len); /* a failure is a loss: the machine asks again */
}

static void fire(uv_timer_t *timer)
{
	advance(timer->data);
}

/* What did not answer is not asked again, but it may still hold: it stays until another stands. */
static void doubt(struct punch *p, const struct endpoint *server, bool stale)
{
	if (!stale)
		servers_failed(p->config.servers, p->config.protocol, server);
	p->doubted |= is_to(p->held, server);
	if (is_to(p->fresh, server)) {
		dial_close(p->fresh);
		p->fresh = NULL;
	}
}

static uint32_t anchor_ms(const struct punch *p)
{
	return p->config.steady ? WATCH_ANCHOR_MS : p->config.keepalive_ms;
}

/* STUN servers are asked more seldom while an anchor holds. */
static void apply_keepalive(struct punch *p)
{
	const bool anchored = p->anchor && anchor_stands(p->anchor);

	if (p->anchor)
		anchor_interval(p->anchor, anchor_ms(p));
	hole_keepalive(&p->hole, p->config.keepalive_ms * (anchored ? ANCHORED : 1), clock_ms());
}

static void anchor_event(void *owner)
{
	struct punch *p = owner;

	apply_keepalive(p);
	punch_recheck(p);
}

/* Whether questions must wait for an anchor: it is connected first, as the outer port may depend on the order. */
static bool wants_anchor(struct punch *p)
{
	struct endpoint local = p->config.local;

	if (p->config.protocol != LEASE_TCP || !p->config.hosts)
		return false;
	if (servers_keep_tcp(p->config.servers)) {
		if (p->anchor && p->stays) { /* the STUN connection holds by itself again */
			anchor_close(p->anchor);
			p->anchor = NULL;
			apply_keepalive(p);
		}
		return false;
	}
	local.port = p->port;
	if (!p->anchor && anchor_open(&p->anchor, p->config.loop, p->config.hosts, &local, anchor_ms(p), anchor_event, p) < 0)
		return false;
	return !anchor_settled(p->anchor);
}

static void choose_server(struct punch *p, bool retry)
{
	const struct punch_config *c = &p->config;

	if (retry)
		hole_choose(&p->hole, servers_next(c->servers, c->protocol, hole_server(&p->hole)));
	else if (p->held && p->doubted) /* beside it */
		hole_choose(&p->hole, servers_next(c->servers, c->protocol, hole_server(&p->hole) + 1));
	else if (!p->held) /* a connection that stands is worth more than the best server */
		hole_choose(&p->hole, servers_choose(c->servers, c->protocol, p->seed, !c->steady));
}

/* A question that is due: to whom, and when its turn comes. */
static void take_place(struct punch *p)
{
	const uint64_t now_ms = clock_ms();
	size_t count;
	bool retry;

	servers_list(p->config.servers, p->config.protocol, &count);
	if (!hole_begins(&p->hole, now_ms, &retry) || count == 0)
		return;
	if (wants_anchor(p)) {
		hole_defer(&p->hole, now_ms + ANCHOR_WAIT_MS);
		return;
	}
	if (p->place_ms == 0) {
		choose_server(p, retry);
		p->place_ms = servers_reserve(p->config.servers, p->config.protocol, hole_server(&p->hole));
	}
	if (p->place_ms > now_ms)
		hole_defer(&p->hole, p->place_ms);
	else
		p->place_ms = 0;
}

static enum hole_action step_once(struct punch *p, struct hole_step *step)
{
	size_t count;
	const struct endpoint *list = servers_list(p->config.servers, p->config.protocol, &count);

	take_place(p);
	return hole_step(&p->hole, list, count, clock_ms(), step);
}

static void advance(struct punch *p)
{
	struct hole_step step = { 0 };
	enum hole_action action;
	uint64_t now_ms, wake_ms;

	while (!p->closed && !p->paused && (action = step_once(p, &step)) != HOLE_WAIT) {
		if (action == HOLE_SEND)
			ask(p, &step);
		else if (action == HOLE_FAILED)
			doubt(p, &step.to, step.stale);
		else
			p->config.event(p->config.owner, action, step.disagree);
	}
	if (p->closed || p->paused)
		return;
	now_ms = clock_ms();
	wake_ms = hole_wake_ms(&p->hole);
	uv_timer_start(&p->timer, fire, wake_ms > now_ms ? wake_ms - now_ms : 0, 0);
}

static void received(void *owner, const struct endpoint *from, const uint8_t *bytes, size_t len)
{
	struct punch *p = owner;

	if (!hole_receive(&p->hole, from, bytes, len, clock_ms()))
		return; /* a stranger who came before the rule, or a late answer */
	noted(p, from);
	advance(p);
}

/* What it had before, at another address, goes when the new stands. */
static int open_port(struct punch *p, const struct endpoint *local)
{
	CLEANUP(close_fd) int holder = -1;
	struct endpoint bound;
	struct udp *udp;
	int err;

	if (p->config.protocol == LEASE_UDP) {
		err = udp_open(&udp, p->config.loop, local, received, p);
		if (err < 0)
			return err;
		udp_close(p->udp);
		p->udp = udp;
		p->port = udp_port(udp);
		return 0;
	}
	err = net_open(&holder, SOCK_STREAM, local, NET_REUSE);
	if (err == 0)
		err = net_local(holder, &bound);
	if (err < 0)
		return err;
	close_fd(&p->holder);
	p->holder = holder;
	holder = -1; /* handed over */
	p->port = bound.port;
	return 0;
}

static void drop_dials(struct punch *p)
{
	dial_close(p->held);
	dial_close(p->fresh);
	p->held = p->fresh = NULL;
	p->doubted = false;
	hole_closed(&p->hole);
}

int punch_open(struct punch **out, const struct punch_config *config)
{
	struct punch *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->config = *config;
	p->holder = -1;
	random_bytes(&p->seed, sizeof(p->seed));
	err = open_port(p, &p->config.local);
	if (err < 0) {
		free(p);
		return err;
	}
	hole_init(&p->hole,
		&(struct hole_config){ .stream = config->protocol == LEASE_TCP,
			.keepalive_ms = config->keepalive_ms,
			.random = random_bytes },
		clock_ms());
	uv_timer_init(config->loop, &p->timer);
	p->timer.data = p;
	if (config->direct)
		punch_direct(p, true); /* its event waits for the loop's next turn */
	else
		advance(p); /* asks at once; no event can come of it yet */
	err = p->short_of;
	if (err < 0)
		punch_close(p);
	else
		*out = p;
	return err;
}

static void restart(struct punch *p)
{
	hole_restart(&p->hole, clock_ms());
	uv_timer_start(&p->timer, fire, 0, 0);
}

void punch_redial(struct punch *p)
{
	size_t count;

	if (!p || p->paused)
		return;
	servers_list(p->config.servers, p->config.protocol, &count);
	if (p->held && count > 1)
		p->doubted = true;
	restart(p);
}

void punch_renew(struct punch *p)
{
	if (!p || p->paused)
		return;
	p->doubted = p->held != NULL;
	if (p->anchor)
		anchor_renew(p->anchor);
	hole_anew(&p->hole, clock_ms());
	uv_timer_start(&p->timer, fire, 0, 0);
}

void punch_pause(struct punch *p)
{
	if (!p)
		return;
	p->paused = true;
	uv_timer_stop(&p->timer);
}

int punch_move(struct punch *p, uint32_t ip)
{
	struct endpoint local;
	int err = 0;

	if (!p)
		return 0;
	local = endpoint_ipv4(ip, p->port);
	if (!endpoint_same_ip(&local, &p->config.local)) {
		err = open_port(p, &local);
		if (err < 0)
			return err;
		p->config.local = local;
		drop_dials(p);
		anchor_close(p->anchor);
		p->anchor = NULL;
	}
	p->paused = false;
	if (p->hole.owned)
		punch_direct(p, true); /* the outer endpoint moves with it, until the line says otherwise */
	else
		restart(p);
	return 0;
}

void punch_direct(struct punch *p, bool direct)
{
	struct endpoint own;

	if (!p)
		return;
	own = p->config.local;
	own.port = p->port;
	if (direct)
		drop_dials(p);
	hole_own(&p->hole, direct ? &own : NULL, clock_ms());
	uv_timer_start(&p->timer, fire, 0, 0);
}

void punch_assign(struct punch *p, punch_event_fn *event, void *owner)
{
	p->config.event = event;
	p->config.owner = owner;
}

void punch_keepalive(struct punch *p, uint32_t keepalive_ms)
{
	uint64_t wake_ms;

	if (!p)
		return;
	wake_ms = hole_wake_ms(&p->hole);
	p->config.keepalive_ms = keepalive_ms;
	apply_keepalive(p);
	if (hole_wake_ms(&p->hole) < wake_ms && !p->paused)
		uv_timer_start(&p->timer, fire, 0, 0);
}

void punch_recheck(struct punch *p)
{
	if (!p || p->paused)
		return;
	hole_recheck(&p->hole, clock_ms());
	uv_timer_start(&p->timer, fire, 0, 0);
}

void punch_servers(struct punch *p, struct servers *servers)
{
	p->config.servers = servers;
	punch_recheck(p);
}

static void timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void punch_close(struct punch *p)
{
	if (!p || p->closed)
		return;
	p->closed = true;
	udp_close(p->udp);
	drop_dials(p);
	anchor_close(p->anchor);
	close_fd(&p->holder);
	uv_close((uv_handle_t *)&p->timer, timer_closed);
}
