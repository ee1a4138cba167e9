/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "server/batch.h"
#include "server/limit.h"
#include "server/loop.h"
#include "server/udp.h"
#include "sys/log.h"

struct worker {
	struct counts counts; /* first: it has cache lines of its own */
	struct watch order;   /* an eventfd: readable when another thread wants what stands in stopping and rate */
	struct loop loop;
	struct batch *batch;
	struct limit *limit; /* NULL: none */
	struct udp *udp[PLACES];
	_Atomic bool stopping;
	_Atomic uint32_t rate;
	bool started;
	pthread_t thread;
};

static struct worker *of_order(struct watch *w)
{
	return (struct worker *)((char *)w - offsetof(struct worker, order));
}

/* Stopping is looked at in run(). */
static void on_order(struct watch *watch, uint32_t events)
{
	struct worker *w = of_order(watch);
	eventfd_t ignored;

	(void)events;
	eventfd_read(watch->fd, &ignored);
	if (w->limit)
		limit_change(w->limit, w->rate);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	int err = 0;

	while (!w->stopping && err == 0)
		err = loop_turn(&w->loop, -1);
	if (err < 0)
		log_error("a worker ended: %s", strerror(-err));
	return NULL;
}

static int limit_open(struct worker *w, uint32_t rate)
{
	uint8_t secret[LIMIT_SECRET];

	if (rate == 0)
		return 0;
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return -EIO;
	return limit_new(&w->limit, rate, secret);
}

static int order_open(struct worker *w)
{
	w->order.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return w->order.fd < 0 ? -errno : loop_add(&w->loop, &w->order, EPOLLIN);
}

static int sockets_open(struct worker *w, const struct worker_settings *set)
{
	int err = 0;

	for (size_t i = 0; i < set->place_count; i++) {
		const struct udp_settings udp = { .place = &set->places[i], .loop = &w->loop, .counts = &w->counts,
			.batch = w->batch, .limit = w->limit, .worker = set->number, .worker_count = set->count };
		const int e = udp_new(&w->udp[i], &udp);

		err = err < 0 ? err : e; /* all are tried, as in udp_new */
	}
	return err;
}

int worker_new(struct worker **out, const struct worker_settings *settings)
{
	struct worker *w = aligned_alloc(_Alignof(struct worker), sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->order = (struct watch){ .ready = on_order, .fd = -1 };
	w->rate = settings->rate;
	err = loop_open(&w->loop);
	if (err == 0)
		err = order_open(w);
	if (err == 0)
		err = batch_new(&w->batch);
	if (err == 0)
		err = limit_open(w, settings->rate);
	if (err == 0)
		err = sockets_open(w, settings);
	if (err < 0) {
		worker_free(w);
		return err;
	}
	*out = w;
	return 0;
}

int worker_start(struct worker *w)
{
	const int err = pthread_create(&w->thread, NULL, run, w);

	w->started = err == 0;
	if (err)
		log_error("cannot start a worker: %s", strerror(err));
	return -err;
}

int worker_fd(const struct worker *w, size_t place)
{
	return udp_fd(w->udp[place]);
}

void worker_rate(struct worker *w, uint32_t rate)
{
	w->rate = rate;
	eventfd_write(w->order.fd, 1);
}

void worker_counts(const struct worker *w, struct counts_sum *sum)
{
	counts_sum(sum, &w->counts);
	for (size_t i = 0; i < PLACES; i++)
		sum->of[COUNT_QUEUE_FULL] += w->udp[i] ? udp_dropped(w->udp[i]) : 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	if (w->started) {
		w->stopping = true;
		eventfd_write(w->order.fd, 1);
		pthread_join(w->thread, NULL);
	}
	for (size_t i = 0; i < PLACES; i++)
		udp_free(w->udp[i]);
	limit_free(w->limit);
	batch_free(w->batch);
	if (w->order.fd >= 0)
		close(w->order.fd);
	loop_close(&w->loop);
	free(w);
}
