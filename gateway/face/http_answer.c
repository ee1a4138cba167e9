/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "gateway/face/http_request.h"
#include "lib/json.h"
#include "sys/clock.h"

#define JSON	  "application/json"
#define ERROR_MAX (6 * HTTP_WHY_MAX + 64) /* every byte escaped */

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
static void etag_of(const char *text, size_t len, char out[HTTP_ETAG_MAX])
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
	snprintf(out, HTTP_ETAG_MAX, "W/\"%016" PRIx64 "\"", hash);
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
	char *out = malloc(len), *small;

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
	small = out ? realloc(out, *out_len) : NULL;
	return small ? small : out;
}

void http_pack(struct http_text *t)
{
	char *small = NULL;
	size_t small_len;

	if (t->tagged) {
		etag_of(t->text, t->len, t->etag);
		t->same = t->known && guard_etag_listed(t->known, t->etag);
	}
	if (!t->same && t->zips && t->len >= HTTP_ZIP_MIN)
		small = zip(t->text, t->len, &small_len);
	if (!small)
		return;
	free(t->text);
	t->text = small;
	t->len = small_len;
	t->zipped = true;
}

/* Of bytes that are malloced, or ours for ever. */
static void respond_bytes(struct http_request *r, const struct http_text *t, enum MHD_ResponseMemoryMode memory)
{
	const bool bare = t->same || !t->text;
	struct MHD_Response *response = bare ? no_body() : MHD_create_response_from_buffer(t->len, t->text, memory);

	if ((bare || !response) && memory == MHD_RESPMEM_MUST_FREE)
		free(t->text);
	if (response && t->tagged) {
		MHD_add_response_header(response, "ETag", t->etag);
		MHD_add_response_header(response, "Vary", "Accept-Encoding");
	}
	if (response && t->zipped)
		MHD_add_response_header(response, "Content-Encoding", "gzip");
	http_respond(r, t->same ? MHD_HTTP_NOT_MODIFIED : t->status, bare ? NULL : t->type, response);
}

void http_respond_text(struct http_request *r, const struct http_text *t)
{
	r->untaken = t->same ? 0 : t->len;
	r->http->untaken += r->untaken;
	respond_bytes(r, t, MHD_RESPMEM_MUST_FREE);
}

struct http_text http_text_for(const struct http_request *r, unsigned status, const char *type, char *text, size_t len)
{
	const bool asked = r->route && strcmp(r->route->method, "GET") == 0 && status == MHD_HTTP_OK;

	return (struct http_text){ .status = status, .type = type, .text = text, .len = len, .tagged = asked,
		.known = asked ? http_received(r, "If-None-Match") : NULL, .zips = accepts_gzip(r) };
}

void http_answer(struct http_request *r, unsigned status, const char *type, char *text, size_t len)
{
	struct http_text t = http_text_for(r, status, type, text, len);

	if (len > HTTP_LONG) {
		http_work(r, &t, NULL);
		return;
	}
	http_pack(&t);
	http_respond_text(r, &t);
}

void http_answer_by(struct http_request *r, const char *type, const struct http_writer *w)
{
	const struct http_text t = http_text_for(r, MHD_HTTP_OK, type, NULL, 0);

	http_work(r, &t, w);
}

void http_answer_asset(struct http_request *r)
{
	const struct asset *a = r->asset;
	const char *known = http_received(r, "If-None-Match");
	const bool small = a->gzip && accepts_gzip(r);
	struct http_text t = { .status = MHD_HTTP_OK, .type = a->type, .text = (char *)(uintptr_t)(small ? a->gzip : a->plain),
		.len = small ? a->gzip_len : a->plain_len, .tagged = true, .same = known && guard_etag_listed(known, a->etag), .zipped = small };

	snprintf(t.etag, sizeof(t.etag), "%s", a->etag);
	respond_bytes(r, &t, MHD_RESPMEM_PERSISTENT);
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
