/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "gateway/http_request.h"
#include "lib/json.h"
#include "sys/clock.h"

#define JSON	  "application/json"
#define ERROR_MAX (6 * HTTP_WHY_MAX + 64) /* every byte escaped */
#define ETAG_MAX  24

static const struct {
	const char *name, *value;
} always[] = {
	{ "Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "Cache-Control", "no-cache" }, /* kept, but asked about each time */
};

static struct MHD_Response *no_body(void)
{
	return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
}

void http_respond(struct http_request *r, unsigned status, const char *type, struct MHD_Response *response)
{
	r->stage = response ? HTTP_ANSWERED : HTTP_ENDS;
	r->response = response;
	r->status = status;
	for (size_t i = 0; response && i < sizeof(always) / sizeof(always[0]); i++)
		MHD_add_response_header(response, always[i].name, always[i].value);
	if (response && type)
		MHD_add_response_header(response, "Content-Type", type);
	if (response && r->header)
		MHD_add_response_header(response, r->header, r->value);
	http_wake(r);
}

/* --- the same again, and smaller --- */

/* FNV-1a: whether a text is another is asked, not whether somebody made it look the same. */
static void etag_of(const char *text, size_t len, char out[ETAG_MAX])
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
	snprintf(out, ETAG_MAX, "W/\"%016" PRIx64 "\"", hash);
}

/* Whether the client has it already; then that is answered. */
static bool is_known(struct http_request *r, const char *etag)
{
	const char *known = http_received(r, "If-None-Match");
	struct MHD_Response *response;

	if (!known || !guard_etag_listed(known, etag))
		return false;
	response = no_body();
	if (response)
		MHD_add_response_header(response, "ETag", etag);
	http_respond(r, MHD_HTTP_NOT_MODIFIED, NULL, response);
	return true;
}

static bool accepts_gzip(const struct http_request *r)
{
	const char *accept = http_received(r, "Accept-Encoding");

	return accept && guard_accepts_gzip(accept);
}

/* NULL: it would not be smaller. Little memory and the quickest level: a router has little of either. */
static char *zip(const char *text, size_t len, size_t *out_len)
{
	z_stream z = { .next_in = (const Bytef *)text, .avail_in = (uInt)len, .avail_out = (uInt)len };
	char *out = malloc(len);

	if (!out || deflateInit2(&z, 1, Z_DEFLATED, 13 + 16 /* gzip's head */, 6, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(out);
		return NULL;
	}
	z.next_out = (Bytef *)out;
	if (deflate(&z, Z_FINISH) != Z_STREAM_END) {
		free(out);
		out = NULL;
	}
	*out_len = z.total_out;
	deflateEnd(&z);
	return out;
}

static struct MHD_Response *packed(struct http_request *r, char *text, size_t len)
{
	char *small = NULL;
	size_t small_len;
	struct MHD_Response *response;

	if (len >= HTTP_ZIP_MIN && len <= HTTP_ZIP_MAX && accepts_gzip(r))
		small = zip(text, len, &small_len);
	if (small)
		free(text);
	response = MHD_create_response_from_buffer(small ? small_len : len, small ? small : text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(small ? small : text);
	if (response && small)
		MHD_add_response_header(response, "Content-Encoding", "gzip");
	return response;
}

/* Whoever asks again and again and takes nothing is not to use up the router's memory. Small ones, as those that say so, always may. */
static bool may_hold(const struct http *h, size_t len)
{
	return len <= HTTP_SMALL || h->held == 0 || h->held + len <= HTTP_HELD_MAX;
}

void http_answer(struct http_request *r, unsigned status, const char *type, char *text, size_t len)
{
	const bool asked = r->route && strcmp(r->route->method, "GET") == 0 && status == MHD_HTTP_OK;
	struct MHD_Response *response;
	char etag[ETAG_MAX];

	etag_of(text, len, etag);
	if (asked && is_known(r, etag)) {
		free(text);
		return;
	}
	if (!may_hold(r->http, len)) {
		free(text);
		http_header(r, "Retry-After", "5");
		http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%zu bytes of answers wait for who asked for them: come again later", r->http->held);
		return;
	}
	r->held = len;
	r->http->held += len;
	response = text ? packed(r, text, len) : no_body();
	if (response && asked) {
		MHD_add_response_header(response, "ETag", etag);
		MHD_add_response_header(response, "Vary", "Accept-Encoding");
	}
	http_respond(r, status, text ? type : NULL, response);
}

void http_answer_asset(struct http_request *r)
{
	const struct asset *a = r->asset;
	const bool small = a->gzip && accepts_gzip(r);
	struct MHD_Response *response;

	if (is_known(r, a->etag))
		return;
	response = MHD_create_response_from_buffer(small ? a->gzip_len : a->plain_len, (void *)(uintptr_t)(small ? a->gzip : a->plain),
		MHD_RESPMEM_PERSISTENT);
	if (response) {
		MHD_add_response_header(response, "ETag", a->etag);
		MHD_add_response_header(response, "Vary", "Accept-Encoding");
		if (small)
			MHD_add_response_header(response, "Content-Encoding", "gzip");
	}
	http_respond(r, MHD_HTTP_OK, a->type, response);
}

/* --- words --- */

/* {"status":…} and, if there is one, the error. */
static void answer_words(struct http_request *r, unsigned status, const char *word, const char *error)
{
	char text[ERROR_MAX];
	struct json j;

	json_begin(&j, text, sizeof(text));
	json_text(&j, "status", word);
	if (error)
		json_text(&j, "error", error);
	const size_t len = json_end(&j);

	http_answer(r, status, JSON, strdup(text), len);
}

void http_error(struct http_request *r, unsigned status, const char *format, ...)
{
	char why[HTTP_WHY_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	answer_words(r, status, "error", why);
}

/* Where a head cannot be trusted or a body is not read, one cannot know where the next request begins. */
void http_answer_refused(struct http_request *r)
{
	if (r->refused == MHD_HTTP_BAD_REQUEST || r->at_once)
		http_header(r, "Connection", "close");
	answer_words(r, r->refused, "error", r->why);
}

void http_header(struct http_request *r, const char *name, const char *value)
{
	r->header = name;
	snprintf(r->value, sizeof(r->value), "%s", value);
}

/* --- the password --- */

static void set_cookie(struct http_request *r, const char *id, const char *more)
{
	http_header(r, "Set-Cookie", "");
	snprintf(r->value, sizeof(r->value), "stunway=%s; HttpOnly; SameSite=Strict; Path=/%s", id, more);
}

void http_log_in(struct http_request *r, const char *password)
{
	struct login *l = &r->http->login;
	char id[LOGIN_ID_MAX], wait[16];
	uint32_t wait_s = 0;

	switch (l->required ? login_try(l, &r->visitor->client, password, clock_ms(), &wait_s) : LOGIN_RIGHT) {
	case LOGIN_RIGHT:
		if (l->required) {
			login_begin(l, clock_ms(), id);
			set_cookie(r, id, "");
		}
		answer_words(r, MHD_HTTP_OK, "success", NULL);
		break;
	case LOGIN_WAIT:
		snprintf(wait, sizeof(wait), "%u", wait_s);
		http_header(r, "Retry-After", wait);
		http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, "too many wrong passwords: wait %u s", wait_s);
		break;
	default:
		http_error(r, MHD_HTTP_UNAUTHORIZED, "wrong password");
	}
}

void http_log_out(struct http_request *r)
{
	const char *cookies = http_received(r, "Cookie");
	char id[LOGIN_ID_MAX];

	if (cookies && guard_cookie(cookies, "stunway", id, sizeof(id)))
		login_end(&r->http->login, id);
	set_cookie(r, "", "; Max-Age=0");
	answer_words(r, MHD_HTTP_OK, "success", NULL);
}
