/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/loop.h"

#include <errno.h>
#include <unistd.h>

#define BATCH 64

int loop_open(struct loop *loop)
{
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->fd < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
	if (loop->fd >= 0)
		close(loop->fd);
	loop->fd = -1;
}

int loop_add(struct loop *loop, struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };

	return epoll_ctl(loop->fd, EPOLL_CTL_ADD, w->fd, &e) < 0 ? -errno : 0;
}

int loop_change(struct loop *loop, struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };

	return epoll_ctl(loop->fd, EPOLL_CTL_MOD, w->fd, &e) < 0 ? -errno : 0;
}

int loop_turn(struct loop *loop, int timeout_ms)
{
	struct epoll_event ready[BATCH];
	const int n = epoll_wait(loop->fd, ready, BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct watch *w = ready[i].data.ptr;

		w->ready(w, ready[i].events);
	}
	return 0;
}
