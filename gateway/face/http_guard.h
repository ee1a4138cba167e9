/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http_guard - is a request well formed, and meant for us? Functions of bytes, without I/O.
 *
 * Texts are terminated and may hold anything else. What cannot be understood is refused, never guessed at.
 */
#ifndef GATEWAY_HTTP_GUARD_H
#define GATEWAY_HTTP_GUARD_H

#include "gateway/face/http.h"

#define GUARD_HOST_MAX	   256
#define GUARD_SEGMENTS_MAX 8 /* of a path */

/*
 * A request's head, header by header, for what MHD does not look at: it keeps a second Host or Content-Length (RFC 9112
 * section 6.3), and reads a line to its first NUL, so that what follows is seen by others and not by us.
 */
struct guard_head {
	size_t hosts, lengths, codings, headers;
	size_t seen; /* bytes of the head that we were told of */
	bool unclean;
};
void guard_header(struct guard_head *h, const char *name, size_t name_len, const char *value, size_t value_len);
/* NULL when all is well, else what is wrong with it. line_len: of method, path and version; size: of the whole head, 0 when not known. */
const char *guard_head(const struct guard_head *h, size_t line_len, size_t size);

/* A Content-Length: digits alone. -EINVAL; what is beyond all bounds is SIZE_MAX. */
int guard_length(const char *text, size_t *out);

struct guard_path {
	char text[HTTP_PATH_MAX + GUARD_SEGMENTS_MAX + 1];
	const char *segments[GUARD_SEGMENTS_MAX]; /* decoded, within text; "/" is one empty segment */
	size_t count;
};
/*
 * A request's target as it is written; what follows '?' is left out. -ENAMETOOLONG: over HTTP_PATH_MAX, -EINVAL: does not begin
 * with '/', has a wrong '%', or a control character, written or encoded; -ENOENT: too many segments for any of ours.
 */
int guard_path(struct guard_path *out, const char *target);
/* Whether it is a route's path; in wild what stands for each '*', at most HTTP_SEGMENTS_MAX. */
bool guard_path_fits(const struct guard_path *p, const char *route, const char *wild[HTTP_SEGMENTS_MAX]);

/* The Host header, RFC 9110 section 7.2: an address or a name in small letters, its port left out. */
struct guard_host {
	char name[GUARD_HOST_MAX]; /* "" when it is an address */
	struct endpoint ip;	   /* family NONE when it is a name */
};
int guard_host(struct guard_host *out, const char *value); /* -EINVAL */
/* Whether a host's name is ours: name itself, or in a domain that no stranger can have (lan, local, home.arpa, internal). */
bool guard_name_is(const char *host, const char *name);
/* Whether an Origin header is the page that Host names, whichever of http and https it came by. */
bool guard_origin_is(const char *origin, const char *host);
bool guard_type_is_json(const char *type); /* parameters are fine */
/* The value of a cookie, the first of its name. False: there is none, or it is not shorter than max. */
bool guard_cookie(const char *cookies, const char *name, char *out, size_t max);
bool guard_accepts_gzip(const char *accept); /* Accept-Encoding; q=0 is no */
bool guard_etag_listed(const char *if_none_match, const char *etag); /* weak comparison, RFC 9110 section 8.8.3.2 */

#endif
