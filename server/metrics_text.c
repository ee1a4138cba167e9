/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "server/metrics.h"
#include "sys/exposition.h"

/* The line that begins here, without its CRLF; false when it does not end, or not so. */
static bool line_at(const char *bytes, size_t len, size_t *line_len)
{
	const char *end = memchr(bytes, '\n', len);

	if (!end || end == bytes || end[-1] != '\r')
		return false;
	*line_len = (size_t)(end - 1 - bytes);
	return true;
}

static bool token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool same_word(const char *a, size_t len, const char *lower)
{
	if (strlen(lower) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((a[i] | 0x20) != lower[i] && a[i] != lower[i])
			return false;
	return true;
}

/* "Name: value"; *body: it announces one. */
static bool header_fine(const char *line, size_t len, bool *body)
{
	size_t name = 0;

	while (name < len && token(line[name]))
		name++;
	if (name == 0 || name == len || line[name] != ':')
		return false;
	for (size_t i = name; i < len; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return false;
	*body |= same_word(line, name, "content-length") || same_word(line, name, "transfer-encoding");
	return true;
}

/* "METHOD /target HTTP/1.x" */
static int request_line(const char *line, size_t len)
{
	const char *target = memchr(line, ' ', len);
	const char *version = target ? memchr(target + 1, ' ', (size_t)(line + len - target - 1)) : NULL;
	const size_t method_len = target ? (size_t)(target - line) : 0, left = version ? (size_t)(line + len - version) : 0;
	const size_t target_len = version ? (size_t)(version - target - 1) : 0;

	for (size_t i = 0; i < method_len; i++)
		if (!token(line[i]))
			return 400;
	if (method_len == 0 || left != strlen(" HTTP/1.1") || memcmp(version, " HTTP/", 6) != 0 || target_len == 0 || target[1] != '/')
		return 400;
	for (size_t i = 0; i < target_len; i++)
		if (target[1 + i] <= ' ' || target[1 + i] > '~')
			return 400;
	if (memcmp(version, " HTTP/1.", 8) != 0 || (version[8] != '0' && version[8] != '1'))
		return 505;
	if (method_len != 3 || memcmp(line, "GET", 3) != 0)
		return 405;
	return target_len == strlen("/metrics") && memcmp(target + 1, "/metrics", target_len) == 0 ? 200 : 404;
}

int metrics_request(const char *bytes, size_t len)
{
	const size_t have = len < METRICS_REQUEST_MAX ? len : METRICS_REQUEST_MAX;
	size_t used = 0, line = 0;
	bool body = false;
	int status = 0;

	while (line_at(bytes + used, have - used, &line)) {
		if (used == 0)
			status = request_line(bytes, line);
		else if (line == 0)
			return status == 200 && body ? 400 : status;
		else if (!header_fine(bytes + used, line, &body))
			return 400;
		if (used == 0 && status == 400)
			return 400;
		used += line + 2;
	}
	if (memchr(bytes + used, '\n', have - used)) /* a line without CR */
		return 400;
	return len >= METRICS_REQUEST_MAX ? 431 : 0;
}

static void put_row(struct text *t, enum count row, uint64_t value)
{
	char name[64];

	snprintf(name, sizeof(name), "stunway_%s_total", count_name(row));
	for (char *c = name; *c; c++)
		*c = *c == '-' ? '_' : *c;
	exposition_family(t, name, "counter", NULL);
	exposition_count(t, name, NULL, 0, value);
}

/* Whether the other node answers: nothing is said of a family that has none. */
static void put_peers(struct text *t, const enum metrics_peer peers[2])
{
	if (peers[0] == METRICS_NO_PEER && peers[1] == METRICS_NO_PEER)
		return;
	exposition_family(t, "stunway_peer_alive", "gauge", NULL);
	for (int i = 0; i < 2; i++)
		if (peers[i] != METRICS_NO_PEER)
			exposition_value(t, "stunway_peer_alive", &(struct exposition_label){ "family", i ? "ipv6" : "ipv4" }, 1,
				peers[i] == METRICS_PEER_ALIVE);
}

size_t metrics_text(const struct metrics_facts *facts, char buf[METRICS_TEXT_MAX])
{
	struct text t;

	text_begin(&t, buf, METRICS_TEXT_MAX);
	exposition_family(&t, "stunway_build_info", "gauge", NULL);
	exposition_value(&t, "stunway_build_info", &(struct exposition_label){ "version", STUNWAY_VERSION }, 1, 1);
	exposition_single(&t, "stunway_workers", "gauge", NULL, facts->workers);
	put_peers(&t, facts->peers);
	for (int row = 0; row < COUNT_KINDS; row++)
		put_row(&t, (enum count)row, facts->counts.of[row]);
	return t.len;
}
