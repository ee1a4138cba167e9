/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http - the web server: libmicrohttpd in the event loop, and what every request passes before a route sees it.
 *
 *	http_door	listens, accepts, counts, ends who is late; tells when a client that waits has gone
 *	http_guard	is this request well formed, and meant for us? functions of bytes
 *	http		the request's life: judged, body collected, served, answered
 *	http_work	answers that are long: made in a thread
 *	http_stream	answers that have no end
 *
 * Until http_serve says what there is to serve, clients wait in the kernel's queue.
 *
 * What a route never sees: a head over HTTP_MEMORY or not whole HTTP_ARRIVE_MS after the connection was made or
 * the answer before was sent, a body over HTTP_BODY_MAX, a Host that is not ours (DNS rebinding), a second Host or
 * Content-Length, a Transfer-Encoding, bytes that a head does not have, a path that is badly encoded; and where
 * something is to be changed, a foreign Origin, another type than application/json, whoever has no right to.
 *
 * What MHD finds malformed it answers itself, in HTML; all else is refused in JSON.
 */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "lib/endpoint.h"
#include "lib/text.h"
#include "sys/netif.h"

#define HTTP_PORT	     9699
#define HTTP_BODY_MAX	     4096  /* bytes of a request's body */
#define HTTP_SWALLOW_MAX     65536 /* a longer one that is refused is not read to its end: the connection ends */
#define HTTP_PATH_MAX	     256   /* bytes of a path as it is written, query included */
#define HTTP_SEGMENTS_MAX    4	   /* '*' of a route */
#define HTTP_MEMORY	     8192  /* of a connection: the head of a request and that of its answer */
#define HTTP_ARRIVE_MS	     10000 /* from the connection's beginning, or the last answer's end, until a request is there whole */
#define HTTP_TAKE_MS	     30000 /* until an answer is taken */
#define HTTP_CONNECTIONS_MAX 256
#define HTTP_CLIENT_MAX	     128 /* of one address */
#define HTTP_CLIENT_IDLE_MAX 32	 /* … on which no request is served: one more ends the oldest */
#define HTTP_STREAMS_MAX     128
#define HTTP_STREAM_MAX	     262144 /* bytes that wait for a listener */
#define HTTP_ZIP_MIN	     512    /* bytes worth packing … */
#define HTTP_LONG	     16384  /* … and that are packed in a thread: the loop would be held up */
#define HTTP_WRITERS_MAX     1	    /* at a time: a processor at least is the loop's */
#define HTTP_UNTAKEN_MAX     4194304 /* bytes of answers that clients have yet to take: long ones begin when it is less … */
#define HTTP_WAIT_MS	     5000    /* … or are 503 */

struct config;
struct http;
/* An exchange: the route's from serve until it is answered, or gone. */
struct http_request;

struct http_route {
	const char *method; /* "GET" serves HEAD too */
	const char *path;   /* "/status"; a segment that is '*' is any one, not empty, percent-decoded */
	bool changes;	    /* wants a good Origin, application/json where there is a body, and http_logged_in */
	bool open;	    /* it changes something, but not as http_logged_in: POST /login */
	void (*serve)(void *owner, struct http_request *r); /* the body is whole */
};

/* Borrows the configuration: its http names and addresses, as they are at each request. password: NULL for none. Negative errno, said in the log. */
int http_open(struct http **out, uv_loop_t *loop, const struct config *config, const char *password);
/*
 * Listens on the LANs' addresses, unless --http names what it listens on; who came by a LAN may change things where there is no password.
 * Addresses come and go. Negative errno, said in the log once, when one cannot be listened on: that is tried again every few seconds.
 */
int http_follow(struct http *h, const struct netif *lans, size_t count);
/* From now on requests are served. routes are borrowed; all that is no route is looked for in the assets. */
void http_serve(struct http *h, const struct http_route *routes, size_t count, void *owner);
/* The password, none being NULL: when it is another than before, all sessions end. */
void http_password(struct http *h, const char *password);
/* Whoever waits is told that he has gone. NULL is fine. */
void http_close(struct http *h);

const char *http_segment(const struct http_request *r, size_t i); /* the i-th '*' */
const char *http_body(const struct http_request *r, size_t *len); /* terminated, no NUL inside; "" when there is none */
/* Whether this client may change things: he logged in, or there is no password and he came from a LAN's subnet or from the router itself. */
bool http_logged_in(const struct http_request *r);
bool http_login_required(const struct http *h); /* there is a password */
struct endpoint http_client(const struct http_request *r);

/*
 * Each request is answered once, at once from serve or later; then it is the route's no more. text is malloced and
 * becomes the server's (NULL with len 0: none). ETag, 304, gzip and HEAD are the server's affair.
 */
void http_answer(struct http_request *r, unsigned status, const char *type, char *text, size_t len);
/*
 * An answer (200) that may be long: when its turn comes, copy what it shows, a part in each turn of the loop; write the text in a thread,
 * from the copy alone. It is hashed and packed there, too. HTTP_WRITERS_MAX at a time, in the order in which they were asked, and none while
 * HTTP_UNTAKEN_MAX wait for slow clients: who waits costs no memory, and hears 503 after HTTP_WAIT_MS. A client that goes away meanwhile is answered in vain.
 */
struct http_writer {
	void *(*begin)(void *owner); /* NULL: no memory, which is answered with 503 */
	int (*copy)(void *copy);     /* 1: there is more, 0: that was all; negative errno: 503 */
	void (*write)(void *copy, struct text *out);
	void (*free)(void *copy); /* in the thread or in the loop */
};
void http_answer_by(struct http_request *r, const char *type, const struct http_writer *w);
/* {"status":"error","error":"…"} */
__attribute__((format(printf, 3, 4))) void http_error(struct http_request *r, unsigned status, const char *format, ...);
/* One more header of the answer to come, at most one; the name is borrowed, the value is cut to HTTP_VALUE_MAX - 1. */
#define HTTP_VALUE_MAX 128
/* Retry-After of a 429 or 503: where others have to be answered first; where the router mends itself or memory comes free. */
#define HTTP_RETRY_SOON	 "1"
#define HTTP_RETRY_LATER "10"
void http_header(struct http_request *r, const char *name, const char *value);
/* Answers a POST /login: 200 and a session's cookie, 401, 429. Answers a POST /logout. */
void http_log_in(struct http_request *r, const char *password);
void http_log_out(struct http_request *r);
/*
 * Told from the loop when the client goes away, or closes its sending side, before its answer; r is gone then. NULL
 * takes it back. Without it a request is kept until it is answered, whether or not its client is still there.
 */
void http_on_gone(struct http_request *r, void (*gone)(void *data), void *data);

/*
 * text/event-stream and the like: the head goes now, then what is written. Chunks are shared between listeners by
 * reference count, not thread-safe. gone is told from the loop, never from within a call of these, and the stream is gone then.
 */
struct http_stream;
struct http_chunk;
/* The request is answered by it. -ENOSPC: there are HTTP_STREAMS_MAX, and the request is still to be answered (503). */
int http_stream_open(struct http_stream **out, struct http_request *r, const char *type, void (*gone)(void *data), void *data);
struct http_chunk *http_chunk_new(const char *text, size_t len); /* NULL: no memory; it holds one reference */
void http_chunk_free(struct http_chunk *c);			 /* drops one; NULL is fine */
/* -ENOBUFS: the listener is too slow, more than HTTP_STREAM_MAX bytes wait: the stream ends, and gone will be told. */
int http_stream_write(struct http_stream *s, struct http_chunk *c);

#endif
