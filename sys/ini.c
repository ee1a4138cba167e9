/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECTION_MAX 50 /* inih cuts a longer one, its brackets not counted */

/* A file being read. inih is handed one line at a time, so line is always that of what it tells us. */
struct reading {
	const struct ini *file;
	void *config;
	const char *at; /* what follows in the text */
	unsigned line;
	bool set[OPTIONS_MAX]; /* by row of the section */
	void *element;	       /* of the group: what is being set, NULL in the section */
	const char *name;      /* of the group's section */
	unsigned name_line;
	bool element_set[OPTIONS_MAX]; /* by row of the group */
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

static const char *keep(struct reading *r, const char *value, size_t len)
{
	char *kept = r->value; /* never more than the line had, with its '=' or brackets */

	memcpy(kept, value, len);
	kept[len] = '\0';
	r->value += len + 1;
	return kept;
}

/* The group's section that ends here, if one does: its own line is named. */
static int element_end(struct reading *r)
{
	const unsigned line = r->line;
	char why[OPTION_WHY_MAX];
	void *element = r->element;

	r->element = NULL;
	if (!element || r->failed || r->file->group->end(r->config, element, why) == 0)
		return 0;
	r->line = r->name_line;
	fail(r, "section '[%s %s]': %s", r->file->group->kind, r->name, why);
	r->line = line;
	return -EINVAL;
}

/* "[KIND NAME]". */
static int element_begin(struct reading *r, const char *line, size_t len)
{
	const struct option_group *group = r->file->group;
	const size_t kind = strlen(group->kind);
	char why[OPTION_WHY_MAX];

	r->name = keep(r, line + 1 + kind + 1, len - 3 - kind);
	r->name_line = r->line;
	memset(r->element_set, 0, sizeof(r->element_set));
	r->element = group->begin(r->config, r->name, why);
	return r->element ? 0 : fail(r, "section '%.*s': %s", (int)len, line, why);
}

/* A section's line and nothing behind its bracket: inih would ignore that, and cut long names. */
static int section_check(struct reading *r, const char *line)
{
	const struct option_group *group = r->file->group;
	const char *want = r->file->section, *close = strchr(line, ']');
	const size_t len = close ? (size_t)(close - line) + 1 : 0, kind = group ? strlen(group->kind) : 0;

	if (element_end(r) < 0)
		return -EINVAL;
	if (close && says_nothing(close + 1)) {
		if (len == strlen(want) + 2 && strncmp(line + 1, want, len - 2) == 0)
			return 0;
		if (group && len > kind + 3 && len < SECTION_MAX && strncmp(line + 1, group->kind, kind) == 0 && line[1 + kind] == ' ')
			return element_begin(r, line, len);
	}
	if (group)
		return fail(r, "section '%.*s': must be [%s] or [%s NAME]", (int)strcspn(line, "\r\n"), line, want, group->kind);
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

static int key_set(struct reading *r, const char *key, const char *value)
{
	const struct option_row *rows = r->element ? r->file->group->rows : r->file->rows, *row = rows;
	bool *set = r->element ? r->element_set : r->set;
	char why[OPTION_WHY_MAX];

	while (row->name && (strcmp(row->name, key) != 0 || row->command_line_only))
		row++;
	const size_t i = (size_t)(row - rows);

	if (!row->name)
		return fail(r, "key '%s': no such key in [%s]", key, r->element ? r->file->group->kind : r->file->section);
	if (set[i] && !row->repeatable)
		return fail(r, "key '%s' '%s': must be given once only", key, value);
	set[i] = true;
	if (!r->element && r->file->skip && r->file->skip[i])
		return 0;
	if (option_set(row, r->element ? r->element : r->config, keep(r, value, strlen(value)), why) < 0)
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
	element_end(&r);
	return r.failed ? -EINVAL : 0;
}
