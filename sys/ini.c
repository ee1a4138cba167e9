/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A file being read. inih is handed one line at a time, so line is always that of what it tells us. */
struct reading {
	const struct ini *file;
	void *config;
	const char *at; /* what follows in the text */
	unsigned line;
	bool set[OPTIONS_MAX]; /* by row */
	char *value;	       /* free room for values */
	char *why;
	bool failed; /* why has been said */
};

__attribute__((format(printf, 2, 3))) static int fail(struct reading *r, const char *format, ...)
{
	va_list args;
	int used;

	if (r->failed)
		return -EINVAL;
	r->failed = true;
	used = snprintf(r->why, INI_WHY_MAX, "%s:%u: ", r->file->path, r->line);
	va_start(args, format);
	if (used >= 0 && used < INI_WHY_MAX)
		vsnprintf(r->why + used, (size_t)(INI_WHY_MAX - used), format, args);
	va_end(args);
	return -EINVAL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

/* Nothing but blanks, or a comment. */
static bool says_nothing(const char *s)
{
	while (is_blank(*s))
		s++;
	return !*s || *s == ';' || *s == '#';
}

/* "[name]" and nothing behind it: inih would ignore that, and cut long names. */
static int section_check(struct reading *r, const char *line)
{
	const char *want = r->file->section;
	const size_t len = strlen(want);

	if (strncmp(line + 1, want, len) == 0 && line[1 + len] == ']' && says_nothing(line + 1 + len + 1))
		return 0;
	return fail(r, "section '%.*s': must be [%s], the only one of this file", (int)strcspn(line, "\r\n"), line, want);
}

static int line_check(struct reading *r, const char *line)
{
	if (says_nothing(line))
		return 0;
	if (is_blank(line[0]))
		return fail(r, "begins with a blank: every key and section stands at the beginning of its line");
	return line[0] == '[' ? section_check(r, line) : 0;
}

/* inih's reader, like fgets: one line into buf, NULL at the end or when something is wrong. */
static char *next_line(char *buf, int max, void *stream)
{
	struct reading *r = stream;
	const char *end = r->file->text + r->file->len;
	const char *newline = memchr(r->at, '\n', (size_t)(end - r->at));
	const size_t len = (size_t)((newline ? newline + 1 : end) - r->at);

	if (r->failed || len == 0)
		return NULL;
	r->line++;
	if (len >= (size_t)max) {
		fail(r, "longer than %d bytes", max - 2);
		return NULL;
	}
	if (memchr(r->at, '\0', len)) {
		fail(r, "a NUL byte");
		return NULL;
	}
	memcpy(buf, r->at, len);
	buf[len] = '\0';
	r->at += len;
	return line_check(r, buf) < 0 ? NULL : buf;
}

static const char *keep(struct reading *r, const char *value)
{
	const size_t size = strlen(value) + 1; /* never more than the line had, with its '=' */
	char *kept = r->value;

	memcpy(kept, value, size);
	r->value += size;
	return kept;
}

static int key_set(struct reading *r, const char *key, const char *value)
{
	const struct option_row *row = r->file->rows;
	char why[OPTION_WHY_MAX];

	while (row->name && (strcmp(row->name, key) != 0 || row->command_line_only))
		row++;
	const size_t i = (size_t)(row - r->file->rows);

	if (!row->name)
		return fail(r, "key '%s': no such key in [%s]", key, r->file->section);
	if (r->set[i] && !row->repeatable)
		return fail(r, "key '%s' '%s': must be given once only", key, value);
	r->set[i] = true;
	if (r->file->skip && r->file->skip[i])
		return 0;
	if (option_set(row, r->config, keep(r, value), why) < 0)
		return fail(r, "%s '%s': must be %s", key, value, why);
	return 0;
}

/* inih's handler; 0 is an error to it. */
static int on_key(void *user, const char *section, const char *key, const char *value)
{
	struct reading *r = user;

	if (!section[0])
		fail(r, "key '%s' stands before any section; [%s] comes first", key, r->file->section);
	else
		key_set(r, key, value);
	return !r->failed;
}

int ini_set(const struct ini *file, void *config, char why[INI_WHY_MAX])
{
	struct reading r = { .file = file, .config = config, .at = file->text, .value = file->values, .why = why };
	int line;

	if (file->len >= 3 && memcmp(file->text, "\xef\xbb\xbf", 3) == 0)
		r.at += 3; /* UTF-8's mark */
	line = ini_parse_stream(next_line, &r, on_key, &r);
	if (line > 0) {
		r.line = r.failed ? r.line : (unsigned)line;
		fail(&r, "must be KEY = VALUE, [%s] or a comment", file->section);
	} else if (line < 0) {
		fail(&r, "cannot be read");
	}
	return r.failed ? -EINVAL : 0;
}
