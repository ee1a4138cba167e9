/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/servers.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stun.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/net.h"

#define ADDRESSES_MAX	 4 /* kept of one name */
#define FRESH_MS	 600000
#define RETRY_MS	 5000
#define RETRY_SLOWEST_MS 300000
#define FAILED_FOR_MS	 60000 /* a server that failed is not begun with */

/*
 * Public servers, asked sparingly. Those without a prefix are said to serve TCP too; which of
 * them keep a connection is found out by holding holes there.
 */
const char *const servers_builtin[] = { "stun.cloudflare.com", "stun.nextcloud.com", "stun.freeswitch.org", "stun.sipnet.com",
	"stun.radiojar.com", "stun.sonetel.com", "stun.voip.blackberry.com", "udp:stun.l.google.com:19302", "udp:stun.miwifi.com",
	"udp:stun.chat.bilibili.com", NULL };

struct name {
	struct servers *all;
	struct server_name is;
	uv_getaddrinfo_t lookup;
	uv_timer_t timer;
	uint32_t failures;
	size_t count;
	struct endpoint addresses[ADDRESSES_MAX];
};

struct list {
	size_t count;
	uint32_t next; /* servers_start's turn */
	struct endpoint endpoints[SERVERS_MAX];
	uint64_t failed_ms[SERVERS_MAX]; /* 0: not since it answered */
};

struct servers {
	uv_loop_t *loop;
	servers_changed_fn *changed;
	void *owner;
	struct list udp, tcp;
	size_t name_count, closing;
	bool closed;
	struct name names[];
};

int server_name_parse(struct server_name *out, const char *text)
{
	struct server_name n = { .udp = true, .tcp = true, .port = STUN_PORT };
	const char *colon;
	size_t len;

	if (strncmp(text, "udp:", 4) == 0 || strncmp(text, "tcp:", 4) == 0) {
		n.udp = text[0] == 'u';
		n.tcp = !n.udp;
		text += 4;
	}
	colon = strchr(text, ':');
	len = colon ? (size_t)(colon - text) : strlen(text);
	if (colon) {
		char *end;
		const unsigned long port = strtoul(colon + 1, &end, 10);

		if (colon[1] < '0' || colon[1] > '9' || *end || port < 1 || port > 65535)
			return -EINVAL;
		n.port = (uint16_t)port;
	}
	if (len == 0 || len >= sizeof(n.host) || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != len)
		return -EINVAL;
	memcpy(n.host, text, len);
	*out = n;
	return 0;
}

static struct list *list_of(struct servers *s, enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? &s->tcp : &s->udp;
}

static bool list_has(const struct list *l, const struct endpoint *e)
{
	for (size_t i = 0; i < l->count; i++)
		if (endpoint_equal(&l->endpoints[i], e))
			return true;
	return false;
}

/* The list of one protocol anew from all names; what is known of an endpoint stays. */
static void rebuild(struct servers *s, enum lease_protocol protocol)
{
	struct list *l = list_of(s, protocol), old = *l;

	l->count = 0;
	for (size_t i = 0; i < s->name_count; i++) {
		const struct name *n = &s->names[i];

		if (!(protocol == LEASE_TCP ? n->is.tcp : n->is.udp))
			continue;
		for (size_t k = 0; k < n->count && l->count < SERVERS_MAX; k++)
			if (!list_has(l, &n->addresses[k]))
				l->endpoints[l->count++] = n->addresses[k];
	}
	for (size_t i = 0; i < l->count; i++) {
		l->failed_ms[i] = 0;
		for (size_t k = 0; k < old.count; k++)
			if (endpoint_equal(&l->endpoints[i], &old.endpoints[k]))
				l->failed_ms[i] = old.failed_ms[k];
	}
	if (l->count != old.count || memcmp(l->endpoints, old.endpoints, l->count * sizeof(l->endpoints[0])) != 0)
		s->changed(s->owner, protocol);
}

static void look_up(uv_timer_t *timer);

static void again_in(struct name *n, uint64_t ms)
{
	uv_timer_start(&n->timer, look_up, ms, 0);
}

static void failed(struct name *n, const char *why)
{
	const uint64_t wait_ms = (uint64_t)RETRY_MS << (n->failures < 6 ? n->failures : 6);

	n->failures++;
	log_warn("cannot look up STUN server host=%s error=\"%s\": check the name and the router's DNS", n->is.host, why);
	again_in(n, wait_ms < RETRY_SLOWEST_MS ? wait_ms : RETRY_SLOWEST_MS);
}

static int by_address(const void *a, const void *b)
{
	return memcmp(((const struct endpoint *)a)->ip, ((const struct endpoint *)b)->ip, 4);
}

static void found(struct name *n, const struct addrinfo *answers)
{
	n->count = 0;
	for (const struct addrinfo *a = answers; a && n->count < ADDRESSES_MAX; a = a->ai_next) {
		struct sockaddr_storage addr = { 0 };

		memcpy(&addr, a->ai_addr, a->ai_addrlen);
		n->addresses[n->count] = net_endpoint(&addr);
		n->addresses[n->count++].port = n->is.port;
	}
	/* Resolvers rotate their answers: that is no change. */
	qsort(n->addresses, n->count, sizeof(n->addresses[0]), by_address);
	n->failures = 0;
	again_in(n, FRESH_MS);
	if (n->is.udp)
		rebuild(n->all, LEASE_UDP);
	if (n->is.tcp)
		rebuild(n->all, LEASE_TCP);
}

static void maybe_free(struct servers *s)
{
	if (s->closed && s->closing == 0)
		free(s);
}

static void looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *answers)
{
	struct name *n = lookup->data;

	lookup->data = NULL; /* idle */
	if (n->all->closed)
		n->all->closing--;
	else if (status < 0 || !answers)
		failed(n, status < 0 ? uv_strerror(status) : "no address");
	else
		found(n, answers);
	uv_freeaddrinfo(answers);
	maybe_free(n->all);
}

static void look_up(uv_timer_t *timer)
{
	struct name *n = timer->data;
	const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM };
	int err;

	n->lookup.data = n;
	err = uv_getaddrinfo(n->all->loop, &n->lookup, looked_up, n->is.host, NULL, &hints);
	if (err < 0) {
		n->lookup.data = NULL;
		failed(n, uv_strerror(err));
	}
}

int servers_open(struct servers **out, uv_loop_t *loop, const struct server_name *names, size_t count,
	servers_changed_fn *changed, void *owner)
{
	struct servers *s = calloc(1, sizeof(*s) + count * sizeof(s->names[0]));

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->changed = changed;
	s->owner = owner;
	s->name_count = count;
	for (size_t i = 0; i < count; i++) {
		struct name *n = &s->names[i];

		n->all = s;
		n->is = names[i];
		uv_timer_init(loop, &n->timer);
		n->timer.data = n;
		if (endpoint_parse_ip(&n->addresses[0], n->is.host, n->is.port) == 0)
			n->count = 1;
		else
			again_in(n, 0);
	}
	*out = s;
	rebuild(s, LEASE_UDP);
	rebuild(s, LEASE_TCP);
	return 0;
}

const struct endpoint *servers_list(const struct servers *s, enum lease_protocol protocol, size_t *count)
{
	const struct list *l = protocol == LEASE_TCP ? &s->tcp : &s->udp;

	*count = l->count;
	return l->endpoints;
}

uint32_t servers_start(struct servers *s, enum lease_protocol protocol)
{
	struct list *l = list_of(s, protocol);
	const uint64_t now_ms = clock_ms();

	for (size_t tries = 0; tries < l->count; tries++) {
		const uint32_t i = l->next++ % (uint32_t)l->count;

		if (l->failed_ms[i] == 0 || now_ms - l->failed_ms[i] > FAILED_FOR_MS)
			return i;
	}
	return l->next++;
}

void servers_retry(struct servers *s)
{
	for (size_t i = 0; i < s->name_count; i++) {
		struct name *n = &s->names[i];

		if (n->failures > 0 && !n->lookup.data) {
			n->failures = 0;
			again_in(n, 0);
		}
	}
}

void servers_note(struct servers *s, enum lease_protocol protocol, const struct endpoint *server, bool answered)
{
	struct list *l = list_of(s, protocol);

	for (size_t i = 0; i < l->count; i++)
		if (endpoint_equal(&l->endpoints[i], server))
			l->failed_ms[i] = answered ? 0 : clock_ms();
}

void servers_text(const struct servers *s, enum lease_protocol protocol, char *buf, size_t max)
{
	const struct list *l = protocol == LEASE_TCP ? &s->tcp : &s->udp;
	char text[ENDPOINT_TEXT_MAX];
	size_t used = 0;

	snprintf(buf, max, "none");
	for (size_t i = 0; i < l->count && used < max; i++)
		used += (size_t)snprintf(buf + used, max - used, "%s%s", used ? ", " : "", endpoint_text(&l->endpoints[i], text));
}

static void timer_closed(uv_handle_t *handle)
{
	struct name *n = handle->data;

	n->all->closing--;
	maybe_free(n->all);
}

void servers_close(struct servers *s)
{
	if (!s)
		return;
	s->closed = true;
	s->closing = s->name_count;
	for (size_t i = 0; i < s->name_count; i++) {
		if (s->names[i].lookup.data) {
			s->closing++;
			uv_cancel((uv_req_t *)&s->names[i].lookup);
		}
		uv_close((uv_handle_t *)&s->names[i].timer, timer_closed);
	}
	maybe_free(s);
}
