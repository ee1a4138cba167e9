/* SPDX-License-Identifier: MIT */
/*
 * webanswer - whether an HTTP/1.x server answered a HEAD request, and nothing else of it.
 *
 * Bytes come in pieces of any size. Of the answer only its first letters and its end are
 * read ("HTTP/1." … an empty line: a HEAD's answer has no body, RFC 9110 section 9.3.2);
 * what it says does not matter to a connection that is held for the sake of being held.
 */
#ifndef LIB_WEBANSWER_H
#define LIB_WEBANSWER_H

#include <stddef.h>
#include <stdint.h>

#define WEBANSWER_MAX 16384 /* bytes of an answer; what is longer is no answer to us */

/* All zero: nothing came yet. */
struct webanswer {
	uint32_t len; /* private: of the answer that is coming */
	uint8_t ends; /* private: how much of its end was seen */
};

/* How many answers ended within these bytes; -EBADMSG when it is no HTTP/1.x, or too long. */
int webanswer_read(struct webanswer *w, const void *bytes, size_t len);

#endif
