/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/face/http_request.h"
#include "sys/clock.h"

/* An answer that a thread makes. Until it begins it is in the server's list, and ends with its request. */
struct http_work {
	uv_work_t uv;
	struct http *http;
	struct http_request *request; /* NULL: it has gone */
	const struct http_writer *writer; /* NULL: the text is there */
	void *copy; /* NULL: not begun, or not any more */
	struct http_text text;
	char *known; /* the text's */
	uint64_t since_ms;
	struct http_work *next;
	bool begun;
};

static void work_free(struct http_work *w)
{
	if (w->copy)
		w->writer->free(w->copy);
	free(w->known);
	free(w);
}

void http_work(struct http_request *r, const struct http_text *t, const struct http_writer *writer)
{
	struct http_work *w = calloc(1, sizeof(*w)), **at = &r->http->waits;

	r->gone = NULL; /* it is answered */
	if (!w || (t->known && !(w->known = strdup(t->known)))) {
		free(w);
		free(t->text);
		http_respond(r, 0, NULL, NULL);
		return;
	}
	w->uv.data = w;
	w->http = r->http;
	w->request = r;
	w->writer = writer;
	w->since_ms = clock_ms();
	w->text = *t;
	w->text.known = w->known;
	r->work = w;
	while (*at)
		at = &(*at)->next;
	*at = w;
	http_drive_soon(r->http);
}

void http_work_gone(struct http_work *w)
{
	struct http_work **at = &w->http->waits;

	w->request = NULL;
	if (w->begun)
		return;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	free(w->text.text);
	work_free(w);
}

/* The thread's. */
static void work(uv_work_t *uv)
{
	struct http_work *w = uv->data;
	struct text out = TEXT_GROWING;

	if (w->writer) {
		w->writer->write(w->copy, &out);
		w->writer->free(w->copy);
		w->copy = NULL;
		w->text.text = text_take(&out, &w->text.len);
	}
	if (w->text.text)
		http_pack(&w->text);
}

static void answer(struct http_request *r, const struct http_text *t)
{
	r->work = NULL;
	if (t->text) {
		http_respond_text(r, t);
		return;
	}
	http_header(r, "Retry-After", HTTP_RETRY_LATER);
	http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "no memory for the answer: come again later");
}

static void worked(uv_work_t *uv, int status)
{
	struct http_work *w = uv->data;
	struct http *h = w->http;

	(void)status;
	h->working--;
	if (w->request)
		answer(w->request, &w->text);
	else
		free(w->text.text);
	work_free(w);
	if (!uv_is_closing((uv_handle_t *)&h->timer))
		http_drive_soon(h); /* the next may begin */
	http_let_go(h);
}

/* 1: there is more. It has no copy to make where the text is there. */
static int copy_part(struct http_work *w)
{
	if (!w->writer)
		return 0;
	if (w->copy)
		return w->writer->copy(w->copy);
	w->copy = w->writer->begin(w->http->owner);
	return w->copy ? 1 : -ENOMEM;
}

/* The server stays until the thread has ended, as with a handle. */
static void begin(struct http_work *w)
{
	struct http *h = w->http;

	w->begun = true;
	h->working++;
	h->handles++;
	uv_queue_work(h->loop, &w->uv, work, worked); /* fails only without a function */
}

/* Who takes nothing of what he asked for is not to keep the others waiting. */
static void refuse(struct http_work *w)
{
	struct http_request *r = w->request;

	r->work = NULL;
	free(w->text.text);
	work_free(w);
	http_header(r, "Retry-After", HTTP_RETRY_LATER);
	http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%zu bytes of answers wait for those who asked for them: come again later", r->http->untaken);
}

uint64_t http_work_next(struct http *h)
{
	struct http_work *w = h->waits;
	int more;

	if (!w || h->working == HTTP_WRITERS_MAX)
		return HTTP_NEVER;
	if (!w->copy && h->untaken >= HTTP_UNTAKEN_MAX && clock_ms() < w->since_ms + HTTP_WAIT_MS)
		return w->since_ms + HTTP_WAIT_MS - clock_ms();
	http_drive_soon(h); /* for the next part, or the next in the list */
	if (!w->copy && h->untaken >= HTTP_UNTAKEN_MAX) {
		h->waits = w->next;
		refuse(w);
		return HTTP_NEVER;
	}
	more = copy_part(w);
	if (more > 0)
		return HTTP_NEVER;
	h->waits = w->next;
	if (more == 0) {
		begin(w);
	} else {
		answer(w->request, &w->text);
		work_free(w);
	}
	return HTTP_NEVER;
}
