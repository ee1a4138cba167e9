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

static void put_name(struct text *t, const char *name, const struct exposition_label *labels, size_t count)
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
}

void exposition_count(struct text *t, const char *name, const struct exposition_label *labels, size_t count, uint64_t value)
{
	put_name(t, name, labels, count);
	text_number(t, value);
	text_word(t, "\n");
}

/* Whole numbers whole; below 2^53 a double is exact. */
void exposition_value(struct text *t, const char *name, const struct exposition_label *labels, size_t count, double value)
{
	if (value >= 0 && value < 9007199254740992.0 && value == (double)(uint64_t)value) {
		exposition_count(t, name, labels, count, (uint64_t)value);
		return;
	}
	put_name(t, name, labels, count);
	text_format(t, "%.9g\n", value);
}

void exposition_single(struct text *t, const char *name, const char *kind, const char *help, double value)
{
	exposition_family(t, name, kind, help);
	exposition_value(t, name, NULL, 0, value);
}
