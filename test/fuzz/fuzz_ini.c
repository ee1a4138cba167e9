/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whatever a file holds: it is refused with its line named, or read, and what was read, written again, reads as the same. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MANY 64

struct config {
	bool flag;
	uint32_t number;
	const char *text;
	const char *many[MANY];
	size_t count;
};

static void same(bool yes)
{
	if (!yes)
		abort();
}

static int many_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "given less often";
	if (c->count == MANY)
		return -EINVAL;
	c->many[c->count++] = value;
	return 0;
}

static const struct option_row rows[] = {
	{ .name = "flag", .kind = OPTION_FLAG, .offset = offsetof(struct config, flag) },
	{ .name = "number", .kind = OPTION_U32, .offset = offsetof(struct config, number), .max = 1000 },
	{ .name = "text", .kind = OPTION_TEXT, .offset = offsetof(struct config, text) },
	{ .name = "many", .kind = OPTION_READ, .repeatable = true, .read = many_read },
	OPTIONS_END,
};

static int set(struct config *c, const char *text, size_t len, char *values)
{
	const struct ini file = { .rows = rows, .section = "server", .path = "f", .text = text, .len = len, .values = values };
	char why[INI_WHY_MAX] = "";
	const int err = ini_set(&file, c, why);

	same(err == 0 || (err == -EINVAL && strncmp(why, "f:", 2) == 0 && atoi(why + 2) > 0));
	return err;
}

/* Without blanks: behind one a ';' begins a comment. */
static size_t write_out(const struct config *c, char *text, size_t max)
{
	size_t used = (size_t)snprintf(text, max, "[server]\nflag = %s\nnumber = %u\n", c->flag ? "on" : "off", c->number);

	if (c->text)
		used += (size_t)snprintf(text + used, max - used, "text=%s\n", c->text);
	for (size_t i = 0; i < c->count; i++)
		used += (size_t)snprintf(text + used, max - used, "many=%s\n", c->many[i]);
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char values[INI_TEXT_MAX + 1], again_text[4 * INI_TEXT_MAX], again_values[4 * INI_TEXT_MAX + 1];
	struct config c = { 0 }, again = { 0 };
	char *text = malloc(size ? size : 1); /* of its own, so that reading beyond it shows */

	if (!text || size > INI_TEXT_MAX) {
		free(text);
		return 0;
	}
	memcpy(text, data, size);
	if (set(&c, text, size, values) == 0) {
		const size_t len = write_out(&c, again_text, sizeof(again_text));

		same(set(&again, again_text, len, again_values) == 0);
		same(c.flag == again.flag && c.number == again.number && c.count == again.count);
		same(!c.text == !again.text && (!c.text || strcmp(c.text, again.text) == 0));
		for (size_t i = 0; i < c.count; i++)
			same(strcmp(c.many[i], again.many[i]) == 0);
	}
	free(text);
	return 0;
}
