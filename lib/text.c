/* SPDX-License-Identifier: MIT */
#include "lib/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 1024
#define FORMAT_MAX 512

void text_begin(struct text *t, char *buf, size_t size)
{
	*t = (struct text){ .at = buf, .size = size };
	buf[0] = '\0';
}

static bool grow(struct text *t, size_t more)
{
	size_t size = t->size ? t->size : FIRST_SIZE;
	char *at;

	while (size - t->len <= more)
		size *= 2;
	at = realloc(t->at, size);
	if (!at)
		return false;
	t->at = at;
	t->size = size;
	return true;
}

void text_free(struct text *t)
{
	free(t->at);
	*t = (struct text)TEXT_GROWING;
}

char *text_take(struct text *t, size_t *len)
{
	char *at;

	text_put(t, "", 0); /* where nothing was written there is no memory yet */
	if (t->overrun) {
		text_free(t);
		return NULL;
	}
	at = t->at;
	*len = t->len;
	*t = (struct text)TEXT_GROWING;
	return at;
}

void text_put(struct text *t, const void *bytes, size_t len)
{
	if (t->overrun || (t->size - t->len <= len && !(t->grows && grow(t, len)))) { /* room for the NUL stays */
		t->overrun = true;
		return;
	}
	memcpy(t->at + t->len, bytes, len);
	t->len += len;
	t->at[t->len] = '\0';
}

void text_word(struct text *t, const char *word)
{
	text_put(t, word, strlen(word));
}

void text_number(struct text *t, uint64_t value)
{
	char digits[20], *at = digits + sizeof(digits);

	do
		*--at = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	text_put(t, at, (size_t)(digits + sizeof(digits) - at));
}

void text_format(struct text *t, const char *format, ...)
{
	char words[FORMAT_MAX];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(words))
		t->overrun = true;
	else
		text_put(t, words, (size_t)len);
}
