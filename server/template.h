/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * template - answers written beforehand, for the questions that nearly everybody asks.
 *
 * A question that is nothing but a header, or a header and CHANGE-REQUEST, is answered by
 * bytes that differ only in the transaction id and the sender's endpoint. Those bytes are
 * what answer_to says to the same question, written once for each socket and each such
 * question; an answer then is a copy with two holes filled in. Whatever else is asked, or
 * would be refused, is left to answer_to: byte for byte nobody can tell the two apart.
 */
#ifndef SERVER_TEMPLATE_H
#define SERVER_TEMPLATE_H

#include "server/answer.h"

#define TEMPLATE_MAX	144 /* the longest: IPv6, five attributes */
#define TEMPLATE_ASKED	5   /* no CHANGE-REQUEST, or one of its four values */
#define TEMPLATE_SHAPES (2 * TEMPLATE_ASKED)

struct template {
	uint8_t bytes[TEMPLATE_MAX];
	uint8_t len;	       /* 0: none, answer_to says it */
	uint8_t address, port; /* the socket that answers */
};

/* Of one site, in one address family. */
struct templates {
	struct template of[SITE_ADDRESSES][SITE_PORTS][TEMPLATE_SHAPES];
};

void templates_make(struct templates *out, const struct site *site);

/*
 * As answer_to over UDP, for the site the templates were made of. False when none fits; max
 * is at least TEMPLATE_MAX. What is said then counts as COUNT_ANSWERED.
 */
bool template_answer(const struct templates *t, const struct question *q, void *buf, struct answer *out);

#endif
