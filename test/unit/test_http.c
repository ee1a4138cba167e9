/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The web server: its guards as functions of bytes, then whole requests over a socketpair, the loop run by hand. */
#include "test/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/config.h"
#include "gateway/face/http_request.h"
#include "sys/log.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- guards --- */

static void a_path_is_split_and_decoded(void **state)
{
	const char *wild[HTTP_SEGMENTS_MAX];
	struct guard_path p;

	(void)state;
	assert_int_equal(guard_path(&p, "/mappings/TCP/192.168.1.10/68%381?x=/y"), 0);
	assert_int_equal(p.count, 4);
	assert_true(guard_path_fits(&p, "/mappings/*/*/*", wild));
	assert_string_equal(wild[0], "TCP");
	assert_string_equal(wild[2], "6881");
	assert_false(guard_path_fits(&p, "/mappings/*/*", wild));
	assert_false(guard_path_fits(&p, "/mappings/*/*/*/*", wild));
	assert_false(guard_path_fits(&p, "/mapping/*/*/*", wild));
	assert_int_equal(guard_path(&p, "/"), 0);
	assert_true(guard_path_fits(&p, "/", wild));
	assert_false(guard_path_fits(&p, "/*", wild)); /* a segment is not empty */
	assert_int_equal(guard_path(&p, "/a%2fb"), 0);
	assert_true(guard_path_fits(&p, "/*", wild));
	assert_string_equal(wild[0], "a/b"); /* and not two */
}

static void a_path_that_is_none_is_refused(void **state)
{
	static const char *const wrong[] = { "", "*", "status", "http://router/status", "/%", "/%4", "/%zz", "/%00", "/a%0ab", "/a\nb", "/%7f", "/%?41", "/%4?1" };
	char longest[HTTP_PATH_MAX + 2] = "/";
	struct guard_path p;

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++)
		if (guard_path(&p, wrong[i]) != -EINVAL)
			fail_msg("'%s' was taken for a path", wrong[i]);
	assert_int_equal(guard_path(&p, "/1/2/3/4/5/6/7/8"), 0);
	assert_int_equal(guard_path(&p, "/1/2/3/4/5/6/7/8/9"), -ENOENT);
	memset(longest + 1, 'a', HTTP_PATH_MAX - 1);
	assert_int_equal(guard_path(&p, longest), 0);
	longest[HTTP_PATH_MAX] = 'a';
	assert_int_equal(guard_path(&p, longest), -ENAMETOOLONG);
}

static void a_host_is_an_address_or_a_name(void **state)
{
	static const char *const wrong[] = { "", ":80", "a b", "a/b", "user@router", "[::1", "[router]", "::1", "router:", "router:x", "router:123456",
		"[::1]x", "router\x80", "a,b" };
	struct guard_host h;

	(void)state;
	assert_int_equal(guard_host(&h, "Router.LAN.:9699"), 0);
	assert_string_equal(h.name, "router.lan");
	assert_int_equal(guard_host(&h, "192.168.1.1:9699"), 0);
	assert_int_equal(endpoint_ip32(&h.ip), 0xc0a80101);
	assert_string_equal(h.name, "");
	assert_int_equal(guard_host(&h, "[::1]:9699"), 0);
	assert_int_equal(h.ip.family, ENDPOINT_IPV6);
	assert_int_equal(guard_host(&h, "192.168.1.1.evil.example"), 0);
	assert_int_equal(h.ip.family, ENDPOINT_NONE);
	for (size_t i = 0; i < COUNT(wrong); i++)
		if (guard_host(&h, wrong[i]) != -EINVAL)
			fail_msg("'%s' was taken for a host", wrong[i]);
}

static void a_name_is_ours_in_nobodys_domain(void **state)
{
	(void)state;
	assert_true(guard_name_is("openwrt", "OpenWrt"));
	assert_true(guard_name_is("openwrt.lan", "OpenWrt"));
	assert_true(guard_name_is("openwrt.home.arpa", "OpenWrt"));
	assert_false(guard_name_is("openwrt.evil.example", "OpenWrt"));
	assert_false(guard_name_is("openwrtx", "OpenWrt"));
	assert_false(guard_name_is("openwrt.lan.evil.example", "OpenWrt"));
	assert_false(guard_name_is(".lan", ""));
}

static void an_origin_is_the_page_that_host_names(void **state)
{
	(void)state;
	assert_true(guard_origin_is("http://router:9699", "router:9699"));
	assert_true(guard_origin_is("https://Router", "router"));
	assert_false(guard_origin_is("http://router:9699", "router:80"));
	assert_false(guard_origin_is("http://router:9699.evil.example", "router:9699"));
	assert_false(guard_origin_is("http://evil.example", "router:9699"));
	assert_false(guard_origin_is("null", "null"));
	assert_false(guard_origin_is("", ""));
}

static void types_cookies_codings_and_etags_are_read(void **state)
{
	char value[8] = "";

	(void)state;
	assert_true(guard_type_is_json("application/json"));
	assert_true(guard_type_is_json("Application/JSON ; charset=utf-8"));
	assert_false(guard_type_is_json("application/jsonx"));
	assert_false(guard_type_is_json("text/plain;application/json"));
	assert_true(guard_cookie("a=1; stunway=abc; b=2", "stunway", value, sizeof(value)));
	assert_string_equal(value, "abc");
	assert_true(guard_cookie("stunway=1;stunway=2", "stunway", value, sizeof(value)));
	assert_string_equal(value, "1");
	assert_false(guard_cookie("xstunway=abc; stunwayx=1; stunway", "stunway", value, sizeof(value)));
	assert_false(guard_cookie("stunway=12345678", "stunway", value, sizeof(value)));
	assert_true(guard_accepts_gzip("deflate, gzip;q=0.5, br"));
	assert_false(guard_accepts_gzip("gzip;q=0.0, br"));
	assert_false(guard_accepts_gzip("gzip ; q=0"));
	assert_true(guard_accepts_gzip("gzip;q=0.01"));
	assert_false(guard_accepts_gzip("xgzip, br"));
	assert_false(guard_accepts_gzip(""));
	assert_true(guard_etag_listed("\"a\", W/\"b\"", "\"b\""));
	assert_true(guard_etag_listed("*", "\"b\""));
	assert_true(guard_etag_listed("\"b\"", "W/\"b\""));
	assert_false(guard_etag_listed("\"bb\",\"a\"", "\"b\""));
	assert_false(guard_etag_listed("", "\"b\""));
}

static void a_length_is_digits(void **state)
{
	static const char *const wrong[] = { "", "-1", "+1", " 1", "1 ", "0x1", "1,1" };
	size_t n = 7;

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_int_equal(guard_length(wrong[i], &n), -EINVAL);
	assert_int_equal(guard_length("0", &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(guard_length("4096", &n), 0);
	assert_int_equal(n, 4096);
	assert_int_equal(guard_length("99999999999999999999999999", &n), 0);
	assert_true(n > 1000000);
}

/* --- login --- */

static void who_guesses_waits_and_nobody_else(void **state)
{
	const struct endpoint guesser = endpoint_ipv4(1, 1000), other = endpoint_ipv4(2, 1000);
	struct endpoint again = endpoint_ipv4(1, 2000);
	static struct login l;
	uint32_t wait_s = 0;

	(void)state;
	login_password(&l, "secret");
	for (int i = 0; i < LOGIN_FREE; i++)
		assert_int_equal(login_try(&l, &guesser, i % 2 ? "secretx" : "", 1000, &wait_s), LOGIN_WRONG);
	assert_int_equal(login_try(&l, &again, "secret", 1000, &wait_s), LOGIN_WAIT); /* the right one neither: or it would be found */
	assert_int_equal(wait_s, 1);
	assert_int_equal(login_try(&l, &other, "secret", 1000, &wait_s), LOGIN_RIGHT);
	assert_int_equal(login_try(&l, &guesser, "wrong", 2000, &wait_s), LOGIN_WRONG);
	assert_int_equal(login_try(&l, &guesser, "secret", 3999, &wait_s), LOGIN_WAIT);
	assert_int_equal(login_try(&l, &guesser, "secret", 4000, &wait_s), LOGIN_RIGHT);
	assert_int_equal(login_try(&l, &guesser, "wrong", 4000, &wait_s), LOGIN_WRONG); /* all is forgotten */
	assert_int_equal(login_try(&l, &guesser, "secret", 4000, &wait_s), LOGIN_RIGHT);
}

static void many_strangers_lock_out_nobody(void **state)
{
	const struct endpoint owner = endpoint_ipv4(7, 1);
	static struct login l;
	uint32_t wait_s;

	(void)state;
	login_password(&l, "secret");
	for (uint32_t i = 0; i < 20000; i++) {
		const struct endpoint stranger = endpoint_ipv4(1000 + i % 500, 1);

		login_try(&l, &stranger, "wrong", i, &wait_s);
	}
	assert_int_equal(login_try(&l, &owner, "secret", 20000, &wait_s), LOGIN_RIGHT);
}

static void sessions_end(void **state)
{
	char id[LOGIN_ID_MAX], more[LOGIN_SESSIONS][LOGIN_ID_MAX];
	static struct login l;

	(void)state;
	login_password(&l, "secret");
	assert_false(login_known(&l, "", 1));
	login_begin(&l, 1, id);
	assert_true(login_known(&l, id, LOGIN_IDLE_MS));
	assert_true(login_known(&l, id, 2 * LOGIN_IDLE_MS - 1)); /* used meanwhile */
	assert_false(login_known(&l, id, 4 * (uint64_t)LOGIN_IDLE_MS));
	login_begin(&l, 10, id);
	login_end(&l, id);
	assert_false(login_known(&l, id, 10));
	memset(l.sessions, 0, sizeof(l.sessions));
	for (uint64_t i = 0; i < LOGIN_SESSIONS; i++)
		login_begin(&l, 1000 + i, more[i]);
	login_known(&l, more[0], 5000);
	login_begin(&l, 6000, id); /* in the place of the one that was idle longest */
	assert_true(login_known(&l, more[0], 6000));
	assert_false(login_known(&l, more[1], 6000));
	login_password(&l, "secret");
	assert_true(login_known(&l, id, 6000)); /* the same */
	login_password(&l, "another");
	assert_false(login_known(&l, id, 6000));
}

static void a_password_is_a_files_first_line(void **state)
{
	static const struct {
		const char *file, *password;
	} rows[] = { { "secret\nmore\n", "secret" }, { "with space \r\n", "with space " }, { "s\303\244", "s\303\244" }, { "", NULL }, { "\nsecret\n", NULL }, { "a\tb\n", NULL } };
	char out[LOGIN_PASSWORD_MAX], longest[LOGIN_PASSWORD_MAX];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	for (size_t i = 0; i <= COUNT(rows); i++) {
		const char *text = i < COUNT(rows) ? rows[i].file : longest, *want = i < COUNT(rows) ? rows[i].password : NULL;
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		assert_true(write(fds[1], text, i < COUNT(rows) ? strlen(text) : sizeof(longest)) >= 0);
		close(fds[1]);
		assert_int_equal(login_read(out, fds[0]), want ? 0 : -EINVAL);
		if (want)
			assert_string_equal(out, want);
		close(fds[0]);
	}
}

/* --- whole requests --- */

static struct fixture {
	uv_loop_t loop;
	struct config config;
	struct http *http;
	int served, gone, copies;
	size_t long_len;
	bool held; /* a long answer waits for the semaphore */
	bool no_copy;
	uv_sem_t sem;
	uv_thread_t thread;
	struct http_request *later;
	struct http_stream *stream;
} f;

static void told_gone(void *data)
{
	assert_ptr_equal(data, &f);
	f.gone++;
	f.later = NULL;
	f.stream = NULL;
}

static void echo(void *owner, struct http_request *r)
{
	size_t len;
	const char *body = http_body(r, &len);
	char *text;

	assert_ptr_equal(owner, &f);
	f.served++;
	len = (size_t)asprintf(&text, "%s|%s", http_segment(r, 0), body);
	http_answer(r, 200, "text/plain", text, len);
}

static void later(void *owner, struct http_request *r)
{
	(void)owner;
	f.served++;
	f.later = r;
	http_on_gone(r, told_gone, &f);
}

static void stream(void *owner, struct http_request *r)
{
	(void)owner;
	f.served++;
	if (http_stream_open(&f.stream, r, "text/event-stream", told_gone, &f) < 0)
		http_error(r, 503, "too many listeners");
}

static void big(void *owner, struct http_request *r)
{
	char *text = malloc(20000);

	(void)owner;
	memset(text, 'x', 20000);
	http_answer(r, 200, "text/plain", text, 20000);
}

static void *begin_long(void *owner)
{
	assert_ptr_equal(owner, &f);
	f.copies++;
	return f.no_copy ? NULL : calloc(1, 8);
}

/* One letter in each turn. */
static int copy_long(void *copy)
{
	char *word = copy;

	strncat(word, &"long "[strlen(word)], 1);
	return strlen(word) < 5;
}

static void write_long(void *copy, struct text *out)
{
	const uv_thread_t self = uv_thread_self();

	assert_false(uv_thread_equal(&f.thread, &self));
	if (f.held)
		uv_sem_wait(&f.sem);
	while (out->len < f.long_len)
		text_word(out, copy);
}

static void answer_long(void *owner, struct http_request *r)
{
	static const struct http_writer writer = { begin_long, copy_long, write_long, free };

	(void)owner;
	f.served++;
	http_answer_by(r, "text/plain", &writer);
}

static const struct http_route routes[] = {
	{ "GET", "/long", false, false, answer_long },
	{ "GET", "/echo/*", false, false, echo },
	{ "POST", "/echo/*", true, false, echo },
	{ "POST", "/later", true, false, later },
	{ "GET", "/stream", false, false, stream },
	{ "GET", "/big", false, false, big },
};

static void turn(void)
{
	for (int i = 0; i < 10; i++)
		uv_run(&f.loop, UV_RUN_NOWAIT);
	while (!f.held && f.http->working)
		uv_run(&f.loop, UV_RUN_ONCE);
	for (int i = 0; i < 10; i++)
		uv_run(&f.loop, UV_RUN_NOWAIT);
}

static int begin(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.config = (struct config){ .http_none = true };
	f.long_len = 300000;
	f.thread = uv_thread_self();
	uv_sem_init(&f.sem, 0);
	uv_loop_init(&f.loop);
	assert_int_equal(http_open(&f.http, &f.loop, &f.config, NULL), 0);
	assert_int_equal(http_follow(f.http, NULL, 0), 0);
	http_serve(f.http, routes, COUNT(routes), &f);
	return 0;
}

static int end(void **state)
{
	(void)state;
	http_close(f.http);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f.loop), 0); /* no handle is left, and no leak is for the sanitizer to find */
	uv_sem_destroy(&f.sem);
	return 0;
}

static int come_from(uint32_t ip)
{
	const struct endpoint client = endpoint_ipv4(ip, 1234);
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	door_enter(f.http->door, fds[0], &client);
	turn();
	return fds[1];
}

static int come(void)
{
	return come_from(0x7f000001);
}

static void say(int fd, const char *text)
{
	assert_true(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
	turn();
}

/* What has come; "" for nothing, NULL when the other end has closed. */
static const char *hear(int fd)
{
	static char text[65536];
	const ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n == 0 ? NULL : text;
}

static void answers(const char *request, const char *status, const char *has)
{
	const int fd = come();
	const char *heard;

	say(fd, request);
	heard = hear(fd);
	if (!heard || strncmp(heard, "HTTP/1.1 ", 9) != 0 || strncmp(heard + 9, status, 3) != 0 || !strstr(heard, has))
		fail_msg("'%s' was answered with '%s'", request, heard ? heard : "(nothing)");
	close(fd);
	turn();
}

#define HOST "Host: localhost:9699\r\n"

static void good_requests_are_served(void **state)
{
	(void)state;
	answers("GET /echo/a%20b HTTP/1.1\r\n" HOST "\r\n", "200", "\r\n\r\na b|");
	answers("POST /echo/x HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 2\r\nOrigin: http://localhost:9699\r\n\r\n{}", "200", "x|{}");
	answers("GET /echo/x HTTP/1.1\r\nHost:127.0.0.1\r\n\r\n", "200", "x|");
	answers("GET /echo/x HTTP/1.0\r\n" HOST "\r\n", "200", "x|");
	assert_int_equal(f.served, 4);
}

static void bad_requests_are_not(void **state)
{
	static const struct {
		const char *request, *status, *has;
	} rows[] = {
		{ "GET /echo/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403", "evil.example" },
		{ "GET /echo/x HTTP/1.1\r\nHost: 203.0.113.7\r\n\r\n", "403", "203.0.113.7" },
		{ "GET /echo/x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "400", "more than one Host" },
		{ "GET /echo/x HTTP/1.0\r\n\r\n", "400", "no Host" },
		{ "GET /echo/x HTTP/1.1\r\n" HOST "X: a\x01" "b\r\n\r\n", "400", "control" },
		{ "GET /echo/x HTTP/1.1\nHost: localhost\nX: y\n\n", "400", "line feed" },
		{ "GET /echo/%00 HTTP/1.1\r\n" HOST "\r\n", "400", "encoded" },
		{ "GET /none HTTP/1.1\r\n" HOST "\r\n", "404", "error" },
		{ "PUT /echo/x HTTP/1.1\r\n" HOST "\r\n", "405", "Allow: GET, HEAD, POST\r\n" },
		{ "OPTIONS /later HTTP/1.1\r\n" HOST "\r\n", "405", "Allow: POST\r\n" },
		{ "POST / HTTP/1.1\r\n" HOST "\r\n", "405", "Allow: GET, HEAD\r\n" },
		{ "POST /echo/x HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "400", "Content-Length" },
		{ "POST /echo/x HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "Transfer-Encoding" },
		{ "POST /echo/x HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", "415", "text/plain" },
		{ "POST /echo/x HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", "415", "application/json" },
		{ "POST /echo/x HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n\r\n", "403", "Origin" },
		{ "POST /echo/x HTTP/1.1\r\n" HOST "Sec-Fetch-Site: cross-site\r\n\r\n", "403", "Sec-Fetch-Site" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		answers(rows[i].request, rows[i].status, rows[i].has);
	assert_int_equal(f.served, 0);
}

/* MHD reads a line to its first NUL, so the length of the head tells. */
static void a_nul_in_the_head_is_seen(void **state)
{
	static const char request[] = "GET /echo/x HTTP/1.1\r\nHost: localhost\0.evil.example\r\n\r\n";
	const int fd = come();

	(void)state;
	assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
	turn();
	assert_non_null(strstr(hear(fd), "HTTP/1.1 400"));
	close(fd);
	assert_int_equal(f.served, 0);
}

static void a_body_comes_in_pieces_and_has_an_end(void **state)
{
	static const char head[] = "POST /echo/x HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n";
	static char body[HTTP_BODY_MAX + 2];
	char text[512];
	int fd = come();

	(void)state;
	memset(body, 'a', HTTP_BODY_MAX + 1);
	snprintf(text, sizeof(text), head, HTTP_BODY_MAX + 1);
	say(fd, text);
	say(fd, body);
	assert_non_null(strstr(hear(fd), "HTTP/1.1 413"));
	assert_int_equal(f.served, 0);
	snprintf(text, sizeof(text), head, HTTP_BODY_MAX);
	say(fd, text); /* on the same connection */
	body[HTTP_BODY_MAX] = '\0';
	say(fd, body + HTTP_BODY_MAX / 2);
	say(fd, body + HTTP_BODY_MAX / 2);
	assert_int_equal(f.served, 1);
	assert_non_null(strstr(hear(fd), body));
	close(fd);
}

static void what_is_known_is_not_sent_and_what_is_big_is_packed(void **state)
{
	char request[256], etag[32];
	const char *heard;
	int fd = come();

	(void)state;
	say(fd, "GET /big HTTP/1.1\r\n" HOST "Accept-Encoding: gzip, br\r\n\r\n");
	heard = hear(fd);
	assert_non_null(strstr(heard, "Content-Encoding: gzip\r\n"));
	assert_int_equal(sscanf(strstr(heard, "ETag: "), "ETag: %31s", etag), 1);
	say(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
	heard = hear(fd);
	assert_null(strstr(heard, "Content-Encoding"));
	assert_non_null(strstr(heard, "Content-Length: 20000\r\n"));
	snprintf(request, sizeof(request), "GET /big HTTP/1.1\r\n" HOST "If-None-Match: \"x\", %s\r\n\r\n", etag);
	say(fd, request);
	heard = hear(fd);
	assert_non_null(strstr(heard, "HTTP/1.1 304"));
	assert_string_equal(strstr(heard, "\r\n\r\n"), "\r\n\r\n");
	say(fd, "HEAD /big HTTP/1.1\r\n" HOST "\r\n");
	heard = hear(fd);
	assert_non_null(strstr(heard, "Content-Length: 20000\r\n"));
	assert_string_equal(strstr(heard, "\r\n\r\n"), "\r\n\r\n");
	close(fd);
}

/* Bytes that come until nothing more does. */
static size_t hear_all(int fd)
{
	size_t all = 0;

	for (int silent = 0; silent < 3; turn()) {
		const size_t n = strlen(hear(fd));

		silent = n ? 0 : silent + 1;
		all += n;
	}
	return all;
}

static void a_long_answer_is_made_in_a_thread(void **state)
{
	char request[256], etag[32];
	const char *heard;
	const int fd = come();

	(void)state;
	say(fd, "GET /long HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n");
	heard = hear(fd);
	assert_non_null(strstr(heard, "Content-Encoding: gzip\r\n"));
	assert_int_equal(sscanf(strstr(heard, "ETag: "), "ETag: %31s", etag), 1);
	snprintf(request, sizeof(request), "GET /long HTTP/1.1\r\n" HOST "If-None-Match: %s\r\n\r\n", etag);
	say(fd, request);
	heard = hear(fd);
	assert_non_null(strstr(heard, "HTTP/1.1 304"));
	assert_non_null(strstr(heard, etag));
	say(fd, "HEAD /long HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(hear(fd), "Content-Length: 300000\r\n"));
	say(fd, "GET /long HTTP/1.1\r\n" HOST "\r\n");
	assert_in_range(hear_all(fd), 300000, 301000);
	f.no_copy = true;
	say(fd, "GET /long HTTP/1.1\r\n" HOST "\r\n");
	heard = hear(fd);
	assert_non_null(strstr(heard, "HTTP/1.1 503"));
	assert_non_null(strstr(heard, "Retry-After: 10\r\n"));
	assert_int_equal(f.http->untaken, 0);
	close(fd);
}

/* Long answers that were held. */
static void go_on(size_t count)
{
	for (size_t i = 0; i < count; i++)
		uv_sem_post(&f.sem);
	f.held = false;
	while (f.http->working || f.http->waits)
		uv_run(&f.loop, UV_RUN_ONCE);
	turn();
}

static void few_long_answers_are_made_at_once(void **state)
{
	int fds[HTTP_WRITERS_MAX + 2];

	(void)state;
	f.held = true;
	for (size_t i = 0; i < COUNT(fds); i++) {
		fds[i] = come();
		say(fds[i], "GET /long HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n");
	}
	assert_int_equal(f.served, COUNT(fds));
	assert_int_equal(f.copies, HTTP_WRITERS_MAX); /* who waits has nothing copied for him */
	answers("GET /echo/x HTTP/1.1\r\n" HOST "\r\n", "200", "x|"); /* nothing else waits */
	go_on(COUNT(fds));
	for (size_t i = 0; i < COUNT(fds); i++) {
		assert_non_null(strstr(hear(fds[i]), "HTTP/1.1 200"));
		close(fds[i]);
	}
	assert_int_equal(f.copies, COUNT(fds));
}

static void what_is_not_taken_holds_back_what_is_long(void **state)
{
	int fds[HTTP_WRITERS_MAX + 2];

	(void)state;
	f.long_len = HTTP_UNTAKEN_MAX;
	for (size_t i = 0; i < COUNT(fds); i++) {
		fds[i] = come();
		say(fds[i], "GET /long HTTP/1.1\r\n" HOST "\r\n");
	}
	assert_int_equal(f.copies, 1);
	close(fds[0]); /* slow no more */
	turn();
	assert_int_equal(f.copies, 1 + HTTP_WRITERS_MAX);
	for (size_t i = 1; i <= HTTP_WRITERS_MAX; i++) {
		assert_int_equal(f.copies, 1 + HTTP_WRITERS_MAX);
		assert_true(hear_all(fds[i]) > HTTP_UNTAKEN_MAX);
	}
	assert_int_equal(f.copies, COUNT(fds));
	for (size_t i = 1; i < COUNT(fds); i++)
		close(fds[i]);
	turn();
	assert_int_equal(f.http->untaken, 0);
}

static void who_goes_away_while_his_long_answer_is_made_leaves_nothing(void **state)
{
	int fds[HTTP_WRITERS_MAX + 1];

	(void)state;
	f.held = true;
	for (size_t i = 0; i < COUNT(fds); i++) {
		fds[i] = come();
		say(fds[i], "GET /long HTTP/1.1\r\n" HOST "\r\n");
	}
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
	turn();
	go_on(COUNT(fds));
	assert_null(f.http->requests);
	assert_int_equal(f.http->untaken, 0);
}

/* The end of the test closes the server, then the threads go on: one more answer waits for its turn. */
static void the_server_may_end_while_long_answers_are_made(void **state)
{
	(void)state;
	f.held = true;
	for (size_t i = 0; i < HTTP_WRITERS_MAX + 1; i++)
		say(come(), "GET /long HTTP/1.1\r\n" HOST "\r\n");
	assert_int_equal(f.copies, HTTP_WRITERS_MAX);
	http_close(f.http);
	f.http = NULL;
	uv_run(&f.loop, UV_RUN_NOWAIT);
	for (size_t i = 0; i < HTTP_WRITERS_MAX; i++)
		uv_sem_post(&f.sem);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_int_equal(f.copies, HTTP_WRITERS_MAX);
}

static void an_answer_may_come_later(void **state)
{
	const int fd = come();

	(void)state;
	say(fd, "POST /later HTTP/1.1\r\n" HOST "\r\n");
	assert_string_equal(hear(fd), "");
	assert_non_null(f.later);
	http_answer(f.later, 200, "text/plain", strdup("here"), 4);
	turn();
	assert_non_null(strstr(hear(fd), "\r\n\r\nhere"));
	close(fd);
	turn();
	assert_int_equal(f.gone, 0); /* it has its answer */
}

static void who_goes_away_while_he_waits_is_told_of(void **state)
{
	int fd = come();

	(void)state;
	say(fd, "POST /later HTTP/1.1\r\n" HOST "\r\n");
	close(fd);
	turn();
	assert_int_equal(f.gone, 1);
	assert_null(f.http->requests);
	fd = come();
	say(fd, "POST /later HTTP/1.1\r\n" HOST "\r\n"); /* waits when all ends */
	close(fd);
}

/* Over TCP, whose end is seen otherwise than a socketpair's. */
static void who_only_ends_his_side_has_gone_too(void **state)
{
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct endpoint client = endpoint_ipv4(INADDR_LOOPBACK, 1);
	const int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);

	(void)state;
	assert_int_equal(bind(listener, (const struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, len), 0);
	door_enter(f.http->door, accept4(listener, NULL, NULL, SOCK_NONBLOCK), &client);
	say(fd, "POST /later HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(f.later);
	shutdown(fd, SHUT_WR);
	turn();
	assert_int_equal(f.gone, 1);
	assert_int_equal(recv(fd, &at, sizeof(at), 0), 0); /* and is told so */
	assert_null(f.http->requests);
	close(fd);
	close(listener);
}

static void a_stream_tells_what_is_written(void **state)
{
	struct http_chunk *c = http_chunk_new("data: 1\n\n", 9);
	const char *heard;
	int fd = come();

	(void)state;
	say(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	heard = hear(fd);
	assert_non_null(strstr(heard, "text/event-stream"));
	assert_non_null(f.stream);
	assert_int_equal(http_stream_write(f.stream, c), 0);
	assert_int_equal(http_stream_write(f.stream, c), 0);
	turn();
	assert_non_null(strstr(hear(fd), "data: 1\n\ndata: 1\n\n"));
	assert_int_equal(http_stream_write(f.stream, c), 0);
	turn();
	assert_non_null(strstr(hear(fd), "data: 1\n\n"));
	assert_int_equal(f.gone, 0);
	close(fd);
	turn();
	assert_int_equal(f.gone, 1);
	assert_int_equal(f.http->streams, 0);
	http_chunk_free(c);
}

static void a_slow_listener_is_dropped(void **state)
{
	static char text[10000];
	struct http_chunk *c;
	int fd = come(), err = 0, written = 0;

	(void)state;
	memset(text, 'x', sizeof(text));
	c = http_chunk_new(text, sizeof(text));
	say(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	for (; err == 0 && written < 1000; written++) {
		err = http_stream_write(f.stream, c);
		assert_int_equal(f.gone, 0); /* never from within */
		if (err == 0)
			turn();
	}
	assert_int_equal(err, -ENOBUFS);
	assert_true(written >= HTTP_STREAM_MAX / (int)sizeof(text) / 2 && written < 200);
	turn();
	assert_int_equal(f.gone, 1);
	http_chunk_free(c);
	close(fd);
}

static void there_is_a_bound_on_streams(void **state)
{
	int fds[HTTP_STREAMS_MAX + 1];

	(void)state;
	for (uint32_t i = 0; i <= HTTP_STREAMS_MAX; i++) {
		fds[i] = come_from(0x7f000001 + i % 2);
		say(fds[i], "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	}
	assert_int_equal(f.http->streams, HTTP_STREAMS_MAX);
	assert_non_null(strstr(hear(fds[HTTP_STREAMS_MAX]), "HTTP/1.1 503"));
	for (size_t i = 0; i <= HTTP_STREAMS_MAX; i++)
		close(fds[i]);
	turn();
	assert_int_equal(f.gone, HTTP_STREAMS_MAX);
}

static void a_newcomer_takes_the_place_of_the_longest_idle(void **state)
{
	int fds[HTTP_CLIENT_IDLE_MAX + 2];

	(void)state;
	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = come();
	assert_null(hear(fds[0]));
	assert_null(hear(fds[1]));
	assert_string_equal(hear(fds[2]), "");
	say(fds[COUNT(fds) - 1], "GET /echo/x HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(hear(fds[COUNT(fds) - 1]), "200 OK"));
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
}

static void strangers_do_not_shut_out_others(void **state)
{
	static int fds[600];
	int fd;

	(void)state;
	for (uint32_t i = 0; i < COUNT(fds); i++) { /* a crowd of addresses with 20 each */
		fds[i] = come_from(0x0a000000 + i / 20);
		send(fds[i], "GET /", 5, MSG_NOSIGNAL);
	}
	turn();
	fd = come();
	say(fd, "GET /echo/x HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(hear(fd), "200 OK"));
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
	close(fd);
}

static void a_password_is_for_changes(void **state)
{
	static const char change[] = "POST /echo/x HTTP/1.1\r\n" HOST "Authorization: Bearer %s\r\n\r\n";
	char text[256];

	(void)state;
	http_password(f.http, "secret");
	answers("GET /echo/x HTTP/1.1\r\n" HOST "\r\n", "200", "x|");
	answers("POST /echo/x HTTP/1.1\r\n" HOST "\r\n", "401", "WWW-Authenticate: Bearer\r\n");
	snprintf(text, sizeof(text), change, "wrong");
	answers(text, "401", "wrong password");
	snprintf(text, sizeof(text), change, "secret");
	answers(text, "200", "x|");
	http_password(f.http, NULL);
	answers("POST /echo/x HTTP/1.1\r\n" HOST "\r\n", "200", "x|");
}

/* One that is from elsewhere, and came by no LAN. */
static void without_a_password_changes_are_for_neighbours(void **state)
{
	const int fd = come_from(0x08080808);

	(void)state;
	say(fd, "POST /echo/x HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(hear(fd), "HTTP/1.1 403"));
	say(fd, "GET /echo/x HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(hear(fd), "200 OK"));
	close(fd);
}

#define W(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_path_is_split_and_decoded),
		T(a_path_that_is_none_is_refused),
		T(a_host_is_an_address_or_a_name),
		T(a_name_is_ours_in_nobodys_domain),
		T(an_origin_is_the_page_that_host_names),
		T(types_cookies_codings_and_etags_are_read),
		T(a_length_is_digits),
		T(who_guesses_waits_and_nobody_else),
		T(many_strangers_lock_out_nobody),
		T(sessions_end),
		T(a_password_is_a_files_first_line),
		W(good_requests_are_served),
		W(bad_requests_are_not),
		W(a_nul_in_the_head_is_seen),
		W(a_body_comes_in_pieces_and_has_an_end),
		W(what_is_known_is_not_sent_and_what_is_big_is_packed),
		W(a_long_answer_is_made_in_a_thread),
		W(few_long_answers_are_made_at_once),
		W(what_is_not_taken_holds_back_what_is_long),
		W(who_goes_away_while_his_long_answer_is_made_leaves_nothing),
		W(the_server_may_end_while_long_answers_are_made),
		W(an_answer_may_come_later),
		W(who_goes_away_while_he_waits_is_told_of),
		W(who_only_ends_his_side_has_gone_too),
		W(a_stream_tells_what_is_written),
		W(a_slow_listener_is_dropped),
		W(there_is_a_bound_on_streams),
		W(a_newcomer_takes_the_place_of_the_longest_idle),
		W(strangers_do_not_shut_out_others),
		W(a_password_is_for_changes),
		W(without_a_password_changes_are_for_neighbours),
	};

	return RUN(tests);
}
