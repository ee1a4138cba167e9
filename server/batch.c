/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * Each datagram's bytes begin on a page of their own, so that long ones cost memory only
 * where they come; and two cache lines later than the one before, lest all compete for
 * the same lines.
 */
#define STRIDE (65536 + 128)

struct lane {
	struct mmsghdr messages[BATCH];
	struct iovec iov[BATCH];
	unsigned count;
};

struct batch {
	uint8_t *bytes; /* BATCH times STRIDE */
	struct mmsghdr in[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_storage from[BATCH];
	struct net_control control[BATCH];
	struct lane lanes[BATCH_LANES];
	uint8_t rooms[BATCH][BATCH_ROOM];
};

int batch_new(struct batch **out)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->bytes = mmap(NULL, (size_t)BATCH * STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->bytes == MAP_FAILED) {
		free(b);
		return -ENOMEM;
	}
	madvise(b->bytes, (size_t)BATCH * STRIDE, MADV_NOHUGEPAGE);
	memset(b->lanes, 0, sizeof(b->lanes)); /* touched, as the first page of each datagram is: no load makes us grow */
	memset(b->rooms, 0, sizeof(b->rooms));
	for (unsigned i = 0; i < BATCH; i++) {
		memset(b->bytes + (size_t)i * STRIDE, 0, BATCH_ROOM);
		b->iov[i] = (struct iovec){ b->bytes + (size_t)i * STRIDE, BATCH_IN_MAX };
		b->in[i].msg_hdr = (struct msghdr){ .msg_name = &b->from[i], .msg_iov = &b->iov[i], .msg_iovlen = 1 };
	}
	*out = b;
	return 0;
}

void batch_free(struct batch *b)
{
	if (!b)
		return;
	munmap(b->bytes, (size_t)BATCH * STRIDE);
	free(b);
}

int batch_receive(struct batch *b, int fd, bool pktinfo)
{
	int n;

	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *m = &b->in[i].msg_hdr;

		m->msg_namelen = sizeof(b->from[i]);
		m->msg_control = pktinfo ? &b->control[i] : NULL;
		m->msg_controllen = pktinfo ? sizeof(b->control[i]) : 0;
	}
	n = recvmmsg(fd, b->in, BATCH, MSG_DONTWAIT, NULL);
	return n < 0 ? -errno : n;
}

const uint8_t *batch_bytes(const struct batch *b, unsigned i, size_t *len)
{
	*len = b->in[i].msg_len;
	return b->iov[i].iov_base;
}

struct endpoint batch_from(const struct batch *b, unsigned i)
{
	return net_endpoint(&b->from[i]);
}

void batch_to(struct batch *b, unsigned i, struct endpoint *to, unsigned *ifindex)
{
	net_pktinfo_read(&b->in[i].msg_hdr, to, ifindex);
}

uint8_t *batch_room(struct batch *b, unsigned i)
{
	return b->rooms[i];
}

static void port_set(struct sockaddr_storage *a, uint16_t port)
{
	const uint16_t wire = htons(port);

	/* At the same place in both families. */
	memcpy((uint8_t *)a + offsetof(struct sockaddr_in, sin_port), &wire, sizeof(wire));
}

static struct msghdr *put(struct batch *b, unsigned i, unsigned lane, size_t len, uint16_t port)
{
	struct lane *l = &b->lanes[lane];
	const unsigned at = l->count++;

	port_set(&b->from[i], port);
	l->iov[at] = (struct iovec){ b->rooms[i], len };
	l->messages[at].msg_hdr = (struct msghdr){ .msg_name = &b->from[i], .msg_namelen = b->in[i].msg_hdr.msg_namelen,
		.msg_iov = &l->iov[at], .msg_iovlen = 1 };
	return &l->messages[at].msg_hdr;
}

void batch_put(struct batch *b, unsigned i, unsigned lane, size_t len, uint16_t port)
{
	put(b, i, lane, len, port);
}

void batch_put_to(struct batch *b, unsigned i, unsigned lane, size_t len, const struct endpoint *to)
{
	b->in[i].msg_hdr.msg_namelen = net_sockaddr(&b->from[i], to);
	put(b, i, lane, len, to->port);
}

void batch_put_from(struct batch *b, unsigned i, size_t len, uint16_t port, const struct endpoint *from, unsigned ifindex)
{
	net_pktinfo_write(put(b, i, 0, len, port), &b->control[i], from, ifindex);
}

unsigned batch_send(struct batch *b, unsigned lane, int fd)
{
	struct lane *l = &b->lanes[lane];
	unsigned failed = 0;

	for (unsigned done = 0; done < l->count;) {
		const int n = sendmmsg(fd, l->messages + done, l->count - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		failed += n < 0;
		done += n < 0 ? 1 : (unsigned)n; /* an error is the first one's: the others get their turn */
	}
	l->count = 0;
	return failed;
}
