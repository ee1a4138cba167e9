/* SPDX-License-Identifier: MIT */
/*
 * clock - time since boot. Milliseconds, suspended time included, are the only time that leases and holes know.
 * Beside it the wall clock, for what is compared with somebody else's.
 */
#ifndef SYS_CLOCK_H
#define SYS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Microseconds of a clock that costs no system call; suspended time is not in it. For rates. */
static inline uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static inline uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * How long the machine has been suspended since it booted. libuv's timers stand still meanwhile
 * (CLOCK_MONOTONIC), so after a sleep whatever they are to do is late by it.
 */
static inline uint64_t clock_slept_ms(void)
{
	struct timespec awake, all;

	clock_gettime(CLOCK_MONOTONIC, &awake);
	clock_gettime(CLOCK_BOOTTIME, &all);
	return (uint64_t)(((all.tv_sec - awake.tv_sec) * 1000000000 + all.tv_nsec - awake.tv_nsec) / 1000000);
}

/* Milliseconds since 1970, as far as this host knows: may jump. */
static inline uint64_t clock_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
