/* SPDX-License-Identifier: MIT */
#include "lib/json.h"

#include <stdint.h>
#include <stdio.h>

/* The length of the well-formed character (RFC 3629 section 4) at s, 0 when there is none. */
static size_t utf8_len(const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	const size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
		(s[0] == 0xf4 && s[1] > 0x8f))
		return 0; /* too long for what it says, a surrogate, or beyond U+10FFFF */
	return len;
}

void json_quoted(struct text *t, const char *s)
{
	text_word(t, "\"");
	while (*s) {
		const char *plain = s;

		while ((uint8_t)*s >= 0x20 && (uint8_t)*s < 0x7f && *s != '"' && *s != '\\')
			s++;
		text_put(t, plain, (size_t)(s - plain));
		if (*s) {
			const size_t len = utf8_len(s);

			if (len > 1)
				text_put(t, s, len);
			else
				text_format(t, "\\u%04x", len ? (unsigned)(uint8_t)*s : 0xfffd);
			s += len ? len : 1;
		}
	}
	text_word(t, "\"");
}

static void member(struct json *j, const char *key)
{
	if (j->comma)
		text_word(j->text, ",");
	j->comma = true;
	if (!key) /* an array's element */
		return;
	json_quoted(j->text, key);
	text_word(j->text, ":");
}

/* What a member opens and closes: a comma stands neither behind the one nor before the other. */
static void bracket(struct json *j, const char *bracket, bool comma)
{
	text_word(j->text, bracket);
	j->comma = comma;
}

void json_begin(struct json *j, char *text, size_t size)
{
	*j = (struct json){ .text = &j->own };
	text_begin(&j->own, text, size);
	bracket(j, "{", false);
}

void json_append(struct json *j, struct text *to)
{
	*j = (struct json){ .text = to };
	bracket(j, "{", false);
}

void json_open(struct json *j, const char *key)
{
	member(j, key);
	bracket(j, "{", false);
}

void json_close(struct json *j)
{
	bracket(j, "}", true);
}

void json_list(struct json *j, const char *key)
{
	member(j, key);
	bracket(j, "[", false);
}

void json_list_end(struct json *j)
{
	bracket(j, "]", true);
}

void json_text(struct json *j, const char *key, const char *value)
{
	member(j, key);
	json_quoted(j->text, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	member(j, key);
	text_word(j->text, value ? "true" : "false");
}

void json_none(struct json *j, const char *key)
{
	member(j, key);
	text_word(j->text, "null");
}

void json_count(struct json *j, const char *key, uint64_t value)
{
	member(j, key);
	text_number(j->text, value);
}

void json_number(struct json *j, const char *key, double value)
{
	const uint64_t millionths = value > 0 && value < 1e12 ? (uint64_t)(value * 1e6 + 0.5) : 0;
	char text[32];
	size_t len = (size_t)snprintf(text, sizeof(text), "%llu.%06llu", (unsigned long long)(millionths / 1000000),
		(unsigned long long)(millionths % 1000000));

	while (text[len - 1] == '0')
		len--;
	if (text[len - 1] == '.')
		len--;
	member(j, key);
	text_put(j->text, text, len);
}

void json_endpoint(struct json *j, const char *key, const struct endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	if (e->family == ENDPOINT_NONE) {
		json_none(j, key);
		return;
	}
	json_open(j, key);
	json_text(j, "address", endpoint_ip_text(e, text));
	json_number(j, "port", e->port);
	json_close(j);
}

size_t json_end(struct json *j)
{
	bracket(j, "}", true);
	return j->text->overrun ? 0 : j->text->len;
}
