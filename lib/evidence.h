/* SPDX-License-Identifier: MIT */
/*
 * evidence - what silence is worth: how probable it is that answers were lost, all of them.
 *
 * A line loses an unknown share of packets, each way; the hand-over that an answer from
 * the server's other address takes may lose more, or not exist at all. What is thought of
 * both before anything was heard (the prior, evidence.c) is narrowed by what was heard of
 * questions that only loss could leave unanswered. Pure; probabilities are 0 to 1.
 */
#ifndef LIB_EVIDENCE_H
#define LIB_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>

struct tally {
	uint16_t asked, heard; /* asked: long enough ago to have been heard */
};

struct evidence {
	struct tally plain;   /* questions answered from where they were asked */
	struct tally witness; /* answered from elsewhere, through a filter known to be open */
	bool trusted; /* no witness can be had: that the server answers from elsewhere, and mostly, is taken on trust */
};

/* What every one of n more questions of a kind being unanswered is worth: the chance of it when nothing but loss is in their way. */
double evidence_fluke_plain(const struct evidence *e, unsigned n);
double evidence_fluke_changed(const struct evidence *e, unsigned n);
/* Whether that is no accident: n questions unanswered, beside a control that was answered so often. */
bool evidence_tells(unsigned n, struct tally control);
/* That the server does not answer from elsewhere, or hardly ever, though it says it could. */
double evidence_no_change(const struct evidence *e);

/* That the round trip is longer than this, before any was measured. */
double evidence_slower(uint32_t than_ms);

#endif
