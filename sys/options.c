/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/cleanup.h"
#include "sys/ini.h"

#define COLUMN 34

enum { FOUND_ROW = 256, FOUND_CONFIG = FOUND_ROW + OPTIONS_MAX }; /* beyond every letter */

static int flag_read(bool *out, const char *value, const char **why)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = { { "true", true }, { "yes", true }, { "on", true }, { "false", false }, { "no", false }, { "off", false } };

	*why = "true or false, yes or no, on or off";
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(value, words[i].word) == 0) {
			*out = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

static int u32_read(const struct option_row *row, uint32_t *out, const char *value)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (errno || end == value || *end || value[0] < '0' || value[0] > '9' || v < row->min || v > row->max)
		return -EINVAL;
	*out = (uint32_t)v;
	return 0;
}

int option_set(const struct option_row *row, void *config, const char *value, char why[OPTION_WHY_MAX])
{
	void *field = (char *)config + row->offset;
	const char *wanted = "a word";
	int err = 0;

	switch (row->kind) {
	case OPTION_FLAG:
		err = flag_read(field, value ? value : "true", &wanted);
		break;
	case OPTION_U32:
		err = u32_read(row, field, value);
		snprintf(why, OPTION_WHY_MAX, "a number from %u to %u", row->min, row->max);
		return err;
	case OPTION_TEXT:
		err = value[0] ? 0 : -EINVAL;
		if (err == 0)
			*(const char **)field = value;
		break;
	case OPTION_READ:
		err = row->read(config, value, &wanted);
		break;
	}
	snprintf(why, OPTION_WHY_MAX, "%s", wanted);
	return err;
}

static int row_read(const struct options *o, const struct option_row *row, void *config, const char *value)
{
	char why[OPTION_WHY_MAX];
	const int err = option_set(row, config, value, why);

	if (err < 0)
		fprintf(stderr, "%s: --%s '%s': must be %s\n", o->program, row->name, value, why);
	return err;
}

static void help_line(const char *left, const char *text, const char *fallback)
{
	if (strlen(left) >= COLUMN)
		printf("%s\n%*s", left, COLUMN, "");
	else
		printf("%-*s", COLUMN, left);
	printf("%s", text);
	if (fallback && fallback[0])
		printf(" (%s)", fallback);
	putchar('\n');
}

static void help(const struct options *o)
{
	char left[128];

	printf("%s %s\n%s\n", o->program, o->usage, o->about);
	for (const struct option_row *row = o->rows; row->name; row++) {
		const char letter[] = { '-', row->letter, ',', ' ', '\0' };

		snprintf(left, sizeof(left), "  %s--%s %s", row->letter ? letter : "", row->name, row->argument ? row->argument : "");
		help_line(left, row->help, row->fallback);
	}
	if (o->section) {
		snprintf(left, sizeof(left), "INI file, these options as keys under [%s]", o->section);
		help_line("  --config FILE", left, o->file);
		if (o->group) {
			snprintf(left, sizeof(left), "    [%s NAME]", o->group->kind);
			help_line(left, o->group->help, NULL);
		}
		for (const struct option_row *row = o->group ? o->group->rows : NULL; row && row->name; row++) {
			snprintf(left, sizeof(left), "      %s = %s", row->name, row->argument);
			help_line(left, row->help, row->fallback);
		}
	}
	printf("  -h, --help\n  -V, --version\n");
}

static int fallbacks(const struct options *o, void *config)
{
	for (const struct option_row *row = o->rows; row->name; row++)
		if (row->fallback && row_read(o, row, config, row->fallback) < 0)
			return -EINVAL;
	return 0;
}

struct tables {
	struct option longs[OPTIONS_MAX + 4];
	char shorts[2 * OPTIONS_MAX + 4];
};

static void tables_fill(struct tables *t, const struct options *o)
{
	struct option *next = t->longs;
	char *s = t->shorts;

	*s++ = ':'; /* a missing argument is told apart */
	for (const struct option_row *row = o->rows; row->name && row < o->rows + OPTIONS_MAX; row++) {
		*next++ = (struct option){ row->name, row->kind == OPTION_FLAG ? no_argument : required_argument, NULL,
			FOUND_ROW + (int)(row - o->rows) };
		if (row->letter) {
			*s++ = row->letter;
			if (row->kind != OPTION_FLAG)
				*s++ = ':';
		}
	}
	if (o->section)
		*next++ = (struct option){ "config", required_argument, NULL, FOUND_CONFIG };
	*next++ = (struct option){ "help", no_argument, NULL, 'h' };
	*next++ = (struct option){ "version", no_argument, NULL, 'V' };
	*next = (struct option){ 0 };
	strcpy(s, "hV");
}

static size_t row_of(const struct options *o, int found)
{
	size_t i = 0;

	if (found >= FOUND_ROW)
		return (size_t)(found - FOUND_ROW);
	while (o->rows[i].letter != found)
		i++;
	return i;
}

/* The command line, looked over: which rows it sets, and which file. */
struct given {
	bool rows[OPTIONS_MAX];
	const char *file;
};

/* 0, 1 when --help or --version was printed, -EINVAL. */
static int look_over(const struct options *o, const struct tables *t, int argc, char **argv, struct given *given)
{
	opterr = 0;
	optind = 1;
	for (;;) {
		const int at = optind;
		const int found = getopt_long(argc, argv, t->shorts, t->longs, NULL);

		switch (found) {
		case -1:
			return 0;
		case 'h':
			help(o);
			return 1;
		case 'V':
			printf("%s %s\n", o->program, STUNWAY_VERSION);
			return 1;
		case ':':
			fprintf(stderr, "%s: %s needs a value; see --help\n", o->program, argv[at]);
			return -EINVAL;
		case '?':
			fprintf(stderr, "%s: no option '%s'; see --help\n", o->program, argv[at]);
			return -EINVAL;
		case FOUND_CONFIG:
			given->file = optarg;
			break;
		default:
			given->rows[row_of(o, found)] = true;
		}
	}
}

/* The whole text, at most INI_TEXT_MAX bytes: its length, or a negative errno. */
static ssize_t text_read(int fd, char *text)
{
	size_t len = 0;
	ssize_t n;

	while (len <= INI_TEXT_MAX && (n = read(fd, text + len, INI_TEXT_MAX + 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	return len > INI_TEXT_MAX ? -EFBIG : (ssize_t)len;
}

static int file_set(const struct options *o, const char *path, const char *text, size_t len, const struct given *given,
	void *config)
{
	char **values = (char **)(void *)((char *)config + o->values);
	struct ini file = { .rows = o->rows, .section = o->section, .group = o->group, .path = path, .text = text, .len = len,
		.skip = given->rows };
	char why[INI_WHY_MAX];
	int err;

	file.values = *values = malloc(len + 1);
	if (!file.values)
		return -ENOMEM;
	err = ini_set(&file, config, why);
	if (err < 0)
		fprintf(stderr, "%s: %s\n", o->program, why);
	return err;
}

static int text_set(const struct options *o, const struct given *given, void *config, int fd)
{
	const char *path = given->file ? given->file : o->file;
	CLEANUP(free_text) char *text = NULL;
	ssize_t len;

	text = malloc(INI_TEXT_MAX + 1);
	len = text ? text_read(fd, text) : -ENOMEM;
	if (len < 0) {
		fprintf(stderr, "%s: --config '%s': %s\n", o->program, path, strerror((int)-len));
		return -EINVAL;
	}
	return file_set(o, path, text, (size_t)len, given, config);
}

/* The default file may be absent, one that was named may not. */
static int file_read(const struct options *o, const struct given *given, void *config)
{
	const char *path = given->file ? given->file : o->file;
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 && errno == ENOENT && !given->file)
		return 0;
	if (fd < 0) {
		fprintf(stderr, "%s: --config '%s': %s\n", o->program, path, strerror(errno));
		return -EINVAL;
	}
	return text_set(o, given, config, fd);
}

/* After look_over there is nothing left to be wrong but values. */
static int line_read(const struct options *o, const struct tables *t, int argc, char **argv, void *config)
{
	int found;

	optind = 1;
	while ((found = getopt_long(argc, argv, t->shorts, t->longs, NULL)) != -1)
		if (found != FOUND_CONFIG && row_read(o, &o->rows[row_of(o, found)], config, optarg) < 0)
			return -EINVAL;
	return 0;
}

int options_read(const struct options *o, void *config, int argc, char **argv, int *first_operand)
{
	struct given given = { .file = NULL };
	struct tables tables;
	int err;

	tables_fill(&tables, o);
	err = look_over(o, &tables, argc, argv, &given);
	if (err != 0)
		return err;
	if (fallbacks(o, config) < 0 || (o->section && file_read(o, &given, config) < 0) ||
		line_read(o, &tables, argc, argv, config) < 0)
		return -EINVAL;
	*first_operand = optind;
	return 0;
}

const char *options_file(const struct options *o, int argc, char **argv)
{
	struct given given = { .file = NULL };
	struct tables tables;

	tables_fill(&tables, o);
	look_over(o, &tables, argc, argv, &given);
	return given.file ? given.file : o->file;
}

int options_read_again(const struct options *o, void *config, int argc, char **argv, int fd)
{
	struct given given = { .file = NULL };
	struct tables tables;

	tables_fill(&tables, o);
	if (look_over(o, &tables, argc, argv, &given) != 0 || fallbacks(o, config) < 0 ||
		(fd >= 0 && text_set(o, &given, config, fd) < 0) || line_read(o, &tables, argc, argv, config) < 0)
		return -EINVAL;
	return 0;
}
