/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "server/node.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/net.h"

#define LOG_MS 60000

struct peer {
	const struct place *place;
	struct site alone; /* the place's without the peer */
	struct endpoint to;
	int fd;
	struct node_seal *seal; /* constant */
	atomic_bool alive;	/* node_alive, for those without the lock */
	pthread_mutex_t lock;	/* of what follows */
	struct node *node;
	struct log_limit stranger_log, skew_log, forged_log, full_log;
};

static struct node_identity identity(const struct site *s, unsigned address)
{
	return (struct node_identity){ { s->origin[address][0], s->origin[address][1] } };
}

int peer_new(struct peer **out, const struct place *place, const struct node_key *keys, size_t count)
{
	const struct node_identity own = identity(&place->site, 0), other = identity(&place->site, 1);
	struct peer *p = calloc(1, sizeof(*p));
	uint64_t run = 0;
	int err;

	if (!p)
		return -ENOMEM;
	*p = (struct peer){ .place = place, .alone = place->site, .to = place->site.origin[1][0], .fd = -1 };
	memset(p->alone.origin[1], 0, sizeof(p->alone.origin[1]));
	pthread_mutex_init(&p->lock, NULL);
	while (run == 0 && getrandom(&run, sizeof(run), 0) != sizeof(run))
		if (errno != EINTR)
			break;
	err = run ? node_seal_new(&p->seal, &own, &other, keys, count) : -EIO;
	if (err == 0)
		err = node_new(&p->node, run, clock_ms());
	if (err < 0) {
		peer_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void peer_free(struct peer *p)
{
	if (!p)
		return;
	node_free(p->node);
	node_seal_free(p->seal);
	pthread_mutex_destroy(&p->lock);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

int peer_start(struct peer *p, int fd)
{
	/* Its own descriptor: whose socket it is may end before others stop hearing the peer. */
	p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return p->fd < 0 ? -errno : 0;
}

bool peer_alive(const struct peer *p)
{
	return atomic_load_explicit(&p->alive, memory_order_relaxed);
}

const struct site *peer_site(const struct peer *p)
{
	return peer_alive(p) ? &p->place->site : &p->alone;
}

const struct site *peer_alone(const struct peer *p)
{
	return &p->alone;
}

const struct endpoint *peer_endpoint(const struct peer *p)
{
	return &p->to;
}

static void stamp(struct peer *p, struct node_message *m)
{
	pthread_mutex_lock(&p->lock);
	node_stamp(p->node, m, clock_wall_ms());
	pthread_mutex_unlock(&p->lock);
}

size_t peer_hand_over(struct peer *p, const struct question *q, void *buf, size_t max)
{
	struct node_message m = { .kind = NODE_QUESTION, .port = (uint8_t)q->port, .client = q->from, .question = q->bytes,
		.question_len = q->len };

	stamp(p, &m);
	return node_sign(p->seal, &m, buf, max);
}

/*
 * as_run: not 0 for a run of the peer that is not known to be the present one. A beat
 * that the kernel does not take is a lost one: the peer will be missed if that lasts.
 */
static void beat(struct peer *p, enum node_kind kind, uint64_t as_run)
{
	struct node_message m = { .kind = kind };
	uint8_t buf[NODE_OVERHEAD];

	stamp(p, &m);
	if (as_run)
		m.peer_run = as_run;
	net_send(p->fd, buf, node_sign(p->seal, &m, buf, sizeof(buf)), &p->to, NULL, 0);
}

static void changed(struct peer *p, enum node_change change, struct counts *counts)
{
	char text[ENDPOINT_TEXT_MAX];

	atomic_store_explicit(&p->alive, change == NODE_ALIVE, memory_order_relaxed);
	counts_add(counts, change == NODE_ALIVE ? COUNT_NODE_FOUND : COUNT_NODE_LOST);
	if (change == NODE_ALIVE)
		log_info("peer answers peer=%s", endpoint_text(&p->to, text));
	else
		log_warn("peer silent for %d s: no OTHER-ADDRESS, no CHANGE-REQUEST of the address peer=%s", NODE_DEAD_MS / 1000,
			endpoint_text(&p->to, text));
}

int peer_tick(struct peer *p, struct counts *counts)
{
	struct node_due due;

	pthread_mutex_lock(&p->lock);
	due = node_tick(p->node, clock_ms()); /* read with the lock: the node's time never goes back */
	if (due.change != NODE_NO_CHANGE)
		changed(p, due.change, counts); /* with the lock: changes are told in their order */
	pthread_mutex_unlock(&p->lock);
	if (due.beat)
		beat(p, due.kind, 0);
	return (int)due.wait_ms;
}

/* With the lock. What strangers can cause, too: once a minute. */
static void complain(struct peer *p, enum node_verdict v, const struct endpoint *from, int64_t skew_ms, uint64_t now_ms)
{
	char peer[ENDPOINT_TEXT_MAX], other[ENDPOINT_TEXT_MAX];
	uint64_t skipped;

	endpoint_text(&p->to, peer);
	/* Of interest only to who looks for the peer: it may send from another address than it is known by. */
	if (v == NODE_STRANGER && !node_alive(p->node) && log_allowed(&p->stranger_log, LOG_MS, now_ms, &skipped))
		log_warn("a node's message from an address that is not the peer's from=%s peer=%s skipped=%llu",
			endpoint_text(from, other), peer, (unsigned long long)skipped);
	if (v == NODE_SKEWED && log_allowed(&p->skew_log, LOG_MS, now_ms, &skipped))
		log_warn("peer's clock is %.1f s %s ours, more than the %d s allowed: its messages are refused until both "
			 "are right peer=%s skew-ms=%+lld skipped=%llu", (double)(skew_ms < 0 ? -skew_ms : skew_ms) / 1000,
			skew_ms < 0 ? "behind" : "ahead of", NODE_CLOCK_MS / 1000, peer, (long long)skew_ms,
			(unsigned long long)skipped);
	if (v == NODE_FORGED && log_allowed(&p->forged_log, LOG_MS, now_ms, &skipped))
		log_warn("messages from the peer's address that are not signed for us: does it have the same key, and our "
			 "addresses and ports? peer=%s skipped=%llu", peer, (unsigned long long)skipped);
	if (v == NODE_FULL && log_allowed(&p->full_log, LOG_MS, now_ms, &skipped))
		log_warn("peer restarted too often in a minute, its messages are refused peer=%s skipped=%llu", peer,
			(unsigned long long)skipped);
}

static enum count row_of(enum node_verdict v, enum node_kind kind)
{
	static const enum count rows[NODE_VERDICTS] = {
		[NODE_STRANGER] = COUNT_NODE_STRANGER,
		[NODE_MALFORMED] = COUNT_NODE_MALFORMED,
		[NODE_FORGED] = COUNT_NODE_FORGED,
		[NODE_REPLAYED] = COUNT_NODE_REPLAYED,
		[NODE_SKEWED] = COUNT_NODE_SKEWED,
		[NODE_OTHER_RUN] = COUNT_NODE_OTHER_RUN,
		[NODE_FULL] = COUNT_NODE_FULL,
	};

	if (v != NODE_FINE)
		return rows[v];
	return kind == NODE_QUESTION ? COUNT_NODE_ANSWERED : COUNT_NODE_BEAT;
}

enum count peer_receive(struct peer *p, const struct question *said, struct question *out, struct counts *counts)
{
	struct node_message m = { 0 };
	struct node_news news = { 0 };
	enum node_verdict v = node_check(p->seal, &m, &said->from, said->bytes, said->len);

	if (v != NODE_MALFORMED && (v != NODE_STRANGER || !peer_alive(p))) {
		pthread_mutex_lock(&p->lock);
		const uint64_t now_ms = clock_ms();

		if (v == NODE_FINE)
			v = node_accept(p->node, &m, now_ms, clock_wall_ms(), &news);
		complain(p, v, &said->from, news.skew_ms, now_ms);
		pthread_mutex_unlock(&p->lock);
	}
	if (v == NODE_FINE && !peer_alive(p))
		peer_tick(p, counts); /* it may be now */
	if (news.answer_run)
		beat(p, NODE_HEARTBEAT, news.answer_run);
	*out = (struct question){ .bytes = m.question, .len = m.question_len, .site = &p->place->site, .address = 1,
		.port = m.port, .from = m.client };
	return row_of(v, m.kind);
}
