/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hole/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/dial.h"
#include "sys/entropy.h"
#include "sys/log.h"
#include "sys/net.h"
#include "sys/tap.h"
#include "sys/udp.h"

#define SLOTS 2

struct check {
	struct check_config config;
	struct natcheck machine;
	uv_timer_t timer;
	bool closed, told; /* told: that the mapping is known */
	struct slot {
		struct check *check;
		unsigned number;
		struct udp *udp;
	} slots[SLOTS];
	struct tap *tap;			  /* what the router's own firewall would drop */
	int holder;				  /* TCP: keeps the port of all dials, else -1 */
	struct endpoint tcp_local;
	struct dial *dials[NATCHECK_QUESTIONS]; /* TCP: one per question */
};

static void advance(struct check *c);

static void received(void *owner, const struct endpoint *from, const uint8_t *bytes, size_t len)
{
	struct slot *s = owner;

	if (natcheck_receive(&s->check->machine, s->number, from, bytes, len, clock_ms()))
		advance(s->check);
}

static void forget_dial(struct check *c, struct dial *d)
{
	for (size_t i = 0; i < NATCHECK_QUESTIONS; i++)
		if (c->dials[i] == d)
			c->dials[i] = NULL;
	dial_close(d);
}

static void message(void *owner, struct dial *d, const uint8_t *bytes, size_t len)
{
	struct check *c = owner;

	if (natcheck_receive(&c->machine, 0, dial_server(d), bytes, len, clock_ms()))
		advance(c);
}

static void established(void *owner, struct dial *d)
{
	(void)owner, (void)d;
}

static void broken(void *owner, struct dial *d)
{
	struct check *c = owner;
	const struct endpoint server = *dial_server(d);

	forget_dial(c, d);
	natcheck_break(&c->machine, &server, clock_ms());
	advance(c);
}

static const struct dial_callbacks dial_callbacks = { .established = established, .message = message, .broken = broken };

/* Each question its own connection; all stay until the end, so that the NAT keeps one mapping. */
static void ask_tcp(struct check *c, const struct inquiry_step *step)
{
	size_t i = 0;

	while (i < NATCHECK_QUESTIONS && c->dials[i])
		i++;
	if (i < NATCHECK_QUESTIONS &&
		dial_open(&c->dials[i], c->config.loop, &c->tcp_local, &step->to, &dial_callbacks, c) == 0)
		dial_send(c->dials[i], step->bytes, step->len);
	else
		natcheck_break(&c->machine, &step->to, clock_ms());
}

static void fire(uv_timer_t *timer)
{
	advance(timer->data);
}

static void advance(struct check *c)
{
	struct inquiry_step step;
	enum inquiry_action action = INQUIRY_WAIT;
	uint64_t now_ms, wake_ms;

	while (!c->closed && (action = natcheck_step(&c->machine, clock_ms(), &step)) == INQUIRY_SEND) {
		if (c->config.protocol == LEASE_TCP)
			ask_tcp(c, &step);
		else
			udp_send(c->slots[step.slot].udp, &step.to, step.bytes, step.len);
	}
	if (c->closed)
		return;
	if (action == INQUIRY_DONE || (c->machine.mapping_known && !c->told)) {
		c->told = true;
		c->config.verdict(c->config.owner, &c->machine);
	}
	if (c->closed || action == INQUIRY_DONE)
		return;
	now_ms = clock_ms();
	wake_ms = natcheck_wake_ms(&c->machine);
	uv_timer_start(&c->timer, fire, wake_ms > now_ms ? wake_ms - now_ms : 0, 0);
}

static int open_udp(struct check *c)
{
	struct endpoint local = c->config.local;
	int err = 0;

	for (unsigned i = 0; i < SLOTS && err == 0; i++) {
		c->slots[i] = (struct slot){ .check = c, .number = i };
		err = udp_open(&c->slots[i].udp, c->config.loop, &local, received, &c->slots[i]);
	}
	if (err < 0)
		return err;
	local.port = udp_port(c->slots[1].udp);
	err = tap_open(&c->tap, c->config.loop, c->config.wan_index, &local, received, &c->slots[1]);
	if (err < 0)
		log_warn("no packet tap on the line error=\"%s\": if the router drops on input, the filtering verdict is too strict",
			strerror(-err));
	return 0;
}

static int open_tcp(struct check *c)
{
	const int err = net_open(&c->holder, SOCK_STREAM, &c->config.local, NET_REUSE);

	return err < 0 ? err : net_local(c->holder, &c->tcp_local);
}

static void free_check(uv_handle_t *handle)
{
	free(handle->data);
}

void check_close(struct check *c)
{
	if (!c || c->closed)
		return;
	c->closed = true;
	for (unsigned i = 0; i < SLOTS; i++)
		udp_close(c->slots[i].udp);
	for (size_t i = 0; i < NATCHECK_QUESTIONS; i++)
		dial_close(c->dials[i]);
	tap_close(c->tap);
	close_fd(&c->holder);
	uv_close((uv_handle_t *)&c->timer, free_check);
}

int check_open(struct check **out, const struct check_config *config)
{
	struct check *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->config = *config;
	c->config.local.port = 0;
	c->holder = -1;
	uv_timer_init(config->loop, &c->timer);
	c->timer.data = c;
	err = config->protocol == LEASE_TCP ? open_tcp(c) : open_udp(c);
	if (err < 0) {
		check_close(c);
		return err;
	}
	natcheck_init(&c->machine, config->protocol == LEASE_TCP, config->servers, config->server_count, random_bytes, clock_ms());
	uv_timer_start(&c->timer, fire, 0, 0);
	*out = c;
	return 0;
}
