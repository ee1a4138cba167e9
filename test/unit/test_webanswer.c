/* SPDX-License-Identifier: MIT */
#include "test/unit/test.h"

#include <errno.h>

#include "lib/webanswer.h"
#include "test/sim/sim.h"

static int read_text(struct webanswer *w, const char *text)
{
	return webanswer_read(w, text, strlen(text));
}

static void an_answer_ends_at_the_empty_line_in_whatever_pieces_it_comes(void **state)
{
	const char *text = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\n";

	(void)state;
	for (size_t cut = 0; cut <= strlen(text); cut++) {
		struct webanswer w = { 0 };
		const int first = webanswer_read(&w, text, cut);

		assert_int_equal(first, cut == strlen(text));
		assert_int_equal(first + read_text(&w, text + cut), 1);
		assert_int_equal(read_text(&w, text), 1); /* the next one */
	}
}

static void any_status_and_lone_line_feeds_will_do(void **state)
{
	struct webanswer w = { 0 };

	(void)state;
	assert_int_equal(read_text(&w, "HTTP/1.0 405 No\n\nHTTP/1.1 301 Moved\nLocation: /\n\r\nHTTP/1.1 "), 2);
	assert_int_equal(read_text(&w, "503 \r\n\r"), 0);
	assert_int_equal(read_text(&w, "\n"), 1);
	assert_int_equal(read_text(&w, "HTTP/1.1 200 OK\r\n\r\r\n"), 0); /* no empty line */
}

static void what_is_no_http_is_refused_at_its_first_byte(void **state)
{
	const char *const bad[] = { "SSH-2.0", "HTTP/2 200", "\r\nHTTP/1.1", "http/1.1", "<html>" };

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		struct webanswer w = { 0 };

		assert_int_equal(read_text(&w, bad[i]), -EBADMSG);
	}
}

static void a_body_after_the_answer_is_refused(void **state)
{
	struct webanswer w = { 0 };

	(void)state;
	assert_int_equal(read_text(&w, "HTTP/1.1 200 OK\r\n\r\n"), 1);
	assert_int_equal(read_text(&w, "hello"), -EBADMSG);
}

static void an_answer_without_end_is_refused(void **state)
{
	struct webanswer w = { 0 };
	size_t took = 0;

	(void)state;
	assert_int_equal(read_text(&w, "HTTP/1.1 200 OK\r\n"), 0);
	while (read_text(&w, "X: y\r\n") == 0)
		took += 6;
	assert_in_range(took, WEBANSWER_MAX - 40, WEBANSWER_MAX);
}

static void random_bytes_are_harmless(void **state)
{
	(void)state;
	sim_seed(9);
	for (unsigned run = 0; run < 2000; run++) {
		struct webanswer w = { 0 };
		uint8_t bytes[64];
		int n = read_text(&w, "HTTP/1.1");

		for (unsigned i = 0; i < 300 && n >= 0; i++) {
			sim_random(bytes, sizeof(bytes));
			n = webanswer_read(&w, bytes, sim_below(sizeof(bytes) + 1));
			assert_true(n >= -EBADMSG && n <= 32);
			assert_true(w.len <= WEBANSWER_MAX);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_answer_ends_at_the_empty_line_in_whatever_pieces_it_comes),
		T(any_status_and_lone_line_feeds_will_do),
		T(what_is_no_http_is_refused_at_its_first_byte),
		T(a_body_after_the_answer_is_refused),
		T(an_answer_without_end_is_refused),
		T(random_bytes_are_harmless),
	};

	return RUN(tests);
}
