/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program of libuv's, it measures the turns of its loop: from an epoll_wait of the main thread to the next.
 *
 * A turn that took long by the clock may have waited for a CPU that others had. The kernel says how long (schedstat), so what
 * counts is told apart: cpu, the thread's own; held, that and what it slept in the kernel, as long as it would be alone on the
 * machine. A turn that gave up the CPU of its own accord at no time did not sleep, whatever the host took from it. The file named by TURNS holds them; whoever reads it zeros it to begin anew.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LONG_US 20000

struct turns {
	uint64_t count, wall_us, cpu_us, held_us; /* the longest by each */
	uint64_t long_count;			  /* held for over LONG_US */
	uint64_t held_sum_us;
};

struct mark {
	uint64_t wall_us, cpu_us, waited_us, slept;
};

static struct turns *turns;
static int schedstat = -1, status = -1;
static struct mark began;

static uint64_t clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t waited_us(void)
{
	char text[64] = "";
	unsigned long long ran = 0, waited = 0;

	if (pread(schedstat, text, sizeof(text) - 1, 0) > 0)
		sscanf(text, "%llu %llu", &ran, &waited);
	return waited / 1000;
}

/* How often; getrusage is nothing that the gateway may call. */
static uint64_t slept(void)
{
	char text[2048];
	const ssize_t len = pread(status, text, sizeof(text) - 1, 0);
	const char *at;

	text[len > 0 ? len : 0] = '\0';
	at = strstr(text, "\nvoluntary_ctxt_switches:");
	return at ? strtoull(at + 25, NULL, 10) : 0;
}

static struct mark now(void)
{
	return (struct mark){ clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_THREAD_CPUTIME_ID), waited_us(), slept() };
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("TURNS");
	const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char own[64];

	if (map == MAP_FAILED)
		return;
	close(fd);
	snprintf(own, sizeof(own), "/proc/self/task/%d/schedstat", (int)gettid());
	schedstat = open(own, O_RDONLY | O_CLOEXEC);
	snprintf(own, sizeof(own), "/proc/self/task/%d/status", (int)gettid());
	status = open(own, O_RDONLY | O_CLOEXEC);
	turns = map;
}

static void raise_to(uint64_t *most, uint64_t value)
{
	if (value > *most)
		*most = value;
}

static void end_turn(void)
{
	const struct mark end = now();
	const uint64_t wall_us = end.wall_us - began.wall_us, waited = end.waited_us - began.waited_us;
	const uint64_t cpu_us = end.cpu_us - began.cpu_us;
	const uint64_t held_us = end.slept == began.slept || wall_us < waited ? cpu_us : wall_us - waited;

	turns->count++;
	turns->held_sum_us += held_us;
	turns->long_count += held_us > LONG_US;
	raise_to(&turns->wall_us, wall_us);
	raise_to(&turns->cpu_us, cpu_us);
	raise_to(&turns->held_us, held_us);
}

/* Libuv calls this one, as it blocks no signals meanwhile. */
int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	const int measures = turns && gettid() == getpid();
	int n;

	if (measures && began.wall_us)
		end_turn();
	n = epoll_pwait(epfd, events, max, timeout, NULL);
	if (measures)
		began = now();
	return n;
}
