/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hole/servers.h"

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
#define AGAIN_MS	 10000 /* between lookups of a name none of whose addresses answers */
#define WAIT_MS		 5000  /* a queue so long is said in the log */
#define WAIT_LOG_MS	 60000

/*
 * Public servers, asked sparingly. Those without a prefix are said to serve TCP too; which of
 * them keep a connection is found out by holding holes there.
 */
const char *const servers_builtin[] = { "stun.cloudflare.com", "stun.nextcloud.com", "stun.freeswitch.org", "stun.sipnet.com",
	"stun.radiojar.com", "stun.sonetel.com", "stun.voip.blackberry.com", "udp:stun.l.google.com:19302", "udp:stun.miwifi.com",
	"udp:stun.chat.bilibili.com", NULL };

/* Hosts that answer HTTP on port 80 and keep a connection for a while; only asked where no STUN server keeps one. */
const char *const servers_builtin_web[] = { "www.baidu.com", "www.qq.com", "www.taobao.com", "www.google.com", "www.cloudflare.com",
	"www.microsoft.com", NULL };

struct name {
	struct servers *all;
	struct server_name is;
	uv_getaddrinfo_t lookup;
	uv_timer_t timer;
	uint32_t failures;
	uint64_t looked_ms; /* 0: not yet, or never where it is an address */
	size_t count;
	struct endpoint addresses[ADDRESSES_MAX];
};

struct list {
	size_t count;
	struct endpoint endpoints[SERVERS_MAX];
	struct health health[SERVERS_MAX];
};

struct servers {
	struct servers_config config;
	struct log_limit wait_log;
	struct list udp, tcp;
	size_t name_count, closing;
	bool closed;
	struct name names[];
};

/* out: as it is without a port. */
static int parse_host(struct server_name *out, const char *text)
{
	struct server_name n = *out;
	const char *colon = strchr(text, ':');
	const size_t len = colon ? (size_t)(colon - text) : strlen(text);

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

int server_name_parse(struct server_name *out, const char *text)
{
	struct server_name n = { .udp = true, .tcp = true, .port = STUN_PORT };
	int err;

	if (strncmp(text, "udp:", 4) == 0 || strncmp(text, "tcp:", 4) == 0) {
		n.udp = text[0] == 'u';
		n.tcp = !n.udp;
		text += 4;
	}
	err = parse_host(&n, text);
	if (err == 0)
		*out = n;
	return err;
}

int server_name_parse_web(struct server_name *out, const char *text)
{
	struct server_name n = { .tcp = true, .port = 80 };
	const int err = parse_host(&n, text);

	if (err == 0)
		*out = n;
	return err;
}

static struct list *list_of(struct servers *s, enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? &s->tcp : &s->udp;
}

static const struct list *list_read(const struct servers *s, enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? &s->tcp : &s->udp;
}

/* NULL when it is not of the list. */
static struct health *health_of(struct list *l, const struct endpoint *e)
{
	for (size_t i = 0; i < l->count; i++)
		if (endpoint_equal(&l->endpoints[i], e))
			return &l->health[i];
	return NULL;
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
		for (size_t k = 0; k < n->count && l->count < SERVERS_MAX; k++) {
			const struct endpoint *e = &n->addresses[k];
			const struct health *known = health_of(&old, e);

			if (health_of(l, e))
				continue;
			l->endpoints[l->count] = *e;
			l->health[l->count++] = known ? *known : (struct health){ .key = endpoint_ip32(e) + ((uint32_t)e->port << 16) };
		}
	}
	if (l->count != old.count || memcmp(l->endpoints, old.endpoints, l->count * sizeof(l->endpoints[0])) != 0)
		s->config.changed(s->config.owner, protocol);
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
	log_warn("cannot look up %s host=%s error=\"%s\": check the name and the router's DNS", n->all->config.what, n->is.host, why);
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

	if (n->lookup.data)
		return; /* it is under way */
	n->lookup.data = n;
	n->looked_ms = clock_ms();
	err = uv_getaddrinfo(n->all->config.loop, &n->lookup, looked_up, n->is.host, NULL, &hints);
	if (err < 0) {
		n->lookup.data = NULL;
		failed(n, uv_strerror(err));
	}
}

int servers_open(struct servers **out, const struct servers_config *config)
{
	struct servers *s = calloc(1, sizeof(*s) + config->count * sizeof(s->names[0]));

	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->config.names = NULL;
	s->name_count = config->count;
	for (size_t i = 0; i < config->count; i++) {
		struct name *n = &s->names[i];

		n->all = s;
		n->is = config->names[i];
		uv_timer_init(config->loop, &n->timer);
		n->timer.data = n;
		if (endpoint_parse_ip(&n->addresses[0], n->is.host, n->is.port) == 0)
			n->count = 1;
		else if (!config->idle)
			again_in(n, 0);
	}
	*out = s;
	rebuild(s, LEASE_UDP);
	rebuild(s, LEASE_TCP);
	return 0;
}

void servers_wake(struct servers *s)
{
	for (size_t i = 0; i < s->name_count && s->config.idle; i++)
		if (s->names[i].count == 0)
			again_in(&s->names[i], 0);
	s->config.idle = false;
}

const struct endpoint *servers_list(const struct servers *s, enum lease_protocol protocol, size_t *count)
{
	const struct list *l = list_read(s, protocol);

	*count = l->count;
	return l->endpoints;
}

size_t servers_ranked(const struct servers *s, enum lease_protocol protocol, struct endpoint out[SERVERS_MAX])
{
	const struct list *l = list_read(s, protocol);
	size_t n = 0;

	for (unsigned sick = 0; sick < 2; sick++)
		for (size_t i = 0; i < l->count; i++)
			if (health_sick(&l->health[i]) == sick)
				out[n++] = l->endpoints[i];
	return n;
}

static struct name *name_of(struct servers *s, const struct endpoint *server)
{
	for (size_t i = 0; i < s->name_count; i++)
		for (size_t k = 0; k < s->names[i].count; k++)
			if (endpoint_equal(&s->names[i].addresses[k], server))
				return &s->names[i];
	return NULL;
}

const char *servers_host(const struct servers *s, const struct endpoint *server)
{
	const struct name *n = name_of((struct servers *)s, server); /* read only */

	return n ? n->is.host : NULL;
}

uint32_t servers_choose(struct servers *s, enum lease_protocol protocol, uint32_t seed, bool trial)
{
	struct list *l = list_of(s, protocol);

	return (uint32_t)health_choose(l->health, l->count, seed, trial, clock_ms());
}

uint32_t servers_next(const struct servers *s, enum lease_protocol protocol, uint32_t here)
{
	const struct list *l = list_read(s, protocol);

	return l->count ? (uint32_t)health_next(l->health, l->count, here % l->count) : 0;
}

uint64_t servers_reserve(struct servers *s, enum lease_protocol protocol, uint32_t server)
{
	struct list *l = list_of(s, protocol);
	const uint64_t now_ms = clock_ms();
	uint64_t when_ms, skipped;
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];

	if (l->count == 0)
		return now_ms;
	when_ms = health_reserve(&l->health[server % l->count], s->config.per_second, now_ms);
	if (when_ms > now_ms + WAIT_MS && log_allowed_burst(&s->wait_log, WAIT_LOG_MS, 1, now_ms, &skipped))
		log_warn("questions to %s %s wait for %u s: name more with --stun, or raise --stun-rate if it is yours%s", s->config.what,
			endpoint_text(&l->endpoints[server % l->count], text), (unsigned)((when_ms - now_ms) / 1000),
			log_more(more, skipped));
	return when_ms;
}

uint32_t servers_rate(const struct servers *s, enum lease_protocol protocol)
{
	const struct list *l = list_read(s, protocol);
	uint32_t rate = 0;

	for (size_t i = 0; i < l->count; i++)
		if (!health_sick(&l->health[i]))
			rate += s->config.per_second;
	return rate;
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

static bool all_sick(const struct list *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (!health_sick(&l->health[i]))
			return false;
	return true;
}

void servers_answered(struct servers *s, enum lease_protocol protocol, const struct endpoint *server, uint32_t rtt_ms)
{
	struct list *l = list_of(s, protocol);
	struct health *h = health_of(l, server);
	char text[ENDPOINT_TEXT_MAX];

	if (!h)
		return;
	if (health_sick(h))
		log_info("%s %s answers again over %s", s->config.what, endpoint_text(server, text), protocol == LEASE_TCP ? "TCP" : "UDP");
	if (all_sick(l))
		for (size_t i = 0; i < l->count; i++)
			health_forgive(&l->health[i], clock_ms());
	health_answered(h, rtt_ms, clock_ms());
}

/* None of a name's addresses answers: it may have others by now. */
static void doubt(struct servers *s, struct list *l, const struct endpoint *server)
{
	struct name *n = name_of(s, server);
	const uint64_t now_ms = clock_ms();

	if (!n || n->looked_ms == 0)
		return;
	for (size_t k = 0; k < n->count; k++) {
		const struct health *h = health_of(l, &n->addresses[k]);

		if (h && !health_sick(h))
			return;
	}
	again_in(n, n->looked_ms + AGAIN_MS > now_ms ? n->looked_ms + AGAIN_MS - now_ms : 0);
}

void servers_failed(struct servers *s, enum lease_protocol protocol, const struct endpoint *server)
{
	struct list *l = list_of(s, protocol);
	struct health *h = health_of(l, server);
	char text[ENDPOINT_TEXT_MAX];

	if (!h)
		return;
	if (!health_sick(h))
		log_debug("%s %s is silent over %s", s->config.what, endpoint_text(server, text), protocol == LEASE_TCP ? "TCP" : "UDP");
	health_failed(h, clock_ms());
	doubt(s, l, server);
}

void servers_hung_up(struct servers *s, const struct endpoint *server)
{
	struct health *h = health_of(&s->tcp, server);

	if (h)
		health_hung_up(h, clock_ms());
}

void servers_stayed(struct servers *s, const struct endpoint *server)
{
	struct health *h = health_of(&s->tcp, server);

	if (h)
		health_stayed(h);
}

bool servers_keep_tcp(const struct servers *s)
{
	bool hung_up = false;

	for (size_t i = 0; i < s->tcp.count; i++) {
		const struct health *h = &s->tcp.health[i];

		hung_up |= h->hangs_up;
		if (!h->hangs_up && !health_sick(h))
			return true;
	}
	return !hung_up;
}

bool servers_health(const struct servers *s, enum lease_protocol protocol, size_t index, struct server_health *out)
{
	const struct list *l = list_read(s, protocol);

	if (index >= l->count)
		return false;
	*out = (struct server_health){ servers_host(s, &l->endpoints[index]), l->endpoints[index], &l->health[index] };
	return true;
}

static void log_health_of(const struct servers *s, enum lease_protocol protocol, const char *name)
{
	struct server_health h;
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; servers_health(s, protocol, i, &h); i++)
		log_info("%s %s %s host=%s state=%s answered=%llu failed=%llu rtt=%u ms%s", s->config.what, name, endpoint_text(&h.at, text),
			h.host ? h.host : "?", health_sick(h.health) ? "silent" : h.health->answered ? "well" : "unknown",
			(unsigned long long)h.health->answered, (unsigned long long)h.health->failed, h.health->rtt_ms,
			h.health->hangs_up ? " hangs-up" : "");
}

void servers_log_health(const struct servers *s)
{
	log_health_of(s, LEASE_UDP, "UDP");
	log_health_of(s, LEASE_TCP, "TCP");
}

void servers_text(const struct servers *s, enum lease_protocol protocol, char *buf, size_t max)
{
	const struct list *l = list_read(s, protocol);
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
