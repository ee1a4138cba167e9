/* SPDX-License-Identifier: MIT */
#include "lib/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void put(struct json *j, const char *bytes, size_t len)
{
	if (j->overrun || j->size - j->len <= len) { /* room for the NUL stays */
		j->overrun = true;
		return;
	}
	memcpy(j->text + j->len, bytes, len);
	j->len += len;
}

static void put_text(struct json *j, const char *text)
{
	put(j, text, strlen(text));
}

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

static void put_string(struct json *j, const char *s)
{
	put_text(j, "\"");
	while (*s) {
		const size_t len = utf8_len(s);
		char escape[8];

		if (len == 0) {
			put_text(j, "\\ufffd");
		} else if (*s == '"' || *s == '\\' || (uint8_t)*s < 0x20 || *s == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)(uint8_t)*s);
			put_text(j, escape);
		} else {
			put(j, s, len);
		}
		s += len ? len : 1;
	}
	put_text(j, "\"");
}

static void member(struct json *j, const char *key)
{
	if (j->comma)
		put_text(j, ",");
	j->comma = true;
	put_string(j, key);
	put_text(j, ":");
}

void json_begin(struct json *j, char *text, size_t size)
{
	*j = (struct json){ .text = text, .size = size };
	put_text(j, "{");
}

void json_open(struct json *j, const char *key)
{
	member(j, key);
	put_text(j, "{");
	j->comma = false;
}

void json_close(struct json *j)
{
	put_text(j, "}");
	j->comma = true;
}

void json_text(struct json *j, const char *key, const char *value)
{
	member(j, key);
	put_string(j, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	member(j, key);
	put_text(j, value ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
	member(j, key);
	put_text(j, "null");
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
	put(j, text, len);
}

void json_endpoint(struct json *j, const char *key, const struct endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	if (e->family == ENDPOINT_NONE) {
		json_null(j, key);
		return;
	}
	json_open(j, key);
	json_text(j, "address", endpoint_ip_text(e, text));
	json_number(j, "port", e->port);
	json_close(j);
}

size_t json_end(struct json *j)
{
	put_text(j, "}");
	if (j->overrun)
		return 0;
	j->text[j->len] = '\0';
	return j->len;
}
