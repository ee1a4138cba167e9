/* SPDX-License-Identifier: MIT */
/*
 * text - a text that is written piece by piece, into a buffer of the caller's or one that grows.
 *
 * What does not fit is remembered, not written: whoever asks for the whole is told once. A NUL
 * always follows what is there.
 */
#ifndef LIB_TEXT_H
#define LIB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *at;
	size_t len, size;
	bool grows, overrun;
};

/* size: at least 1. */
void text_begin(struct text *t, char *buf, size_t size);
/* {0} but for this: takes memory as it needs it. text_free, or text_take. */
#define TEXT_GROWING { .grows = true }
void text_free(struct text *t);
/* The whole, malloced, and its length; t is empty again. NULL when memory was short. */
char *text_take(struct text *t, size_t *len);

void text_put(struct text *t, const void *bytes, size_t len);
void text_word(struct text *t, const char *word);
void text_number(struct text *t, uint64_t value); /* decimal */
__attribute__((format(printf, 2, 3))) void text_format(struct text *t, const char *format, ...); /* at most 512 bytes */

#endif
