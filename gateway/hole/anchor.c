/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hole/anchor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/webanswer.h"
#include "sys/clock.h"
#include "sys/dial.h"
#include "sys/entropy.h"
#include "sys/log.h"

#define PATIENCE_MS 4000 /* for the first answer */
#define AGAIN_MS    1000
#define SLOWEST	    5	 /* doublings: 32 s */

struct anchor {
	uv_loop_t *loop;
	struct servers *hosts;
	struct endpoint local;
	uint32_t interval_ms, seed;
	anchor_event_fn *event;
	void *owner;
	uv_timer_t timer; /* the next HEAD; or the end of patience; or the next try */
	struct dial *dial;
	struct webanswer answer;
	unsigned answers; /* on this connection */
	bool asked;	  /* and not answered yet */
	uint8_t failures; /* in a row */
	bool closed;
};

static void fire(uv_timer_t *timer);

static void wake_in(struct anchor *a, uint64_t ms)
{
	uv_timer_start(&a->timer, fire, ms, 0);
}

static void fail(struct anchor *a)
{
	wake_in(a, (uint64_t)AGAIN_MS << a->failures);
	if (a->failures < SLOWEST)
		a->failures++;
}

static void fall(struct anchor *a)
{
	const struct endpoint host = *dial_server(a->dial);

	if (a->answers == 1)
		servers_hung_up(a->hosts, &host); /* it closed before the next question */
	else if (a->answers == 0)
		servers_failed(a->hosts, LEASE_TCP, &host);
	dial_close(a->dial);
	a->dial = NULL;
	if (a->answers > 1)
		wake_in(a, 0);
	else
		fail(a);
	a->answers = 0;
	a->event(a->owner);
}

static void established(void *owner, struct dial *d)
{
	(void)owner, (void)d;
}

static void arrived(void *owner, struct dial *d, const uint8_t *bytes, size_t len)
{
	struct anchor *a = owner;
	const int answers = webanswer_read(&a->answer, bytes, len);

	if (answers < 0) {
		fall(a);
		return;
	}
	if (answers == 0)
		return;
	a->answers += (unsigned)answers;
	a->asked = false;
	servers_answered(a->hosts, LEASE_TCP, dial_server(d), 0);
	if (a->answers > 1) {
		a->failures = 0;
		servers_stayed(a->hosts, dial_server(d));
	}
	wake_in(a, a->interval_ms);
	if (a->answers == 1)
		a->event(a->owner);
}

static void broken(void *owner, struct dial *d)
{
	(void)d;
	fall(owner);
}

static const struct dial_callbacks dial_callbacks = { .established = established, .bytes = arrived, .broken = broken };

static void ask(struct anchor *a)
{
	const char *host = servers_host(a->hosts, dial_server(a->dial));
	char text[400];
	const int len = snprintf(text, sizeof(text),
		"HEAD / HTTP/1.1\r\nHost: %s\r\n"
		"User-Agent: stunway-gateway/" STUNWAY_VERSION " (keeps a port open)\r\n"
		"Connection: keep-alive\r\n\r\n",
		host ? host : "localhost");

	a->asked = true;
	wake_in(a, a->answers ? a->interval_ms : PATIENCE_MS);
	dial_send(a->dial, text, (size_t)len);
}

static void connect_anew(struct anchor *a)
{
	size_t count;
	const struct endpoint *list = servers_list(a->hosts, LEASE_TCP, &count);
	struct endpoint host;

	servers_wake(a->hosts);
	fail(a); /* unless a host answers */
	if (count == 0)
		return;
	if (a->failures > 1)
		random_bytes(&a->seed, sizeof(a->seed));
	host = list[servers_choose(a->hosts, LEASE_TCP, a->seed, true) % count];
	a->answer = (struct webanswer){ 0 };
	if (dial_open(&a->dial, a->loop, &a->local, &host, &dial_callbacks, a) == 0)
		ask(a);
	else
		servers_failed(a->hosts, LEASE_TCP, &host);
}

static void fire(uv_timer_t *timer)
{
	struct anchor *a = timer->data;

	if (!a->dial)
		connect_anew(a);
	else if (a->asked)
		fall(a);
	else
		ask(a);
}

int anchor_open(struct anchor **out, uv_loop_t *loop, struct servers *hosts, const struct endpoint *local, uint32_t interval_ms,
	anchor_event_fn *event, void *owner)
{
	struct anchor *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	*a = (struct anchor){ .loop = loop, .hosts = hosts, .local = *local, .interval_ms = interval_ms, .event = event,
		.owner = owner };
	random_bytes(&a->seed, sizeof(a->seed));
	uv_timer_init(loop, &a->timer);
	a->timer.data = a;
	wake_in(a, 0);
	*out = a;
	return 0;
}

void anchor_interval(struct anchor *a, uint32_t interval_ms)
{
	a->interval_ms = interval_ms;
}

bool anchor_stands(const struct anchor *a)
{
	return a->answers > 0;
}

bool anchor_settled(const struct anchor *a)
{
	return a->answers > 0 || a->failures > 0;
}

void anchor_renew(struct anchor *a)
{
	dial_close(a->dial);
	a->dial = NULL;
	a->answers = 0;
	wake_in(a, 0);
}

static void free_anchor(uv_handle_t *handle)
{
	free(handle->data);
}

void anchor_close(struct anchor *a)
{
	if (!a || a->closed)
		return;
	a->closed = true;
	dial_close(a->dial);
	uv_close((uv_handle_t *)&a->timer, free_anchor);
}
