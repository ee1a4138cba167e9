/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop - epoll, and who is called when a descriptor is ready.
 *
 * A watch is the first member of whatever owns the descriptor, so its function
 * finds its owner. One loop belongs to one thread.
 */
#ifndef SERVER_LOOP_H
#define SERVER_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

struct watch {
	void (*ready)(struct watch *w, uint32_t events);
	int fd;
};

struct loop {
	int fd;
};

/* Negative errno. */
int loop_open(struct loop *loop);
void loop_close(struct loop *loop);

/* Watches w->fd for events (EPOLLIN, EPOLLOUT), level-triggered. Closing the descriptor ends it. */
int loop_add(struct loop *loop, struct watch *w, uint32_t events);
/* Changes what is watched for; 0 watches for errors only. */
int loop_change(struct loop *loop, struct watch *w, uint32_t events);

/*
 * Waits up to timeout_ms (negative: for ever) and calls who is ready. A watch may
 * free itself in its call, and no other.
 */
int loop_turn(struct loop *loop, int timeout_ms);

#endif
