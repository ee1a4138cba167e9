/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/udp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/bind.h"
#include "server/peer.h"
#include "server/spread.h"
#include "server/template.h"
#include "sys/clock.h"
#include "sys/log.h"

#define ROUNDS 4	/* batches of one socket before the others have their turn */
#define BUFFER (4 << 20) /* per socket, see net_buffers; the kernel doubles it: 10,000 questions, 40 ms of them at 250,000 a second */
#define SHORT  256	/* a question up to this long has an answer that fits BATCH_ROOM */

static_assert(SHORT + NODE_OVERHEAD <= BATCH_ROOM, "a short question's hand-over fits, too");

struct udp_socket {
	struct watch watch;
	struct udp *udp;
	unsigned address, port;
};

struct udp {
	struct udp_settings set;
	struct udp_socket sockets[SITE_ADDRESSES][SITE_PORTS]; /* watch.fd -1: none */
	struct templates templates, alone; /* of the site, and of what it is without the peer */
	uint8_t large[ANSWER_MAX]; /* the answer to a question that is not short */
};

static unsigned lane_of(const struct answer *a)
{
	return a->address * SITE_PORTS + a->port;
}

static bool link_local(const struct endpoint *e)
{
	return e->family == ENDPOINT_IPV6 && e->ip[0] == 0xfe && (e->ip[1] & 0xc0) == 0x80;
}

static bool allowed(const struct udp *udp, const struct endpoint *from, uint64_t now_us)
{
	return !udp->set.limit || limit_take(udp->set.limit, from, now_us);
}

/* Sends the answer in udp->large: it may have to leave in fragments, which no short one does. */
static enum count large_send(struct udp *udp, const struct answer *a, const struct endpoint *from, unsigned ifindex,
	enum count outcome)
{
	const int fd = udp->sockets[a->address][a->port].watch.fd;
	int err;

	net_fragments(fd, true);
	err = net_send(fd, udp->large, a->len, &a->to, from, ifindex);
	net_fragments(fd, false);
	return err < 0 ? COUNT_SEND_FAILED : outcome;
}

/* In any-mode the site is what was asked, and the answer leaves from there. */
static enum count serve_any(struct udp *udp, unsigned i, struct question *q, uint64_t now_us)
{
	struct batch *b = udp->set.batch;
	const bool is_short = q->len <= SHORT;
	uint8_t *buf = is_short ? batch_room(b, i) : udp->large;
	struct site here = { 0 };
	struct endpoint to;
	struct answer a;
	unsigned ifindex;
	enum count outcome;

	batch_to(b, i, &to, &ifindex);
	here.origin[0][0] = to;
	here.origin[0][0].port = udp->set.place->local[0][0].port;
	q->site = &here;
	outcome = answer_to(q, buf, is_short ? BATCH_ROOM : ANSWER_MAX, &a);
	if (a.len == 0)
		return outcome;
	if (!allowed(udp, &q->from, now_us))
		return COUNT_RATE_LIMITED;
	/* The interface only where the address needs it: the way back may be another than the way here. */
	ifindex = link_local(&a.to) ? ifindex : 0;
	if (!is_short)
		return large_send(udp, &a, &to, ifindex, outcome);
	batch_put_from(b, i, a.len, a.to.port, &to, ifindex);
	return outcome;
}

/* An answer on its way out: in the batch's room when it is short. */
struct draft {
	uint8_t *buf;
	size_t max;
	bool is_short;
	struct answer a;
};

static enum count draft_write(struct udp *udp, unsigned i, const struct templates *t, const struct question *q, struct draft *d)
{
	d->is_short = q->len <= SHORT;
	d->buf = d->is_short ? batch_room(udp->set.batch, i) : udp->large;
	d->max = d->is_short ? BATCH_ROOM : ANSWER_MAX;
	return template_answer(t, q, d->buf, &d->a) ? COUNT_ANSWERED : answer_to(q, d->buf, d->max, &d->a);
}

/* To somebody else than the i-th datagram's sender. */
static enum count send_to(struct udp *udp, unsigned i, const struct draft *d, enum count outcome)
{
	if (!d->is_short)
		return large_send(udp, &d->a, NULL, 0, outcome);
	batch_put_to(udp->set.batch, i, lane_of(&d->a), d->a.len, &d->a.to);
	return outcome;
}

/* The answer is the peer's to give: what goes out is the question, in the answer's place. */
static enum count hand_over(struct udp *udp, unsigned i, const struct question *q, struct draft *d)
{
	struct peer *peer = udp->set.place->peer;

	d->a = (struct answer){ .len = peer_hand_over(peer, q, d->buf, d->max), .to = *peer_endpoint(peer) };
	return d->a.len == 0 ? COUNT_SEND_FAILED : send_to(udp, i, d, COUNT_NODE_HANDED);
}

/* What came from the peer, or says so. Its clients had their limit there. */
static enum count serve_peer(struct udp *udp, unsigned i, const struct question *said)
{
	struct question q;
	struct draft d;
	const enum count outcome = peer_receive(udp->set.place->peer, said, &q, udp->set.counts);

	if (outcome != COUNT_NODE_ANSWERED)
		return outcome;
	/* The peer hands over nothing that is not answered, and from here. */
	if (draft_write(udp, i, &udp->templates, &q, &d) != COUNT_ANSWERED || d.a.len == 0 || d.a.address != 0)
		return COUNT_NODE_REFUSED;
	return send_to(udp, i, &d, outcome);
}

static enum count serve(struct udp *udp, unsigned i, const struct templates *t, const struct question *q, uint64_t now_us)
{
	struct draft d;
	const enum count outcome = draft_write(udp, i, t, q, &d);

	if (d.a.len == 0)
		return outcome;
	if (!allowed(udp, &q->from, now_us))
		return COUNT_RATE_LIMITED;
	if (udp->sockets[d.a.address][d.a.port].watch.fd < 0)
		return hand_over(udp, i, q, &d);
	if (!d.is_short)
		return large_send(udp, &d.a, NULL, 0, outcome);
	batch_put(udp->set.batch, i, lane_of(&d.a), d.a.len, d.a.to.port);
	return outcome;
}

/* The i-th datagram of the batch, as a question that came to this socket. */
static enum count serve_one(struct udp_socket *s, unsigned i, uint64_t now_us)
{
	struct udp *udp = s->udp;
	const struct place *place = udp->set.place;
	struct question q = { .site = &place->site, .address = s->address, .port = s->port, .from = batch_from(udp->set.batch, i) };

	q.bytes = batch_bytes(udp->set.batch, i, &q.len);
	if (place->any)
		return serve_any(udp, i, &q, now_us);
	if (place->peer && peer_speaks(q.bytes, q.len))
		return serve_peer(udp, i, &q);
	if (place->peer)
		q.site = peer_site(place->peer);
	return serve(udp, i, q.site == &place->site ? &udp->templates : &udp->alone, &q, now_us);
}

static void answers_send(struct udp *udp)
{
	for (unsigned lane = 0; lane < BATCH_LANES; lane++) {
		const int fd = udp->sockets[lane / SITE_PORTS][lane % SITE_PORTS].watch.fd;

		for (unsigned failed = batch_send(udp->set.batch, lane, fd); failed > 0; failed--)
			counts_add(udp->set.counts, COUNT_SEND_FAILED);
	}
}

static void readable(struct watch *w, uint32_t events)
{
	struct udp_socket *s = (struct udp_socket *)w;
	struct udp *udp = s->udp;
	int n = BATCH;

	(void)events;
	for (int round = 0; round < ROUNDS && n == BATCH; round++) {
		const uint64_t now_us = clock_us();

		n = batch_receive(udp->set.batch, w->fd, udp->set.place->any);
		for (int i = 0; i < n; i++)
			counts_add(udp->set.counts, serve_one(s, (unsigned)i, now_us));
		answers_send(udp);
	}
}

/* The first worker's socket is bound alone, so that a port that is taken is noticed, and then lets the others in. */
static int spread(const struct udp_settings *set, int fd, enum endpoint_family family)
{
	int err = 0;

	if (set->worker_count > 1 && set->worker == 0)
		err = spread_share(fd);
	if (set->worker == 1)
		err = spread_by_source(fd, family, set->worker_count);
	if (err < 0)
		log_error("cannot spread datagrams over workers: %s", strerror(-err));
	return err;
}

static int socket_open(struct udp *udp, unsigned address, unsigned port)
{
	const struct udp_settings *set = &udp->set;
	const struct endpoint *local = &set->place->local[address][port];
	struct udp_socket *s = &udp->sockets[address][port];
	int err;

	*s = (struct udp_socket){ .watch = { .ready = readable, .fd = -1 }, .udp = udp, .address = address, .port = port };
	if (local->family == ENDPOINT_NONE)
		return 0;
	err = bind_open(&s->watch.fd, SOCK_DGRAM, local, (set->place->any ? NET_PKTINFO : 0) | (set->worker ? NET_BESIDE : 0));
	if (err < 0)
		return err;
	net_buffers(s->watch.fd, BUFFER);
	net_fragments(s->watch.fd, false);
	err = spread(set, s->watch.fd, (enum endpoint_family)local->family);
	return err < 0 ? err : loop_add(set->loop, &s->watch, EPOLLIN);
}

int udp_new(struct udp **out, const struct udp_settings *settings)
{
	struct udp *udp = calloc(1, sizeof(*udp));
	int err = 0;

	if (!udp)
		return -ENOMEM;
	udp->set = *settings;
	templates_make(&udp->templates, &settings->place->site);
	if (settings->place->peer)
		templates_make(&udp->alone, peer_alone(settings->place->peer));
	for (unsigned i = 0; i < SITE_ADDRESSES * SITE_PORTS; i++) {
		const int e = socket_open(udp, i / SITE_PORTS, i % SITE_PORTS);

		err = err < 0 ? err : e; /* all are tried: every port that is taken is named */
	}
	if (err < 0) {
		udp_free(udp);
		return err;
	}
	*out = udp;
	return 0;
}

uint64_t udp_dropped(const struct udp *udp)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < SITE_ADDRESSES * SITE_PORTS; i++)
		if (udp->sockets[i / SITE_PORTS][i % SITE_PORTS].watch.fd >= 0)
			n += net_dropped(udp->sockets[i / SITE_PORTS][i % SITE_PORTS].watch.fd);
	return n;
}

int udp_fd(const struct udp *udp)
{
	return udp->sockets[0][0].watch.fd;
}

void udp_free(struct udp *udp)
{
	for (unsigned i = 0; udp && i < SITE_ADDRESSES * SITE_PORTS; i++)
		if (udp->sockets[i / SITE_PORTS][i % SITE_PORTS].watch.fd >= 0)
			close(udp->sockets[i / SITE_PORTS][i % SITE_PORTS].watch.fd);
	free(udp);
}
