/* SPDX-License-Identifier: MIT */
/*
 * cadence - how often holes must be asked so that the carrier's NAT keeps them.
 *
 * A NAT forgets a mapping that was silent for some time that it tells nobody: 15 s, 30 s,
 * 5 minutes. A scout, a spare hole that no client has, is silent for a while and then
 * asked: the same outer endpoint means that the mapping lived, another that it did not.
 * Clients' holes are asked after at most 4/5 of what the scout survived, so none of them
 * is ever the first to be silent for longer:
 *
 *	interval: starts short ── scout survives 5/4 of a longer one ──→ that one, up to max
 *	a scout dies after t:     t is too long; the next try is half way between, until the
 *	                          two are an eighth apart; t is doubted again after 2 minutes,
 *	                          4, 8 … a day (a NAT may have been replaced, or only flushed)
 *	a client's hole dies after t, which was thought short enough: the interval is half of t at once
 *
 * What dies within 5 s of silence died of something else, and is no evidence. Where the
 * outer port is the inner one a new mapping looks like the old one: nothing is learnt, and
 * the interval is 20 s, which nearly all NATs bear.
 *
 * Pure state: time is an argument.
 */
#ifndef LIB_CADENCE_H
#define LIB_CADENCE_H

#include <stdbool.h>
#include <stdint.h>

#define CADENCE_MIN_MS	 5000
#define CADENCE_USUAL_MS 20000

struct cadence {
	uint32_t interval_ms; /* between an answer and the next question */

	/* private */
	uint32_t max_ms;
	uint32_t dead_ms;  /* 0: nothing died, or that is in doubt */
	uint64_t doubt_ms; /* when that is to be tried again */
	uint32_t patience_ms;
	bool blind;
};

/* start_ms: an interval that nearly every NAT bears; both are held within 5 s and max_ms. */
void cadence_init(struct cadence *c, uint32_t start_ms, uint32_t max_ms);
/* For how long the scout is to be silent next. */
uint32_t cadence_silence_ms(struct cadence *c, uint64_t now_ms);
/* A hole lived through so much silence. True when the interval is another now; likewise below. */
bool cadence_lived(struct cadence *c, uint32_t silent_ms);
/* A hole had another outer endpoint after so much silence, though the line is the same. */
bool cadence_died(struct cadence *c, uint32_t silent_ms, uint64_t now_ms);
/* Whether a mapping is the same one cannot be seen. */
bool cadence_blind(struct cadence *c);

#endif
