/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http_request - what the files http*.c share: the server, and an exchange as they see it. Nobody else includes it. */
#ifndef GATEWAY_HTTP_REQUEST_H
#define GATEWAY_HTTP_REQUEST_H

#include <microhttpd.h>

#include "gateway/face/assets.h"
#include "gateway/face/http_door.h"
#include "gateway/face/http_guard.h"
#include "gateway/face/login.h"

#define HTTP_WHY_MAX  192
#define HTTP_ETAG_MAX 24

struct http {
	uv_loop_t *loop;
	const struct config *config;
	const struct http_route *routes;
	size_t route_count;
	void *owner;
	struct login login;
	char name[GUARD_HOST_MAX]; /* the host's */
	struct door *door;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t timer;
	bool soon; /* it is to be driven in the next turn */
	size_t handles; /* not closed yet */
	size_t streams;
	size_t working;		  /* answers that threads make now */
	size_t untaken;		  /* bytes of answers that clients have yet to take */
	struct http_work *waits; /* first of the answers to be made */
	struct http_request *requests;
};

struct http_request {
	struct http *http;
	struct http_request *next;
	struct MHD_Connection *connection;
	struct visitor *visitor;
	const struct http_route *route;
	const struct asset *asset; /* no route, but one of these */
	struct guard_path path;
	const char *wild[HTTP_SEGMENTS_MAX];
	int path_err;
	size_t target_len; /* as it was written */
	enum { HTTP_BEGINS, HTTP_ARRIVES, HTTP_SERVED, HTTP_ANSWERED, HTTP_ENDS } stage;
	bool suspended, logged_in;
	bool at_once; /* refused without reading its body */
	unsigned refused; /* status; 0: it may pass */
	char why[HTTP_WHY_MAX];
	char *body;
	size_t body_len; /* beyond HTTP_BODY_MAX only counted */

	void (*gone)(void *data);
	void *gone_data;

	const char *header; /* one more, NULL: none */
	char value[HTTP_VALUE_MAX];
	unsigned status;
	struct MHD_Response *response;
	size_t untaken; /* its part */
	struct http_stream *stream;
	struct http_work *work;
};

/* A text on its way to a client, and what of it that client is sent. Bytes alone: any thread may pack it. */
struct http_text {
	unsigned status;
	const char *type;
	char *text; /* malloced; NULL: none */
	size_t len;
	bool tagged;	   /* has an ETag: who knows it is told so */
	const char *known; /* If-None-Match; NULL: none */
	bool zips;	   /* the client takes gzip */
	/* packed */
	char etag[HTTP_ETAG_MAX];
	bool same, zipped;
};

/* --- http_judge.c --- */

/* Refuses what must not pass, once the head is there: sets refused and why, and what the request is for. */
void http_judge(struct http_request *r, const char *method, const char *version);
const char *http_received(const struct http_request *r, const char *header); /* NULL: it has none */

/* --- http_answer.c --- */

/* The answer to come with the headers that each has. response may be NULL: no memory, the connection ends. */
void http_respond(struct http_request *r, unsigned status, const char *type, struct MHD_Response *response);
void http_answer_refused(struct http_request *r);
struct http_text http_text_for(const struct http_request *r, unsigned status, const char *type, char *text, size_t len);
void http_pack(struct http_text *t);
void http_respond_text(struct http_request *r, const struct http_text *t); /* takes the text */
void http_answer_asset(struct http_request *r);

/* --- http.c --- */

void http_wake(struct http_request *r); /* it was suspended, or not: MHD asks for what to do next */
void http_drive_soon(struct http *h);	/* in the next turn: whoever asks may be called by MHD */
void http_let_go(struct http *h);	/* one of its handles is closed: it is freed with the last */

/* --- http_work.c --- */

/* A thread is to pack the text, written by w where there is one; the answer follows. known is copied. */
void http_work(struct http_request *r, const struct http_text *t, const struct http_writer *w);
#define HTTP_NEVER UINT64_MAX
uint64_t http_work_next(struct http *h); /* begins what may begin; in how many ms to look again at the latest */
void http_work_gone(struct http_work *w); /* its request has */

/* --- http_stream.c --- */

void http_stream_gone(struct http_stream *s); /* it ends with its request: tells and frees */

#endif
