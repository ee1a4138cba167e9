/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/face/http_request.h"

#define BLOCK 4096 /* bytes handed to MHD at a time */

struct http_chunk {
	size_t references, len;
	char text[];
};

/* A chunk in a listener's queue. */
struct entry {
	struct entry *next;
	struct http_chunk *chunk;
};

struct http_stream {
	struct http_request *request;
	struct entry *first, **last;
	size_t begun;	/* bytes of the first that are told */
	size_t waiting; /* bytes, and what their entries take */
	bool ended;
	void (*gone)(void *data);
	void *gone_data;
};

struct http_chunk *http_chunk_new(const char *text, size_t len)
{
	struct http_chunk *c = malloc(sizeof(*c) + len);

	if (!c)
		return NULL;
	c->references = 1;
	c->len = len;
	memcpy(c->text, text, len);
	return c;
}

void http_chunk_free(struct http_chunk *c)
{
	if (c && --c->references == 0)
		free(c);
}

static void drop_first(struct http_stream *s)
{
	struct entry *e = s->first;

	s->first = e->next;
	if (!s->first)
		s->last = &s->first;
	s->begun = 0;
	s->waiting -= e->chunk->len + sizeof(*e);
	http_chunk_free(e->chunk);
	free(e);
}

static void vanished(void *data)
{
	struct http_stream *s = data;

	s->ended = true;
	http_wake(s->request);
}

/* MHD has room: as many chunks as fit. None: it sleeps until there is one. */
static ssize_t next_bytes(void *stream, uint64_t pos, char *buf, size_t max)
{
	struct http_stream *s = stream;
	size_t used = 0;

	(void)pos;
	if (s->ended)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	while (s->first && used < max) {
		const struct http_chunk *c = s->first->chunk;
		const size_t left = c->len - s->begun, n = left < max - used ? left : max - used;

		memcpy(buf + used, c->text + s->begun, n);
		used += n;
		s->begun += n;
		if (s->begun == c->len)
			drop_first(s);
	}
	if (used == 0) {
		MHD_suspend_connection(s->request->connection);
		s->request->suspended = true;
		visitor_watch(s->request->visitor, vanished, s);
	}
	return (ssize_t)used;
}

int http_stream_open(struct http_stream **out, struct http_request *r, const char *type, void (*gone)(void *data), void *data)
{
	struct http_stream *s;
	struct MHD_Response *response;

	if (r->http->streams == HTTP_STREAMS_MAX)
		return -ENOSPC;
	s = calloc(1, sizeof(*s));
	response = s ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, next_bytes, s, NULL) : NULL;
	if (!response) {
		free(s);
		return -ENOMEM;
	}
	*s = (struct http_stream){ .request = r, .last = &s->first, .gone = gone, .gone_data = data };
	r->http->streams++;
	r->gone = NULL;
	r->stream = s;
	*out = s;
	http_respond(r, MHD_HTTP_OK, type, response);
	return 0;
}

int http_stream_write(struct http_stream *s, struct http_chunk *c)
{
	struct entry *e = s->ended || c->len == 0 ? NULL : malloc(sizeof(*e));

	if (c->len == 0)
		return 0;
	if (!e || s->waiting + c->len + sizeof(*e) > HTTP_STREAM_MAX) {
		free(e);
		s->ended = true;
		visitor_end(s->request->visitor); /* it may be waiting for its client, where no word of ours reaches it */
		http_wake(s->request);
		return -ENOBUFS;
	}
	*e = (struct entry){ .chunk = c };
	c->references++;
	*s->last = e;
	s->last = &e->next;
	s->waiting += c->len + sizeof(*e);
	http_wake(s->request);
	return 0;
}

void http_stream_gone(struct http_stream *s)
{
	s->request->http->streams--;
	if (s->gone)
		s->gone(s->gone_data);
	while (s->first)
		drop_first(s);
	free(s);
}
