/* SPDX-License-Identifier: MIT */
/*
 * json - writes one JSON object into a buffer, or at the end of a text.
 *
 * Whatever bytes a text has, what comes out is JSON: what is not UTF-8 becomes U+FFFD.
 * Overrun is remembered; json_end says it. No name here is one of jansson's, which the gateway has besides.
 */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include "lib/endpoint.h"
#include "lib/text.h"

struct json {
	struct text own;
	struct text *text; /* where it is written */
	bool comma;	   /* the next member stands after another */
};

/* The object stays where it is until json_end. */
void json_begin(struct json *j, char *text, size_t size);
void json_append(struct json *j, struct text *to);
void json_open(struct json *j, const char *key); /* a member that is an object, until json_close */
void json_close(struct json *j);
void json_list(struct json *j, const char *key); /* a member that is an array, until json_list_end: its elements have key NULL */
void json_list_end(struct json *j);
void json_text(struct json *j, const char *key, const char *value);
void json_bool(struct json *j, const char *key, bool value);
void json_none(struct json *j, const char *key);
void json_count(struct json *j, const char *key, uint64_t value);
/* 0 and above, to six decimals, in any locale. */
void json_number(struct json *j, const char *key, double value);
/* {"address":"203.0.113.9","port":40001}, or null for none. */
void json_endpoint(struct json *j, const char *key, const struct endpoint *e);
/* The length of the whole text, a NUL behind it; 0 when it did not fit. */
size_t json_end(struct json *j);

/* A string of JSON, quoted. */
void json_quoted(struct text *t, const char *s);

#endif
