/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/clock.h"
#include "sys/entropy.h"
#include "sys/log.h"

#define FILL_MS	  100  /* between new holes */
#define FAILED_MS 5000 /* after one that could not be opened */
#define TRIES	  16   /* ports that others hold, before that counts as failed */

struct spare {
	struct punch *punch; /* NULL: free */
};

struct kind {
	enum lease_protocol protocol;
	bool suited;
	uint32_t keepalive_ms;
	struct spare spares[POOL_MAX];
};

struct pool {
	struct pool_config config;
	uv_timer_t timer;
	bool closed;
	struct kind kinds[2]; /* UDP, TCP */
};

static struct kind *kind_of(struct pool *p, enum lease_protocol protocol)
{
	return &p->kinds[protocol == LEASE_TCP];
}

static void fill(uv_timer_t *timer);

static void fill_in(struct pool *p, uint64_t ms)
{
	if (!p->closed && !uv_is_active((const uv_handle_t *)&p->timer))
		uv_timer_start(&p->timer, fill, ms, 0);
}

/* A hole in doubt is simply not ready; one that is lost asks on by itself. */
static void spare_event(void *owner, enum hole_action event, bool disagree)
{
	const struct spare *s = owner;

	(void)disagree;
	if (event == HOLE_OPENED)
		log_debug("pool: a hole stands ready relay=%u rtt=%u ms", punch_port(s->punch), punch_hole(s->punch)->rtt_ms);
}

static size_t count_of(const struct kind *k)
{
	size_t n = 0;

	for (size_t i = 0; i < POOL_MAX; i++)
		n += k->spares[i].punch != NULL;
	return n;
}

static void drop(struct spare *s)
{
	punch_close(s->punch);
	s->punch = NULL;
}

bool pool_has(const struct pool *p, enum lease_protocol protocol, uint16_t port)
{
	const struct spare *spares = p->kinds[protocol == LEASE_TCP].spares;

	for (size_t i = 0; i < POOL_MAX; i++)
		if (spares[i].punch && punch_port(spares[i].punch) == port)
			return true;
	return false;
}

static uint16_t some_port(const struct pool *p)
{
	uint32_t r;

	random_bytes(&r, sizeof(r));
	return (uint16_t)(p->config.relay_low + r % ((uint32_t)(p->config.relay_high - p->config.relay_low) + 1));
}

static int open_spare(struct pool *p, struct kind *k)
{
	struct punch_config c = p->config.punch;
	struct spare *s = k->spares;
	int err = -EADDRINUSE;

	while (s->punch)
		s++;
	c.protocol = k->protocol;
	c.keepalive_ms = k->keepalive_ms;
	c.event = spare_event;
	c.owner = s;
	for (unsigned i = 0; i < TRIES && err == -EADDRINUSE; i++) {
		c.local.port = some_port(p);
		if (!pool_has(p, k->protocol, c.local.port) && !p->config.taken(p->config.owner, k->protocol, c.local.port))
			err = punch_open(&s->punch, &c);
	}
	return err;
}

static size_t wanted(const struct pool *p, const struct kind *k)
{
	const size_t room = p->config.room(p->config.owner, k->protocol);

	return !k->suited ? 0 : room < p->config.wanted ? room : p->config.wanted;
}

/* One hole of each protocol a turn. */
static void fill(uv_timer_t *timer)
{
	struct pool *p = timer->data;
	uint64_t again_ms = 0;

	for (size_t i = 0; i < 2; i++) {
		struct kind *k = &p->kinds[i];
		const size_t want = wanted(p, k);

		while (count_of(k) > want)
			pool_yield(p, k->protocol, 0);
		if (count_of(k) == want)
			continue;
		if (open_spare(p, k) < 0)
			again_ms = FAILED_MS;
		else if (again_ms == 0)
			again_ms = FILL_MS;
	}
	if (again_ms)
		fill_in(p, again_ms);
}

void pool_tend(struct pool *p)
{
	fill_in(p, FILL_MS);
}

void pool_suited(struct pool *p, enum lease_protocol protocol, bool suited)
{
	struct kind *k = kind_of(p, protocol);

	k->suited = suited;
	for (size_t i = 0; i < POOL_MAX && !suited; i++)
		drop(&k->spares[i]);
	fill_in(p, FILL_MS);
}

struct punch *pool_take(struct pool *p, enum lease_protocol protocol, punch_event_fn *event, void *owner)
{
	struct kind *k = kind_of(p, protocol);
	const uint64_t now_ms = clock_ms();
	struct punch *taken;

	for (size_t i = 0; i < POOL_MAX; i++) {
		struct spare *s = &k->spares[i];

		if (!s->punch || !hole_sure(punch_hole(s->punch), now_ms))
			continue;
		taken = s->punch;
		s->punch = NULL;
		punch_assign(taken, event, owner);
		fill_in(p, FILL_MS);
		return taken;
	}
	fill_in(p, FILL_MS);
	return NULL;
}

bool pool_yield(struct pool *p, enum lease_protocol protocol, uint16_t port)
{
	struct kind *k = kind_of(p, protocol);

	for (size_t i = 0; i < POOL_MAX; i++) {
		if (!k->spares[i].punch || (port && punch_port(k->spares[i].punch) != port))
			continue;
		drop(&k->spares[i]);
		return true;
	}
	return false;
}

void pool_keepalive(struct pool *p, enum lease_protocol protocol, uint32_t keepalive_ms)
{
	struct kind *k = kind_of(p, protocol);

	k->keepalive_ms = keepalive_ms;
	for (size_t i = 0; i < POOL_MAX; i++)
		if (k->spares[i].punch)
			punch_keepalive(k->spares[i].punch, keepalive_ms);
}

void pool_recheck(struct pool *p, enum lease_protocol protocol)
{
	struct kind *k = kind_of(p, protocol);

	for (size_t i = 0; i < POOL_MAX; i++)
		if (k->spares[i].punch)
			punch_recheck(k->spares[i].punch);
}

void pool_servers(struct pool *p, struct servers *servers)
{
	p->config.punch.servers = servers;
	for (size_t i = 0; i < 2 * POOL_MAX; i++) {
		const struct spare *s = &kind_of(p, i < POOL_MAX ? LEASE_UDP : LEASE_TCP)->spares[i % POOL_MAX];

		if (s->punch)
			punch_servers(s->punch, servers);
	}
}

/* What is known of these holes is of another line: they are made anew. */
void pool_renew(struct pool *p, enum lease_protocol protocol)
{
	struct kind *k = kind_of(p, protocol);

	for (size_t i = 0; i < POOL_MAX; i++)
		drop(&k->spares[i]);
	fill_in(p, FILL_MS);
}

size_t pool_ready(const struct pool *p, enum lease_protocol protocol)
{
	const struct kind *k = &p->kinds[protocol == LEASE_TCP];
	const uint64_t now_ms = clock_ms();
	size_t n = 0;

	for (size_t i = 0; i < POOL_MAX; i++)
		n += k->spares[i].punch && hole_sure(punch_hole(k->spares[i].punch), now_ms);
	return n;
}

int pool_open(struct pool **out, const struct pool_config *config)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->config = *config;
	for (size_t i = 0; i < 2; i++) {
		p->kinds[i].protocol = i ? LEASE_TCP : LEASE_UDP;
		p->kinds[i].keepalive_ms = config->punch.keepalive_ms;
	}
	uv_timer_init(config->punch.loop, &p->timer);
	p->timer.data = p;
	*out = p;
	return 0;
}

void pool_move(struct pool *p, uint32_t ip)
{
	const struct endpoint local = endpoint_ipv4(ip, 0);

	if (endpoint_same_ip(&p->config.punch.local, &local))
		return;
	p->config.punch.local = local;
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < POOL_MAX; k++)
			drop(&p->kinds[i].spares[k]);
	fill_in(p, FILL_MS);
}

static void free_pool(uv_handle_t *handle)
{
	free(handle->data);
}

void pool_close(struct pool *p)
{
	if (!p || p->closed)
		return;
	p->closed = true;
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < POOL_MAX; k++)
			drop(&p->kinds[i].spares[k]);
	uv_close((uv_handle_t *)&p->timer, free_pool);
}
