/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/stun.h"
#include "server/bind.h"
#include "server/peer.h"
#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/net.h"

#define LISTENERS	(PLACES * SITE_ADDRESSES * SITE_PORTS)
#define BUCKETS		1024 /* power of 2 */
#define ACCEPT_BURST	64
#define ACCEPT_PAUSE_MS 100
#define READ_MAX	4096  /* bytes of one connection before the others have their turn */
#define BATCH_MAX	16384
#define KERNEL_BUFFER	4096  /* a message is short: megabytes per connection would only serve an attacker */

struct listener {
	struct watch watch;
	struct tcp *tcp;
	const struct place *place;
	unsigned address, port;
};

/* Bytes that wait: NULL and 0 when none do, which is nearly always. */
struct held {
	uint8_t *bytes;
	size_t len;
};

struct conn {
	struct watch watch;
	struct tcp *tcp;
	struct listener *listener;
	struct endpoint from;
	struct held in, out;
	bool ended;		       /* the client has sent all it will: close once out is gone */
	uint64_t active_ms;	       /* accepted, or the last whole message */
	struct conn *older, *newer;    /* by active_ms */
	struct conn **link, *bucket_next; /* link: what points here in the bucket */
};

struct tcp {
	struct tcp_settings set;
	struct listener listeners[LISTENERS];
	size_t listener_count;
	uint32_t count;
	struct conn *oldest, *newest;
	struct conn *buckets[BUCKETS]; /* by source */
	uint64_t paused_until_ms;      /* out of descriptors: no accepting until then; 0: not paused */
	struct log_limit accept_log;
};

/* The bytes that tell sources apart: an IPv4 address; of IPv6 the /64, which one host has all of. */
static size_t source_len(const struct endpoint *e)
{
	return e->family == ENDPOINT_IPV6 ? 8 : 4;
}

static bool same_source(const struct endpoint *a, const struct endpoint *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, source_len(a)) == 0;
}

static struct conn **bucket_of(struct tcp *tcp, const struct endpoint *from)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < source_len(from); i++)
		h = (h ^ from->ip[i]) * 16777619u;
	return &tcp->buckets[(h ^ h >> 16) % BUCKETS];
}

static uint32_t count_source(struct tcp *tcp, const struct endpoint *from)
{
	uint32_t n = 0;

	for (const struct conn *c = *bucket_of(tcp, from); c; c = c->bucket_next)
		n += same_source(&c->from, from);
	return n;
}

static void age_remove(struct tcp *tcp, struct conn *c)
{
	*(c->older ? &c->older->newer : &tcp->oldest) = c->newer;
	*(c->newer ? &c->newer->older : &tcp->newest) = c->older;
}

static void age_append(struct tcp *tcp, struct conn *c)
{
	c->older = tcp->newest;
	c->newer = NULL;
	*(tcp->newest ? &tcp->newest->newer : &tcp->oldest) = c;
	tcp->newest = c;
}

static void touch(struct conn *c, uint64_t now_ms)
{
	c->active_ms = now_ms;
	age_remove(c->tcp, c);
	age_append(c->tcp, c);
}

static void conn_free(struct conn *c)
{
	age_remove(c->tcp, c);
	*c->link = c->bucket_next;
	if (c->bucket_next)
		c->bucket_next->link = c->link;
	c->tcp->count--;
	close(c->watch.fd);
	free(c->in.bytes);
	free(c->out.bytes);
	free(c);
}

static void conn_close(struct conn *c, enum count why)
{
	counts_add(c->tcp->set.counts, why);
	conn_free(c);
}

/* Keeps a copy of these bytes instead of those held. -ENOMEM. */
static int hold(struct held *h, const uint8_t *bytes, size_t len)
{
	uint8_t *copy = NULL;

	if (len > 0) {
		copy = malloc(len);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, bytes, len);
	}
	free(h->bytes);
	*h = (struct held){ copy, len };
	return 0;
}

static int hold_more(struct held *h, const uint8_t *bytes, size_t len)
{
	uint8_t *more = realloc(h->bytes, h->len + len);

	if (!more)
		return -ENOMEM;
	memcpy(more + h->len, bytes, len);
	*h = (struct held){ more, h->len + len };
	return 0;
}

/* Sends what the kernel takes: how much that was, or a negative errno. */
static ssize_t send_some(int fd, const uint8_t *bytes, size_t len)
{
	const ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static void watch_for(struct conn *c)
{
	loop_change(c->tcp->set.loop, &c->watch, (c->ended ? 0 : EPOLLIN) | (c->out.len > 0 ? EPOLLOUT : 0));
}

/* Sends answers, behind those that wait already; keeps what the kernel does not take. */
static int answers_send(struct conn *c, const uint8_t *bytes, size_t len)
{
	ssize_t sent = 0;

	if (c->out.len == 0)
		sent = send_some(c->watch.fd, bytes, len);
	if (sent < 0)
		return (int)sent;
	if ((size_t)sent == len)
		return 0;
	if (c->out.len + len - (size_t)sent > TCP_UNSENT_MAX)
		return -ENOBUFS;
	return hold_more(&c->out, bytes + sent, len - (size_t)sent);
}

/* Answers to the messages of one read, so that they leave together. */
struct batch {
	uint8_t bytes[BATCH_MAX];
	size_t len;
};

static int batch_send(struct conn *c, struct batch *b)
{
	const int err = b->len > 0 ? answers_send(c, b->bytes, b->len) : 0;

	b->len = 0;
	return err;
}

/* Answers one message. -EBADMSG when it is no STUN, or what sending says. */
static int serve_one(struct conn *c, struct question *q, struct batch *b)
{
	struct answer a;
	enum count outcome;
	int err = 0;

	if (sizeof(b->bytes) - b->len < ANSWER_TCP_MAX)
		err = batch_send(c, b);
	if (err < 0)
		return err;
	outcome = answer_to(q, b->bytes + b->len, ANSWER_TCP_MAX, &a);
	if (outcome == COUNT_NOT_STUN)
		return -EBADMSG;
	counts_add(c->tcp->set.counts, outcome);
	b->len += a.len;
	return 0;
}

/* Length of the whole message that begins here; 0 when it is not whole yet. -EBADMSG for no STUN, or too long. */
static int whole_message(const uint8_t *bytes, size_t len)
{
	const int n = stun_stream_len(bytes, len);

	if (n < 0 || n > TCP_MESSAGE_MAX)
		return -EBADMSG;
	return (size_t)n <= len ? n : 0;
}

/* Answers every whole message; returns how many bytes that were, -EBADMSG for no STUN, -ENOBUFS for a slow reader. */
static ssize_t serve(struct conn *c, const uint8_t *bytes, size_t len)
{
	const struct listener *l = c->listener;
	struct site here = { 0 };
	const struct site *site = l->place->peer ? peer_site(l->place->peer) : &l->place->site;
	struct question q = { .tcp = true, .site = site, .address = l->address, .port = l->port, .from = c->from };
	struct batch batch = { .len = 0 };
	size_t used = 0;
	int n = 0, err = 0;

	if (l->place->any) {
		net_local(c->watch.fd, &here.origin[0][0]);
		q.site = &here;
	}
	while (err == 0 && (n = whole_message(bytes + used, len - used)) > 0) {
		q.bytes = bytes + used;
		q.len = (size_t)n;
		err = serve_one(c, &q, &batch);
		used += q.len;
	}
	if (err == 0 && n < 0)
		err = n;
	if (err == 0 || err == -EBADMSG) { /* what stood before the bad message was asked in good faith */
		const int e = batch_send(c, &batch);

		err = err < 0 ? err : e;
	}
	return err < 0 ? err : (ssize_t)used;
}

/* Closes as the error says. */
static void conn_fail(struct conn *c, int err)
{
	if (err == -EBADMSG)
		conn_close(c, COUNT_TCP_NOT_STUN);
	else if (err == -ENOBUFS)
		conn_close(c, COUNT_TCP_SLOW);
	else
		conn_free(c); /* gone: reset, or no memory to go on */
}

static void readable(struct conn *c)
{
	uint8_t bytes[TCP_MESSAGE_MAX + READ_MAX];
	const size_t before = c->in.len; /* below TCP_MESSAGE_MAX: less than a whole message */
	ssize_t n, used;
	int err;

	if (before > 0)
		memcpy(bytes, c->in.bytes, before);
	n = recv(c->watch.fd, bytes + before, READ_MAX, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (n == 0 && c->out.len == 0)) {
		conn_free(c);
		return;
	}
	c->ended = n == 0;
	used = serve(c, bytes, before + (size_t)n);
	if (used < 0) {
		conn_fail(c, (int)used);
		return;
	}
	if (used > 0)
		touch(c, clock_ms());
	err = hold(&c->in, bytes + used, before + (size_t)n - (size_t)used);
	if (err < 0)
		conn_fail(c, err);
	else
		watch_for(c);
}

static void writable(struct conn *c)
{
	const ssize_t sent = send_some(c->watch.fd, c->out.bytes, c->out.len);

	if (sent < 0 || (c->ended && (size_t)sent == c->out.len)) {
		conn_free(c);
		return;
	}
	memmove(c->out.bytes, c->out.bytes + sent, c->out.len - (size_t)sent);
	c->out.len -= (size_t)sent;
	if (c->out.len == 0)
		hold(&c->out, NULL, 0);
	watch_for(c);
}

static void conn_ready(struct watch *w, uint32_t events)
{
	struct conn *c = (struct conn *)w;

	if (events & EPOLLOUT)
		writable(c);
	else if (events & EPOLLIN)
		readable(c);
	else
		conn_free(c); /* EPOLLERR, EPOLLHUP */
}

/* May another connection of this source be held? Else the row it is refused under. */
static bool within_limits(struct tcp *tcp, const struct endpoint *from, enum count *why)
{
	if (tcp->count >= tcp->set.max) {
		*why = COUNT_TCP_REFUSED;
		return false;
	}
	*why = COUNT_TCP_REFUSED_SOURCE;
	return count_source(tcp, from) < tcp->set.max_per_source;
}

/* Takes an accepted connection over; the caller keeps the descriptor on failure. */
static int conn_new(struct listener *l, int fd, const struct endpoint *from)
{
	struct tcp *tcp = l->tcp;
	struct conn **bucket = bucket_of(tcp, from);
	struct conn *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	*c = (struct conn){ .watch = { .ready = conn_ready, .fd = fd }, .tcp = tcp, .listener = l, .from = *from,
		.active_ms = clock_ms(), .link = bucket, .bucket_next = *bucket };
	err = loop_add(tcp->set.loop, &c->watch, EPOLLIN);
	if (err < 0) {
		free(c);
		return err;
	}
	if (*bucket)
		(*bucket)->link = &c->bucket_next;
	*bucket = c;
	age_append(tcp, c);
	tcp->count++;
	return 0;
}

static void accepted(struct listener *l, int fd, const struct endpoint *from)
{
	enum count why = COUNT_TCP_ACCEPT_FAILED;

	if (within_limits(l->tcp, from, &why))
		why = conn_new(l, fd, from) < 0 ? COUNT_TCP_ACCEPT_FAILED : COUNT_TCP_ACCEPTED;
	if (why != COUNT_TCP_ACCEPTED)
		close(fd);
	counts_add(l->tcp->set.counts, why);
}

static void listeners_watch(struct tcp *tcp, uint32_t events)
{
	for (size_t i = 0; i < tcp->listener_count; i++)
		loop_change(tcp->set.loop, &tcp->listeners[i].watch, events);
}

/* The connection stays in the queue and keeps the listener readable: without a pause the loop would spin. */
static void accept_pause(struct tcp *tcp, int err)
{
	const uint64_t now_ms = clock_ms();
	uint64_t skipped;

	counts_add(tcp->set.counts, COUNT_TCP_ACCEPT_FAILED);
	tcp->paused_until_ms = now_ms + ACCEPT_PAUSE_MS;
	listeners_watch(tcp, 0);
	if (log_allowed(&tcp->accept_log, 60000, now_ms, &skipped))
		log_warn("cannot accept: %s connections=%u", strerror(err), tcp->count);
}

static bool passing(int err)
{
	return err == ECONNABORTED || err == EINTR || err == EPROTO || err == ENETDOWN || err == EHOSTUNREACH ||
		err == ENETUNREACH || err == EPERM; /* of that one connection, accept(2) */
}

static void acceptable(struct watch *w, uint32_t events)
{
	struct listener *l = (struct listener *)w;

	(void)events;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		struct sockaddr_storage addr = { 0 };
		socklen_t len = sizeof(addr);
		const int fd = accept4(w->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct endpoint from;

		if (fd < 0 && passing(errno))
			continue;
		if (fd < 0) {
			if (errno != EAGAIN)
				accept_pause(l->tcp, errno);
			return;
		}
		from = net_endpoint(&addr);
		accepted(l, fd, &from);
	}
}

/* What connections inherit from their listener. Best effort. */
static void listener_tune(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ KERNEL_BUFFER }, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ KERNEL_BUFFER }, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

int tcp_listen(struct tcp *tcp, const struct place *place, unsigned address, unsigned port)
{
	struct listener *l = &tcp->listeners[tcp->listener_count];
	CLEANUP(close_fd) int fd = -1;
	int err = bind_open(&fd, SOCK_STREAM, &place->local[address][port], NET_REUSE);

	if (err < 0)
		return err;
	listener_tune(fd);
	*l = (struct listener){ .watch = { .ready = acceptable, .fd = fd }, .tcp = tcp, .place = place, .address = address,
		.port = port };
	err = loop_add(tcp->set.loop, &l->watch, EPOLLIN);
	if (err < 0)
		return err;
	fd = -1; /* handed over */
	tcp->listener_count++;
	return 0;
}

static int until(uint64_t then_ms, uint64_t now_ms)
{
	return then_ms > now_ms ? (int)(then_ms - now_ms) : 0;
}

int tcp_tick(struct tcp *tcp, uint64_t now_ms)
{
	int wait = -1;

	while (tcp->oldest && tcp->oldest->active_ms + tcp->set.idle_ms <= now_ms)
		conn_close(tcp->oldest, COUNT_TCP_IDLE);
	if (tcp->oldest)
		wait = until(tcp->oldest->active_ms + tcp->set.idle_ms, now_ms);
	if (tcp->paused_until_ms == 0)
		return wait;
	if (now_ms >= tcp->paused_until_ms) {
		tcp->paused_until_ms = 0;
		listeners_watch(tcp, EPOLLIN);
		return wait;
	}
	const int paused = until(tcp->paused_until_ms, now_ms);

	return wait < 0 || paused < wait ? paused : wait;
}

void tcp_limits(struct tcp *tcp, uint32_t max, uint32_t max_per_source, uint32_t idle_ms)
{
	tcp->set.max = max;
	tcp->set.max_per_source = max_per_source;
	tcp->set.idle_ms = idle_ms;
}

int tcp_new(struct tcp **out, const struct tcp_settings *settings)
{
	struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return -ENOMEM;
	tcp->set = *settings;
	*out = tcp;
	return 0;
}

void tcp_free(struct tcp *tcp)
{
	if (!tcp)
		return;
	while (tcp->oldest)
		conn_free(tcp->oldest);
	for (size_t i = 0; i < tcp->listener_count; i++)
		close(tcp->listeners[i].watch.fd);
	free(tcp);
}
