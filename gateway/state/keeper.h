/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keeper - keeps the state file true to the gateway, without holding up the loop.
 *
 *	promise → written soon;  kept() says when, and saved is called
 *	note    → written lazily, with the next promise or a while after the last write
 *
 * One write at a time, of a snapshot, in a thread of libuv's; what changes meanwhile goes
 * into the next, so many promises share a write. Where the disk fails nobody waits for it:
 * everything counts as kept, and the keeper tries again, ever more seldom, until it works.
 */
#ifndef GATEWAY_KEEPER_H
#define GATEWAY_KEEPER_H

#include <uv.h>

#include "gateway/state/state.h"

struct keeper;

struct keeper_config {
	uv_loop_t *loop;
	const char *path; /* NULL: nothing is kept, and nobody waits */
	uint32_t lazy_ms; /* how old a note may be on disk */
	/*
	 * The state as it is, its mappings on the heap; until_ms: this file may be the last
	 * word until then. 0, or -ENOMEM.
	 */
	int (*snapshot)(void *owner, struct state *out, uint64_t until_ms);
	/* Promises were kept, or the disk failed them. */
	void (*saved)(void *owner);
	void *owner;
};

int keeper_open(struct keeper **out, const struct keeper_config *config);
/* A change to be on disk before anybody hears of it. Returns what keeper_kept wants to know; never 0. */
uint64_t keeper_promise(struct keeper *k);
/* Whether what was promised until then may be told. 0 may. */
bool keeper_kept(const struct keeper *k, uint64_t promise);
/* Like a promise made, when nothing is waiting; for who waits for all that was promised until now. */
uint64_t keeper_last(const struct keeper *k);
/* A change that may be on disk later. */
void keeper_note(struct keeper *k);
/* Writes what is not written yet, here and now, asking for a last snapshot. NULL is fine. */
void keeper_close(struct keeper *k);

#endif
