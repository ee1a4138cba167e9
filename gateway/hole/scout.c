/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hole/scout.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/cadence.h"
#include "sys/clock.h"
#include "sys/log.h"

/* Nearly every NAT keeps a UDP mapping for longer, and a TCP connection for much longer. */
#define START_UDP_MS 10000
#define START_TCP_MS 20000
#define MOVED_MS     10000 /* what changes so soon after the line moved, changed for that */

struct scout {
	struct punch_config config;
	struct cadence cadence;
	uint64_t moved_ms;   /* when the line moved last */
	struct punch *punch; /* NULL: the line is not suited, or there was nothing to open it with */
	scout_event_fn *event;
	void *owner;
};

static const char *name_of(const struct scout *s)
{
	return s->config.protocol == LEASE_TCP ? "TCP" : "UDP";
}

uint32_t scout_keepalive_ms(const struct scout *s)
{
	return s->cadence.interval_ms;
}

uint16_t scout_port(const struct scout *s)
{
	return s->punch ? punch_port(s->punch) : 0;
}

static void tell(struct scout *s, const char *why, uint32_t silent_ms)
{
	log_info("keepalive %s interval=%u.%u s: %s after=%u.%u s", name_of(s), s->cadence.interval_ms / 1000,
		s->cadence.interval_ms / 100 % 10, why, silent_ms / 1000, silent_ms / 100 % 10);
	s->event(s->owner, s->config.protocol);
}

static void go_silent(struct scout *s)
{
	if (s->punch)
		punch_keepalive(s->punch, cadence_silence_ms(&s->cadence, clock_ms()));
}

/* Then no hole is silent for as long as it says: its anchor is not. */
static bool is_anchored(const struct scout *s)
{
	return s->config.protocol == LEASE_TCP && !servers_keep_tcp(s->config.servers);
}

static void lived(struct scout *s)
{
	const struct hole *h = punch_hole(s->punch);
	bool news;

	if (is_anchored(s))
		return;
	/* A NAT that keeps the port gives it again to a mapping made anew: life cannot be told from death. */
	if (h->outer.port == punch_port(s->punch))
		news = cadence_blind(&s->cadence);
	else
		news = cadence_lived(&s->cadence, h->silent_ms);
	if (news)
		tell(s, "the NAT keeps a silent port, looked", h->silent_ms);
}

void scout_changed(struct scout *s, const struct hole *h)
{
	const uint32_t silent_ms = h->silent_ms;

	if (is_anchored(s) || endpoint_ip32(&h->outer) != endpoint_ip32(&h->before) || clock_ms() < s->moved_ms + MOVED_MS)
		return; /* not silence was the reason */
	log_debug("keepalive %s: a silent port was lost after=%u.%u s", name_of(s), silent_ms / 1000, silent_ms / 100 % 10);
	if (cadence_died(&s->cadence, silent_ms, clock_ms()))
		tell(s, "the NAT gave up a silent port", silent_ms);
}

static void punch_event(void *owner, enum hole_action event, bool disagree)
{
	struct scout *s = owner;

	(void)disagree;
	if (event == HOLE_HELD)
		lived(s);
	else if (event == HOLE_CHANGED)
		scout_changed(s, punch_hole(s->punch));
	if (event == HOLE_HELD || event == HOLE_CHANGED || event == HOLE_OPENED)
		go_silent(s);
}

void scout_servers(struct scout *s, struct servers *servers)
{
	s->config.servers = servers;
	if (s->punch)
		punch_servers(s->punch, servers);
}

void scout_moved(struct scout *s)
{
	cadence_init(&s->cadence, s->config.protocol == LEASE_TCP ? START_TCP_MS : START_UDP_MS, s->config.keepalive_ms);
	s->moved_ms = clock_ms();
	if (s->punch)
		punch_renew(s->punch);
	go_silent(s);
	s->event(s->owner, s->config.protocol);
}

void scout_suited(struct scout *s, bool suited)
{
	struct punch_config c = s->config;

	if (!suited) {
		punch_close(s->punch);
		s->punch = NULL;
	} else if (!s->punch) {
		c.local.port = 0;
		c.keepalive_ms = cadence_silence_ms(&s->cadence, clock_ms());
		c.event = punch_event;
		c.owner = s;
		if (punch_open(&s->punch, &c) < 0)
			s->punch = NULL; /* the interval stays the short one */
	}
}

void scout_move(struct scout *s, uint32_t ip)
{
	const struct endpoint local = endpoint_ipv4(ip, 0);

	if (endpoint_same_ip(&s->config.local, &local))
		return;
	s->config.local = local;
	scout_suited(s, false);
}

int scout_open(struct scout **out, const struct punch_config *config, scout_event_fn *event, void *owner)
{
	struct scout *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct scout){ .config = *config, .event = event, .owner = owner };
	cadence_init(&s->cadence, config->protocol == LEASE_TCP ? START_TCP_MS : START_UDP_MS, config->keepalive_ms);
	*out = s;
	return 0;
}

void scout_close(struct scout *s)
{
	if (!s)
		return;
	punch_close(s->punch);
	free(s);
}
