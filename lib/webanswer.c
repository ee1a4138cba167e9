/* SPDX-License-Identifier: MIT */
#include "lib/webanswer.h"

#include <errno.h>

/* The end is LF LF or LF CR LF: a recipient may take a lone LF for a line's end (RFC 9112 section 2.2). */
static uint8_t end_after(uint8_t seen, uint8_t byte)
{
	if (byte == '\n')
		return seen == 0 ? 1 : 3;
	return seen == 1 && byte == '\r' ? 2 : 0;
}

int webanswer_read(struct webanswer *w, const void *bytes, size_t len)
{
	static const char start[] = "HTTP/1.";
	const uint8_t *at = bytes;
	int answers = 0;

	for (size_t i = 0; i < len; i++) {
		if (w->len < sizeof(start) - 1 && at[i] != (uint8_t)start[w->len])
			return -EBADMSG;
		if (++w->len > WEBANSWER_MAX)
			return -EBADMSG;
		w->ends = end_after(w->ends, at[i]);
		if (w->ends == 3) {
			*w = (struct webanswer){ 0 };
			answers++;
		}
	}
	return answers;
}
