/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/exposition.h"

void exposition_family(struct text *t, const char *name, const char *kind, const char *help)
{
	if (help)
		text_format(t, "# HELP %s %s\n", name, help);
	text_format(t, "# TYPE %s %s\n", name, kind);
}

static void put_escaped(struct text *t, const char *value)
{
	for (const char *c = value; *c; c++) {
		if (*c == '\n')
			text_word(t, "\\n");
		else
			text_put(t, *c == '"' || *c == '\\' ? (char[]){ '\\', *c } : c, *c == '"' || *c == '\\' ? 2 : 1);
	}
}

/* Whole numbers, as counters are, whole; below 2^53 a double is exact, and scrapers read doubles. */
static void put_value(struct text *t, double value)
{
	if (value >= 0 && value < 9007199254740992.0 && value == (double)(uint64_t)value)
		text_number(t, (uint64_t)value);
	else
		text_format(t, "%.9g", value);
}

void exposition_value(struct text *t, const char *name, const struct exposition_label *labels, size_t count, double value)
{
	text_word(t, name);
	for (size_t i = 0; i < count; i++) {
		text_word(t, i ? "," : "{");
		text_word(t, labels[i].name);
		text_word(t, "=\"");
		put_escaped(t, labels[i].value);
		text_word(t, "\"");
	}
	text_word(t, count ? "} " : " ");
	put_value(t, value);
	text_word(t, "\n");
}

void exposition_single(struct text *t, const char *name, const char *kind, const char *help, double value)
{
	exposition_family(t, name, kind, help);
	exposition_value(t, name, NULL, 0, value);
}
