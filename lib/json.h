/* SPDX-License-Identifier: MIT */
/*
 * json - writes one JSON object into a buffer.
 *
 * Whatever bytes a text has, what comes out is JSON: what is not UTF-8 becomes U+FFFD.
 * Overrun is remembered; json_end says it.
 */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include "lib/endpoint.h"

struct json {
	char *text;
	size_t size, len;
	bool comma;   /* the next member stands after another */
	bool overrun;
};

void json_begin(struct json *j, char *text, size_t size);
void json_open(struct json *j, const char *key); /* a member that is an object, until json_close */
void json_close(struct json *j);
void json_text(struct json *j, const char *key, const char *value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);
/* 0 and above, to six decimals, in any locale. */
void json_number(struct json *j, const char *key, double value);
/* {"address":"203.0.113.9","port":40001}, or null for none. */
void json_endpoint(struct json *j, const char *key, const struct endpoint *e);
/* The length of the whole object, a NUL behind it; 0 when it did not fit. */
size_t json_end(struct json *j);

#endif
