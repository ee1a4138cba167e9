/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/punch.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/dial.h"
#include "sys/entropy.h"
#include "sys/log.h"
#include "sys/net.h"
#include "sys/udp.h"

struct punch {
	struct punch_config config;
	struct hole hole;
	uv_timer_t timer;
	uint16_t port;
	bool closed, paused;
	struct udp *udp;	   /* UDP */
	int holder;		   /* TCP: the bound socket, else -1 */
	int short_of;		   /* TCP: why the last connection could not even be tried, 0 if it could */
	struct dial *held, *fresh; /* TCP: the connection that holds, and the one that will take its place */
	bool doubted;		   /* TCP: a question on held was not answered */
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
		p->doubted = false;
	}
}

static void message(void *owner, struct dial *d, const uint8_t *bytes, size_t len)
{
	struct punch *p = owner;

	if (hole_receive(&p->hole, dial_server(d), bytes, len, clock_ms()))
		servers_note(p->config.servers, p->config.protocol, dial_server(d), true);
	advance(p);
}

static void broken(void *owner, struct dial *d)
{
	struct punch *p = owner;
	const struct endpoint server = *dial_server(d);

	if (d == p->held)
		p->held = NULL;
	else
		p->fresh = NULL;
	dial_close(d);
	hole_break(&p->hole, &server, clock_ms());
	advance(p);
}

static const struct dial_callbacks dial_callbacks = { established, message, broken };

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
static void doubt(struct punch *p, const struct endpoint *server)
{
	p->doubted |= is_to(p->held, server);
	if (is_to(p->fresh, server)) {
		dial_close(p->fresh);
		p->fresh = NULL;
	}
}

static enum hole_action step_once(struct punch *p, struct hole_step *step)
{
	const struct endpoint asked = p->hole.asked;
	const uint8_t failures = p->hole.failures;
	size_t count;
	const struct endpoint *list = servers_list(p->config.servers, p->config.protocol, &count);
	const enum hole_action action = hole_step(&p->hole, list, count, clock_ms(), step);

	if (p->hole.failures > failures) {
		doubt(p, &asked);
		servers_note(p->config.servers, p->config.protocol, &asked, false);
	}
	return action;
}

static void advance(struct punch *p)
{
	struct hole_step step;
	enum hole_action action;
	uint64_t now_ms, wake_ms;

	while (!p->closed && !p->paused && (action = step_once(p, &step)) != HOLE_WAIT) {
		if (action == HOLE_SEND)
			ask(p, &step);
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
	servers_note(p->config.servers, p->config.protocol, from, true);
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
}

int punch_open(struct punch **out, const struct punch_config *config)
{
	struct punch *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->config = *config;
	p->holder = -1;
	err = open_port(p, &p->config.local);
	if (err < 0) {
		free(p);
		return err;
	}
	hole_init(&p->hole,
		&(struct hole_config){ .stream = config->protocol == LEASE_TCP,
			.keepalive_ms = config->keepalive_ms,
			.start = servers_start(config->servers, config->protocol),
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

void punch_renew(struct punch *p)
{
	if (p->paused)
		return;
	drop_dials(p);
	restart(p);
}

void punch_pause(struct punch *p)
{
	p->paused = true;
	uv_timer_stop(&p->timer);
}

int punch_move(struct punch *p, uint32_t ip)
{
	const struct endpoint local = endpoint_ipv4(ip, p->port);
	int err = 0;

	if (!endpoint_same_ip(&local, &p->config.local)) {
		err = open_port(p, &local);
		if (err < 0)
			return err;
		p->config.local = local;
		drop_dials(p);
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
	struct endpoint own = p->config.local;

	own.port = p->port;
	if (direct)
		drop_dials(p);
	hole_own(&p->hole, direct ? &own : NULL, clock_ms());
	uv_timer_start(&p->timer, fire, 0, 0);
}

void punch_recheck(struct punch *p)
{
	if (p->paused)
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
	close_fd(&p->holder);
	uv_close((uv_handle_t *)&p->timer, timer_closed);
}
