/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * journal - the last lines of the log, for people who look at the page.
 *
 * Lines come from any thread (log_listen); they are numbered from 1 in the order in which they came, and
 * read in the loop's thread. There is one log, and so one journal.
 */
#ifndef GATEWAY_JOURNAL_H
#define GATEWAY_JOURNAL_H

#include <stdbool.h>
#include <uv.h>

#include "sys/log.h"

#define JOURNAL_LINES 200

struct journal;

struct journal_line {
	uint64_t number;
	uint64_t at_ms; /* clock_ms */
	enum log_level level;
	const char *text; /* borrowed during the visit */
};

/* more: called in the loop, some time after a line came, while somebody wants to know (journal_want). */
int journal_open(struct journal **out, uv_loop_t *loop, void (*more)(void *owner), void *owner);
void journal_want(struct journal *j, bool wanted);
/* The number of the last line; 0: there is none. */
uint64_t journal_last(struct journal *j);
/* Lines from this number on that are still there, until visit says false. It must not log. */
void journal_each(struct journal *j, uint64_t from, bool (*visit)(void *owner, const struct journal_line *line), void *owner);
void journal_close(struct journal *j); /* NULL is fine; the loop must run until its handle is closed */

#endif
