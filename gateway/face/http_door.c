/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/http_door.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/holder.h"
#include "sys/log.h"
#include "sys/net.h"

#define LISTENERS_MAX (2 + CONFIG_LANS_MAX * NETIF_SUBNETS)
#define BACKLOG	      64
#define BURST	      16 /* connections per wake-up */
#define TICK_MS	      1000
#define RETRY_TICKS   5
#define SILENCE_MS    30000 /* what was sent and nobody acknowledges, or a connection on which nothing comes and goes, and no answer to the kernel's questions */

struct listener {
	struct door *door;
	uv_poll_t poll;
	struct endpoint at;
	int fd, said; /* fd -1: cannot be had just now; said: the error in the log */
	bool named;
};

struct door {
	uv_loop_t *loop;
	const struct config *config;
	struct door_callbacks callbacks;
	void *owner;
	uv_timer_t tick;
	uint64_t ticks, number;
	struct netif lans[CONFIG_LANS_MAX];
	size_t lan_count;
	unsigned loopback; /* its index */
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct visitor *visitors;
	size_t visitor_count; /* those that were ended included */
	bool serving, closed;
	size_t handles; /* not closed yet */
};

static void release(struct door *d)
{
	if (--d->handles == 0 && d->closed)
		free(d);
}

/* --- visitors --- */

struct visitor *door_find(const struct door *d, int fd)
{
	struct visitor *v = d->visitors;

	while (v && v->fd != fd)
		v = v->next;
	return v;
}

static const struct netif *find_lan(const struct door *d, unsigned index)
{
	for (size_t i = 0; i < d->lan_count; i++)
		if (d->lans[i].index == index)
			return &d->lans[i];
	return NULL;
}

static bool is_loopback(const struct endpoint *e)
{
	static const uint8_t one[16] = { [15] = 1 };

	return e->family == ENDPOINT_IPV4 ? e->ip[0] == 127 : e->family == ENDPOINT_IPV6 && memcmp(e->ip, one, sizeof(one)) == 0;
}

bool visitor_is_neighbour(const struct visitor *v)
{
	const struct netif *lan = find_lan(v->door, v->interface);

	return is_loopback(&v->client) || (v->interface && v->interface == v->door->loopback) ||
		(lan && netif_is_neighbour(lan, endpoint_ip32(&v->client)));
}

bool visitor_may_ask_for(const struct visitor *v, const struct endpoint *ip)
{
	const struct door *d = v->door;

	if (is_loopback(ip) || endpoint_same_ip(ip, &v->local))
		return true;
	for (size_t i = 0; i < d->lan_count; i++)
		if (ip->family == ENDPOINT_IPV4 && netif_owns(&d->lans[i], endpoint_ip32(ip)))
			return true;
	return false;
}

void visitor_due(struct visitor *v, uint32_t after_ms, bool idle)
{
	v->due_ms = after_ms ? clock_ms() + after_ms : 0;
	v->idle = idle;
	v->number = v->door->number++;
}

void visitor_end(struct visitor *v)
{
	if (v->ended)
		return;
	v->ended = true;
	shutdown(v->fd, SHUT_RDWR);
	v->door->callbacks.ended(v->door->owner);
}

static void changed(uv_poll_t *poll, int status, int events)
{
	struct visitor *v = poll->data;
	void (*gone)(void *data) = v->gone;

	if (status == 0 && !(events & UV_DISCONNECT))
		return;
	uv_poll_stop(poll);
	v->gone = NULL;
	if (gone)
		gone(v->gone_data);
}

void visitor_watch(struct visitor *v, void (*gone)(void *data), void *data)
{
	v->gone = gone;
	v->gone_data = data;
	if (gone)
		uv_poll_start(&v->watch, UV_DISCONNECT, changed);
	else
		uv_poll_stop(&v->watch);
}

static void visitor_closed(uv_handle_t *handle)
{
	struct visitor *v = handle->data;

	release(v->door);
	free(v);
}

void visitor_leave(struct visitor *v)
{
	struct door *d = v->door;
	struct visitor **at = &d->visitors;

	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	d->visitor_count--;
	uv_close((uv_handle_t *)&v->watch, visitor_closed);
}

/* --- room for one more --- */

struct crowd {
	size_t all, of_client, idle_of_client;
	struct visitor *oldest, *oldest_of_client; /* idle ones */
};

static void older(struct visitor **oldest, struct visitor *v)
{
	if (!*oldest || v->number < (*oldest)->number)
		*oldest = v;
}

static struct crowd look_around(const struct door *d, const struct endpoint *client)
{
	struct crowd c = { 0 };

	for (struct visitor *v = d->visitors; v; v = v->next) {
		const bool own = endpoint_same_ip(&v->client, client);

		if (v->ended)
			continue;
		c.all++;
		c.of_client += own;
		c.idle_of_client += own && v->idle;
		if (v->idle)
			older(&c.oldest, v);
		if (v->idle && own)
			older(&c.oldest_of_client, v);
	}
	return c;
}

/* Whoever was ended goes with the next turn; until then he takes a place that is nobody's. */
static bool make_room(struct door *d, const struct endpoint *client)
{
	const struct crowd c = look_around(d, client);
	struct visitor *out = NULL;

	if (d->visitor_count >= 2 * HTTP_CONNECTIONS_MAX)
		return false;
	if (c.idle_of_client >= HTTP_CLIENT_IDLE_MAX || c.of_client >= HTTP_CLIENT_MAX)
		out = c.oldest_of_client;
	else if (c.all >= HTTP_CONNECTIONS_MAX)
		out = c.oldest;
	else
		return true;
	if (out)
		visitor_end(out);
	return out;
}

/* --- who comes in --- */

/* By which interface he came: the kernel remembers it with the options of his first packet. */
static unsigned interface_of(int fd)
{
	union {
		struct cmsghdr head;
		char room[256];
	} control;
	socklen_t len = sizeof(control);
	struct msghdr msg = { .msg_control = &control };

	if (getsockopt(fd, IPPROTO_IP, IP_PKTOPTIONS, &control, &len) < 0)
		return 0;
	msg.msg_controllen = len;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct in_pktinfo info;

		if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		return (unsigned)info.ipi_ifindex;
	}
	return 0;
}

/* Who vanishes without a word is found out. */
static void set_patience(int fd)
{
	const unsigned ms = SILENCE_MS;

	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ SILENCE_MS / 2000 }, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){ SILENCE_MS / 6000 }, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
}

static void turn_away(int fd)
{
	static const char crowded[] = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

	send(fd, crowded, sizeof(crowded) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

void door_enter(struct door *d, int fd, const struct endpoint *client)
{
	struct visitor *v = make_room(d, client) ? calloc(1, sizeof(*v)) : NULL;

	if (!v || uv_poll_init(d->loop, &v->watch, fd) < 0) {
		free(v);
		turn_away(fd);
		return;
	}
	*v = (struct visitor){ .fd = fd, .client = *client, .interface = interface_of(fd), .door = d, .next = d->visitors, .watch = v->watch };
	v->watch.data = v;
	d->handles++;
	d->visitor_count++;
	d->visitors = v;
	net_local(fd, &v->local);
	set_patience(fd);
	visitor_due(v, HTTP_ARRIVE_MS, true);
	if (!uv_is_active((uv_handle_t *)&d->tick))
		uv_timer_again(&d->tick);
	d->callbacks.admit(d->owner, v);
}

static void pause_all(struct door *d, bool pause);

static bool is_inside(const struct door *d, unsigned interface)
{
	return interface == d->loopback || find_lan(d, interface);
}

static void acceptable(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;

	(void)status, (void)events;
	for (int i = 0; i < BURST; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		struct endpoint client;
		const int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
			pause_all(l->door, true); /* until the next tick, or it would be asked again and again */
		if (fd < 0)
			return;
		client = net_endpoint(&from);
		if (l->named || is_loopback(&l->at) || is_inside(l->door, interface_of(fd)))
			door_enter(l->door, fd, &client);
		else
			close(fd);
	}
}

/* --- where it listens --- */

static void listener_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	release(l->door);
	free(l);
}

static void close_listener(struct listener *l)
{
	if (l->fd >= 0) {
		uv_close((uv_handle_t *)&l->poll, listener_closed);
		close(l->fd);
	} else {
		free(l);
	}
}

static int bind_at(int *out_fd, const struct endpoint *at, bool named)
{
	const unsigned flags = NET_REUSE | NET_PKTINFO;
	int err = net_open(out_fd, SOCK_STREAM, at, flags);

	if (err == -EADDRNOTAVAIL && named)
		err = net_open(out_fd, SOCK_STREAM, at, flags | NET_FREEBIND);
	if (err == 0 && listen(*out_fd, BACKLOG) < 0) {
		err = -errno;
		close(*out_fd);
	}
	return err;
}

static void say(struct listener *l, int err)
{
	char at[ENDPOINT_TEXT_MAX], holder[HOLDER_MAX];

	endpoint_text(&l->at, at);
	if (l->said == err)
		return;
	l->said = err;
	if (err == -EADDRINUSE)
		log_error("TCP port %u on address=%s is held by %s: stop it, or name another address for the web interface with --http", l->at.port,
			at, holder_name(holder, SOCK_STREAM, &l->at));
	else
		log_error("cannot open the web interface on address=%s error=\"%s\": is it what --http should name?", at, strerror(-err));
}

static int open_listener(struct listener *l)
{
	char at[ENDPOINT_TEXT_MAX];
	int err = bind_at(&l->fd, &l->at, l->named);

	if (err == 0 && (err = uv_poll_init(l->door->loop, &l->poll, l->fd)) < 0)
		close(l->fd);
	if (err < 0) {
		l->fd = -1;
		/* A kernel without IPv6, or with it switched off, has no ::1. */
		if (l->named || l->at.family == ENDPOINT_IPV4)
			say(l, err);
		return l->named || l->at.family == ENDPOINT_IPV4 ? err : 0;
	}
	log_info("web interface listening on %s", endpoint_text(&l->at, at));
	l->said = 0;
	l->poll.data = l;
	l->door->handles++;
	if (l->door->serving)
		uv_poll_start(&l->poll, UV_READABLE, acceptable);
	return 0;
}

static void pause_all(struct door *d, bool pause)
{
	for (size_t i = 0; i < d->listener_count; i++) {
		struct listener *l = d->listeners[i];

		if (l->fd < 0)
			continue;
		if (pause)
			uv_poll_stop(&l->poll);
		else
			uv_poll_start(&l->poll, UV_READABLE, acceptable);
	}
}

static size_t wanted(const struct door *d, struct endpoint out[LISTENERS_MAX])
{
	const struct config *c = d->config;
	size_t n = 0;

	if (c->http_none || c->http_count) {
		memcpy(out, c->http, c->http_count * sizeof(out[0]));
		return c->http_none ? 0 : c->http_count;
	}
	out[n++] = endpoint_ipv4(INADDR_LOOPBACK, HTTP_PORT);
	endpoint_parse_ip(&out[n++], "::1", HTTP_PORT);
	for (size_t i = 0; i < d->lan_count; i++)
		for (size_t k = 0; k < d->lans[i].subnet_count; k++)
			out[n++] = endpoint_ipv4(d->lans[i].subnets[k].ip, HTTP_PORT);
	return n;
}

static bool is_listed(const struct endpoint *list, size_t count, const struct endpoint *e)
{
	for (size_t i = 0; i < count; i++)
		if (endpoint_equal(&list[i], e))
			return true;
	return false;
}

static bool listens(const struct door *d, const struct endpoint *at)
{
	for (size_t i = 0; i < d->listener_count; i++)
		if (endpoint_equal(&d->listeners[i]->at, at))
			return true;
	return false;
}

/* Everything that cannot be had is tried again. */
static int open_missing(struct door *d)
{
	int err = 0, one;

	for (size_t i = 0; i < d->listener_count; i++)
		if (d->listeners[i]->fd < 0 && (one = open_listener(d->listeners[i])) < 0)
			err = one;
	return err;
}

int door_follow(struct door *d, const struct netif *lans, size_t count)
{
	struct endpoint at[LISTENERS_MAX];
	size_t n;

	d->lan_count = count;
	for (size_t i = 0; i < count; i++)
		d->lans[i] = lans[i];
	n = wanted(d, at);
	for (size_t i = d->listener_count; i-- > 0;) {
		if (is_listed(at, n, &d->listeners[i]->at))
			continue;
		close_listener(d->listeners[i]);
		d->listeners[i] = d->listeners[--d->listener_count];
	}
	for (size_t i = 0; i < n; i++) {
		struct listener *l = listens(d, &at[i]) ? NULL : calloc(1, sizeof(*l));

		if (!l)
			continue;
		*l = (struct listener){ .door = d, .at = at[i], .fd = -1, .named = d->config->http_count > 0 };
		d->listeners[d->listener_count++] = l;
	}
	if (!uv_is_active((uv_handle_t *)&d->tick))
		uv_timer_again(&d->tick);
	return open_missing(d);
}

/* --- time --- */

static void tick(uv_timer_t *timer)
{
	struct door *d = timer->data;
	const uint64_t now_ms = clock_ms();
	bool missing = false;

	for (struct visitor *v = d->visitors, *next; v; v = next) {
		next = v->next;
		if (v->due_ms && v->due_ms <= now_ms)
			visitor_end(v);
	}
	if (++d->ticks % RETRY_TICKS == 0)
		open_missing(d);
	if (d->serving)
		pause_all(d, false);
	for (size_t i = 0; i < d->listener_count; i++)
		missing |= d->listeners[i]->fd < 0 && d->listeners[i]->said;
	if (!missing && !d->visitors)
		uv_timer_stop(timer);
}

int door_open(struct door **out, uv_loop_t *loop, const struct config *config, const struct door_callbacks *callbacks, void *owner)
{
	struct door *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	*d = (struct door){ .loop = loop, .config = config, .callbacks = *callbacks, .owner = owner, .loopback = if_nametoindex("lo"), .handles = 1 };
	uv_timer_init(loop, &d->tick);
	d->tick.data = d;
	uv_timer_start(&d->tick, tick, TICK_MS, TICK_MS);
	*out = d;
	return 0;
}

void door_serve(struct door *d)
{
	d->serving = true;
	pause_all(d, false);
}

static void tick_closed(uv_handle_t *handle)
{
	release(handle->data);
}

void door_close(struct door *d)
{
	if (!d)
		return;
	d->closed = true;
	for (size_t i = 0; i < d->listener_count; i++)
		close_listener(d->listeners[i]);
	d->listener_count = 0;
	uv_close((uv_handle_t *)&d->tick, tick_closed);
}
