/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/bind.h"
#include "sys/net.h"

#define BURST 64 /* datagrams of one socket before the others have their turn */

struct udp_socket {
	struct watch watch;
	struct udp *udp;
	unsigned address, port;
};

struct udp {
	const struct place *place;
	struct counts *counts;
	struct udp_socket sockets[SITE_ADDRESSES][SITE_PORTS]; /* watch.fd -1: none */
	uint8_t in[65535];
	uint8_t out[ANSWER_MAX];
};

/* One datagram as it came: from whom, and in any-mode to which local address. */
struct datagram {
	size_t len;
	struct endpoint from, to;
	unsigned ifindex;
};

static bool link_local(const struct endpoint *e)
{
	return e->family == ENDPOINT_IPV6 && e->ip[0] == 0xfe && (e->ip[1] & 0xc0) == 0x80;
}

static int answer_send(const struct udp *udp, const struct datagram *d, const struct answer *a)
{
	const int fd = udp->sockets[a->address][a->port].watch.fd;

	if (!udp->place->any)
		return net_send(fd, udp->out, a->len, &a->to, NULL, 0);
	/* The interface only where the address needs it: the way back may be another than the way here. */
	return net_send(fd, udp->out, a->len, &a->to, &d->to, link_local(&a->to) ? d->ifindex : 0);
}

static void serve(struct udp_socket *s, const struct datagram *d)
{
	struct udp *udp = s->udp;
	struct site here = { 0 };
	struct question q = { .bytes = udp->in, .len = d->len, .site = &udp->place->site, .address = s->address,
		.port = s->port, .from = d->from };
	struct answer a;
	enum count outcome;

	if (udp->place->any) {
		here.origin[0][0] = d->to;
		here.origin[0][0].port = udp->place->local[0][0].port;
		q.site = &here;
	}
	outcome = answer_to(&q, udp->out, sizeof(udp->out), &a);
	if (a.len > 0 && answer_send(udp, d, &a) < 0)
		outcome = COUNT_SEND_FAILED;
	udp->counts->of[outcome]++;
}

static void readable(struct watch *w, uint32_t events)
{
	struct udp_socket *s = (struct udp_socket *)w;
	struct datagram d;

	(void)events;
	for (int i = 0; i < BURST; i++) {
		const int len = net_receive(w->fd, s->udp->in, sizeof(s->udp->in), &d.from, &d.to, &d.ifindex);

		if (len < 0)
			return;
		d.len = (size_t)len;
		serve(s, &d);
	}
}

static int socket_open(struct udp *udp, unsigned address, unsigned port, struct loop *loop)
{
	struct udp_socket *s = &udp->sockets[address][port];
	int err;

	*s = (struct udp_socket){ .watch = { .ready = readable, .fd = -1 }, .udp = udp, .address = address, .port = port };
	if (udp->place->local[address][port].family == ENDPOINT_NONE)
		return 0;
	err = bind_open(&s->watch.fd, SOCK_DGRAM, &udp->place->local[address][port], udp->place->any ? NET_PKTINFO : 0);
	return err < 0 ? err : loop_add(loop, &s->watch, EPOLLIN);
}

int udp_new(struct udp **out, const struct place *place, struct loop *loop, struct counts *counts)
{
	struct udp *udp = calloc(1, sizeof(*udp));
	int err = 0;

	if (!udp)
		return -ENOMEM;
	udp->place = place;
	udp->counts = counts;
	for (unsigned i = 0; i < SITE_ADDRESSES * SITE_PORTS; i++) {
		const int e = socket_open(udp, i / SITE_PORTS, i % SITE_PORTS, loop);

		err = err < 0 ? err : e; /* all are tried: every port that is taken is named */
	}
	if (err < 0) {
		udp_free(udp);
		return err;
	}
	*out = udp;
	return 0;
}

void udp_free(struct udp *udp)
{
	for (unsigned i = 0; udp && i < SITE_ADDRESSES * SITE_PORTS; i++)
		if (udp->sockets[i / SITE_PORTS][i % SITE_PORTS].watch.fd >= 0)
			close(udp->sockets[i / SITE_PORTS][i % SITE_PORTS].watch.fd);
	free(udp);
}
