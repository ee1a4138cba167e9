/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <stdio.h>

#include "server/metrics.h"

static int ask(const char *text)
{
	return metrics_request(text, strlen(text));
}

static void a_request_is_answered_once_it_is_whole(void **state)
{
	static const char text[] = "GET /metrics HTTP/1.1\r\nHost: localhost:9690\r\nUser-Agent: Prometheus/2.42\r\n\r\n";

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_int_equal(metrics_request(text, len), 0);
	assert_int_equal(ask(text), 200);
	assert_int_equal(ask("GET /metrics HTTP/1.0\r\n\r\n"), 200);
	assert_int_equal(ask("GET /metrics HTTP/1.1\r\n\r\nand more"), 200);
}

static void all_else_is_refused_by_its_status(void **state)
{
	static const struct {
		const char *text;
		int status;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n\r\n", 404 },
		{ "GET /metrics/ HTTP/1.1\r\n\r\n", 404 },
		{ "GET /metrics?x HTTP/1.1\r\n\r\n", 404 },
		{ "get /metrics HTTP/1.1\r\n\r\n", 405 },
		{ "POST /metrics HTTP/1.1\r\n\r\n", 405 },
		{ "HEAD /metrics HTTP/1.1\r\n\r\n", 405 },
		{ "GET /metrics HTTP/2.0\r\n\r\n", 505 },
		{ "GET /metrics HTTP/1.2\r\n\r\n", 505 },
		{ "GET /metrics\r\n", 400 }, /* HTTP/0.9 */
		{ "GET  /metrics HTTP/1.1\r\n", 400 },
		{ "GET /metrics HTTP/1.1 \r\n", 400 },
		{ "GET /metrics http/1.1\r\n", 400 },
		{ "GET metrics HTTP/1.1\r\n", 400 },
		{ "GET http://h/metrics HTTP/1.1\r\n", 400 },
		{ "G(T /metrics HTTP/1.1\r\n", 400 },
		{ " GET /metrics HTTP/1.1\r\n", 400 },
		{ "\r\nGET /metrics HTTP/1.1\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\n\n", 400 },
		{ "GET /metrics HTTP/1.1\r\nHost: x\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\nHost : x\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\nno colon\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\n: x\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\nA: \x01\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400 },
		{ "GET /metrics HTTP/1.1\r\ncOnTeNt-LeNgTh: 5\r\n\r\nhello", 400 },
		{ "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (ask(rows[i].text) != rows[i].status)
			print_message("%s", rows[i].text);
		assert_int_equal(ask(rows[i].text), rows[i].status);
	}
	assert_int_equal(metrics_request("GET /metrics HTTP/1.1\r\nA: \0\r\n\r\n", 30), 400);
}

static void a_request_is_bounded(void **state)
{
	char text[2 * METRICS_REQUEST_MAX];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "GET /metrics HTTP/1.1\r\nA: ", 26);
	assert_int_equal(metrics_request(text, METRICS_REQUEST_MAX - 1), 0);
	assert_int_equal(metrics_request(text, METRICS_REQUEST_MAX), 431);
	assert_int_equal(metrics_request(text, sizeof(text)), 431);
	memset(text, 'a', sizeof(text));
	assert_int_equal(metrics_request(text, METRICS_REQUEST_MAX), 431);
}

/* The exposition format: every line a comment of a type, or that metric and its number. */
static void every_counter_is_told(void **state)
{
	static char text[METRICS_TEXT_MAX];
	struct metrics_facts facts = { .workers = 2, .peers = { METRICS_PEER_SILENT, METRICS_PEER_ALIVE } };
	char want[128];
	size_t len;

	(void)state;
	for (size_t i = 0; i < COUNT_KINDS; i++)
		facts.counts.of[i] = UINT64_MAX - i;
	len = metrics_text(&facts, text);
	assert_int_equal(len, strlen(text));
	assert_int_equal(text[len - 1], '\n');
	assert_non_null(strstr(text, "\nstunway_answered_total 18446744073709551615\n"));
	assert_non_null(strstr(text, "\n# TYPE stunway_tcp_slow_total counter\nstunway_tcp_slow_total "));
	assert_non_null(strstr(text, "\nstunway_workers 2\n"));
	assert_non_null(strstr(text, "\nstunway_peer_alive{family=\"ipv4\"} 0\nstunway_peer_alive{family=\"ipv6\"} 1\n"));
	snprintf(want, sizeof(want), "stunway_build_info{version=\"%s\"} 1\n", STUNWAY_VERSION);
	assert_non_null(strstr(text, want));
	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		assert_true(strncmp(line, "# TYPE stunway_", 15) == 0 || strncmp(line, "stunway_", 8) == 0);
	facts.peers[0] = facts.peers[1] = METRICS_NO_PEER;
	metrics_text(&facts, text);
	assert_null(strstr(text, "peer_alive"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_is_answered_once_it_is_whole),
		T(all_else_is_refused_by_its_status),
		T(a_request_is_bounded),
		T(every_counter_is_told),
	};

	return RUN(tests);
}
