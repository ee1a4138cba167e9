/* SPDX-License-Identifier: MIT */
/*
 * silence - when it says something that nobody answers.
 *
 * Questions whose answer may be kept away are asked side by side with control questions
 * that are answered when they are not lost. Nothing need be known of the loss: if both had
 * the same chance, each of the answers would be as likely one to a question as one to a
 * control. All of k answers fall on m controls and none on n questions with probability
 *
 *	C(m, k) / C(n + m, k)	(Fisher's exact test)
 *
 * so eight of each suffice on a clean line, and about twenty where 30 % of packets are lost.
 */
#ifndef LIB_SILENCE_H
#define LIB_SILENCE_H

#include <stdbool.h>

/* Whether chance explains with less than 1 in 10,000 that none of the questions was answered. */
bool silence_tells(unsigned questions, unsigned controls, unsigned controls_answered);

#endif
