/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 64
#define COLUMN	 34

static int u32_read(const struct option_row *row, uint32_t *out, const char *value, char *why, size_t why_max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (errno || end == value || *end || value[0] < '0' || value[0] > '9' || v < row->min || v > row->max) {
		snprintf(why, why_max, "a number from %u to %u", row->min, row->max);
		return -EINVAL;
	}
	*out = (uint32_t)v;
	return 0;
}

static int row_read(const struct options *o, const struct option_row *row, void *config, const char *value)
{
	void *field = (char *)config + row->offset;
	char range[64] = "";
	const char *why = "something else";
	int err = 0;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return 0;
	case OPTION_U32:
		err = u32_read(row, field, value, range, sizeof(range));
		why = range;
		break;
	case OPTION_TEXT:
		err = value[0] ? 0 : -EINVAL;
		why = "a word";
		if (err == 0)
			*(const char **)field = value;
		break;
	case OPTION_READ:
		err = row->read(config, value, &why);
		break;
	}
	if (err < 0)
		fprintf(stderr, "%s: --%s '%s': must be %s\n", o->program, row->name, value, why);
	return err;
}

static void help(const struct options *o)
{
	char left[128];

	printf("%s %s\n%s\n", o->program, o->usage, o->about);
	for (const struct option_row *row = o->rows; row->name; row++) {
		const char letter[] = { '-', row->letter, ',', ' ', '\0' };

		snprintf(left, sizeof(left), "  %s--%s %s", row->letter ? letter : "", row->name, row->argument ? row->argument : "");
		if (strlen(left) >= COLUMN)
			printf("%s\n%*s", left, COLUMN, "");
		else
			printf("%-*s", COLUMN, left);
		printf("%s", row->help);
		if (row->fallback && row->fallback[0])
			printf(" (%s)", row->fallback);
		putchar('\n');
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

/* Fills getopt's two tables; val of a long option is 256 + its row. */
static size_t getopt_tables(const struct options *o, struct option *longs, char *shorts)
{
	size_t n = 0;

	*shorts++ = ':'; /* a missing argument is told apart */
	for (const struct option_row *row = o->rows; row->name && n < ROWS_MAX; row++, n++) {
		longs[n] = (struct option){ row->name, row->kind == OPTION_FLAG ? no_argument : required_argument, NULL, 256 + (int)n };
		if (row->letter) {
			*shorts++ = row->letter;
			if (row->kind != OPTION_FLAG)
				*shorts++ = ':';
		}
	}
	longs[n] = (struct option){ "help", no_argument, NULL, 'h' };
	longs[n + 1] = (struct option){ "version", no_argument, NULL, 'V' };
	longs[n + 2] = (struct option){ 0 };
	strcpy(shorts, "hV");
	return n;
}

static const struct option_row *row_of(const struct options *o, int found, size_t count)
{
	if (found >= 256)
		return &o->rows[found - 256];
	for (size_t i = 0; i < count; i++)
		if (o->rows[i].letter == found)
			return &o->rows[i];
	return NULL;
}

int options_read(const struct options *o, void *config, int argc, char **argv, int *first_operand)
{
	struct option longs[ROWS_MAX + 3];
	char shorts[2 * ROWS_MAX + 4];
	const size_t count = getopt_tables(o, longs, shorts);

	if (fallbacks(o, config) < 0)
		return -EINVAL;
	opterr = 0;
	optind = 1;
	for (;;) {
		const int at = optind;
		const int found = getopt_long(argc, argv, shorts, longs, NULL);

		switch (found) {
		case -1:
			*first_operand = optind;
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
		default:
			if (row_read(o, row_of(o, found, count), config, optarg) < 0)
				return -EINVAL;
		}
	}
}
