/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop - virtual time, and the part of libuv that the gateway's core uses, on it.
 *
 * Linked in the place of libuv, under its own header: timers, work for threads, names. All
 * that happens is an event on one agenda; between two of them no time passes. The clocks
 * and chance are the simulation's too (the linker wraps clock_gettime and getrandom), so a
 * seed repeats a run to the byte.
 *
 * Three times: awake (the agenda's, and CLOCK_MONOTONIC), true (suspended time included, what
 * the world outside goes by), and since boot (CLOCK_BOOTTIME: true, from the last boot on).
 */
#ifndef TEST_SIM_LOOP_H
#define TEST_SIM_LOOP_H

#include <uv.h>

#include <stdbool.h>

struct loop_event {
	uint64_t at_ms, turn; /* awake time; equal ones in the order they were planned */
	size_t place;	      /* private: 0 when not planned */
	void (*happens)(struct loop_event *e);
};

uint64_t loop_ms(void);
uint64_t loop_true_ms(void);
/* Plans it, or plans it anew. */
void loop_in(struct loop_event *e, uint64_t ms, void (*happens)(struct loop_event *e));
void loop_drop(struct loop_event *e); /* not planned is fine */
bool loop_planned(const struct loop_event *e);
/* Lets everything happen until then. */
void loop_run(uint64_t until_ms);

/* The machine was suspended for so long, and is awake again. */
void loop_sleep(uint64_t ms);
/* Its clocks begin anew. */
void loop_boot(void);
unsigned loop_boots(void);
/* Somebody sets the wall clock. */
void loop_step_wall(int64_t ms);

/* How long work takes at most. */
extern uint32_t loop_work_ms;
/* A process ends: what its threads have under way is done now; by_force: or never, each as chance has it. */
void loop_interrupt_work(bool by_force);
/* What names are: returns false where the lookup fails. */
extern bool (*loop_resolve)(const char *host, uint32_t *ip);
/* Handles that are not closed, and requests under way. */
size_t loop_handles(void);

#endif
