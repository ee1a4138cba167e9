/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sys/ini.h"

struct config {
	bool flag;
	uint32_t number;
	const char *text;
	const char *many[3];
	size_t count;
};

static int many_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "given at most three times";
	if (c->count == 3)
		return -EINVAL;
	c->many[c->count++] = value;
	return 0;
}

#define AT(field) offsetof(struct config, field)

static const struct option_row rows[] = {
	{ .name = "flag", .kind = OPTION_FLAG, .offset = AT(flag) },
	{ .name = "number", .kind = OPTION_U32, .offset = AT(number), .min = 1, .max = 100 },
	{ .name = "text", .kind = OPTION_TEXT, .offset = AT(text) },
	{ .name = "many", .kind = OPTION_READ, .repeatable = true, .read = many_read },
	{ .name = "check", .kind = OPTION_FLAG, .offset = AT(flag), .command_line_only = true },
	OPTIONS_END,
};

/* What the last file said. */
static struct config config;
static char values[INI_TEXT_MAX + 1], why[INI_WHY_MAX];
static bool skip[5];

static int set_bytes(const char *text, size_t len)
{
	const struct ini file = { .rows = rows, .section = "server", .path = "a.conf", .text = text, .len = len, .skip = skip,
		.values = values };

	config = (struct config){ .number = 7 };
	memset(values, 'x', sizeof(values));
	strcpy(why, "nothing");
	return ini_set(&file, &config, why);
}

static int set(const char *text)
{
	return set_bytes(text, strlen(text));
}

static void assert_refused(const char *text, const char *message)
{
	assert_int_equal(set(text), -EINVAL);
	assert_string_equal(why, message);
}

static int begin(void **state)
{
	(void)state;
	memset(skip, 0, sizeof(skip));
	return 0;
}

static void keys_are_the_long_options(void **state)
{
	(void)state;
	assert_int_equal(set("# a file\n\n[server]\nnumber = 42\n  ; a comment may stand anywhere\ntext=two words  ; one more\n"
			     "many = a\nmany = b\nflag = yes\n"), 0);
	assert_int_equal(config.number, 42);
	assert_string_equal(config.text, "two words");
	assert_int_equal(config.count, 2);
	assert_string_equal(config.many[0], "a");
	assert_string_equal(config.many[1], "b");
	assert_true(config.flag);
}

static void nothing_is_a_file_too(void **state)
{
	(void)state;
	assert_int_equal(set(""), 0);
	assert_int_equal(set("\n \n\t\n"), 0);
	assert_int_equal(set("[server]"), 0);
	assert_int_equal(set("[server] # and a comment\n"), 0);
	assert_int_equal(config.number, 7);
}

static void a_file_may_come_from_another_system(void **state)
{
	(void)state;
	assert_int_equal(set("\xef\xbb\xbf[server]\r\nnumber = 5\r\ntext = word\r\n"), 0);
	assert_int_equal(config.number, 5);
	assert_string_equal(config.text, "word");
}

static void a_flag_is_true_or_false_in_three_ways(void **state)
{
	static const char *const yes[] = { "true", "yes", "on" }, *const no[] = { "false", "no", "off" };
	char text[64];

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "[server]\nflag = %s\n", i < 3 ? yes[i] : no[i - 3]);
		assert_int_equal(set(text), 0);
		assert_int_equal(config.flag, i < 3);
	}
	assert_refused("[server]\nflag = 1\n", "a.conf:2: flag '1': must be true or false, yes or no, on or off");
	assert_refused("[server]\nflag =\n", "a.conf:2: flag '': must be true or false, yes or no, on or off");
}

static void a_wrong_value_is_named_with_its_line(void **state)
{
	(void)state;
	assert_refused("[server]\n\n# \nnumber = 0\n", "a.conf:4: number '0': must be a number from 1 to 100");
	assert_refused("[server]\nnumber = 0x10", "a.conf:2: number '0x10': must be a number from 1 to 100");
	assert_refused("[server]\ntext =\n", "a.conf:2: text '': must be a word");
	assert_refused("[server]\nmany=1\nmany=2\nmany=3\nmany=4\n", "a.conf:5: many '4': must be given at most three times");
}

static void the_first_of_several_mistakes_is_named(void **state)
{
	(void)state;
	assert_refused("[server]\nnumber = 0\nnumber = x\n[other]\n", "a.conf:2: number '0': must be a number from 1 to 100");
}

static void an_unknown_key_is_refused(void **state)
{
	(void)state;
	assert_refused("[server]\nnumbre = 3\n", "a.conf:2: key 'numbre': no such key in [server]");
	assert_refused("[server]\nNumber = 3\n", "a.conf:2: key 'Number': no such key in [server]");
	assert_refused("[server]\ncheck = yes\n", "a.conf:2: key 'check': no such key in [server]");
}

static void a_key_given_twice_is_refused(void **state)
{
	(void)state;
	assert_refused("[server]\nnumber = 3\nnumber = 3\n", "a.conf:3: key 'number' '3': must be given once only");
	assert_refused("[server]\nnumber = 3\n[server]\nnumber = 4\n", "a.conf:4: key 'number' '4': must be given once only");
}

static void a_key_before_the_section_is_refused(void **state)
{
	(void)state;
	assert_refused("number = 3\n[server]\n", "a.conf:1: key 'number' stands before any section; [server] comes first");
}

static void another_section_is_refused(void **state)
{
	(void)state;
	assert_refused("[server]\nnumber = 3\n[mapping web]\n",
		"a.conf:3: section '[mapping web]': must be [server], the only one of this file");
	assert_refused("[ server]\n", "a.conf:1: section '[ server]': must be [server], the only one of this file");
	assert_refused("[server\n", "a.conf:1: section '[server': must be [server], the only one of this file");
	assert_refused("[]\n", "a.conf:1: section '[]': must be [server], the only one of this file");
	assert_int_equal(set("[serverserverserverserverserverserverserverserverserver]\nnumber = 3\n"), -EINVAL); /* inih keeps 49 bytes */
}

/* inih takes the name and drops the rest. */
static void what_follows_a_section_is_refused(void **state)
{
	(void)state;
	assert_refused("[server] number = 3\n", "a.conf:1: section '[server] number = 3': must be [server], the only one of this file");
}

/* inih continues the value before. */
static void an_indented_line_is_refused(void **state)
{
	static const char message[] = "a.conf:3: begins with a blank: every key and section stands at the beginning of its line";

	(void)state;
	assert_refused("[server]\nmany = a\n  number = 3\n", message);
	assert_refused("[server]\nmany = a\n\tb\n", message);
	assert_refused("[server]\nmany = a\n [server]\n", message);
}

/* inih breaks it in two. */
static void a_line_over_the_buffer_is_refused(void **state)
{
	char text[1024] = "[server]\nmany = ok\ntext = ";
	size_t longest = 0;

	(void)state;
	for (size_t n = 1; n < 500; n++) {
		char *at = text + strlen("[server]\nmany = ok\n");

		memcpy(at, "text = ", 7);
		memset(at + 7, 'a', n);
		strcpy(at + 7 + n, "\n");
		if (set(text) == 0) {
			assert_int_equal(strlen(config.text), n);
			longest = n;
		}
	}
	assert_in_range(longest, 100, 400);
	assert_non_null(strstr(why, "a.conf:3: longer than "));
	text[9 + 5] = '#'; /* a comment, too: inih would read its second half */
	memset(text + 9 + 5, '#', 800);
	assert_int_equal(set(text), -EINVAL);
}

static void a_line_that_says_nothing_known_is_refused(void **state)
{
	(void)state;
	assert_refused("[server]\nnumber\nflag = yes\n", "a.conf:2: must be KEY = VALUE, [server] or a comment");
	assert_int_equal(set("[server]\nnumber\n  5\n"), -EINVAL);
}

static void a_nul_byte_is_refused(void **state)
{
	static const char text[] = "[server]\ntext = a\0b\n";

	(void)state;
	assert_int_equal(set_bytes(text, sizeof(text) - 1), -EINVAL);
	assert_string_equal(why, "a.conf:2: a NUL byte");
}

static void what_the_command_line_says_replaces_what_the_file_says(void **state)
{
	(void)state;
	skip[1] = skip[3] = true;
	assert_int_equal(set("[server]\nnumber = 3\nmany = a\nmany = b\ntext = c\n"), 0);
	assert_int_equal(config.number, 7);
	assert_int_equal(config.count, 0);
	assert_string_equal(config.text, "c");
	assert_int_equal(set("[server]\nnumber = 3\nnumber = 3\n"), -EINVAL); /* the file is as wrong as before */
}

#define TI(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TI(keys_are_the_long_options),
		TI(nothing_is_a_file_too),
		TI(a_file_may_come_from_another_system),
		TI(a_flag_is_true_or_false_in_three_ways),
		TI(a_wrong_value_is_named_with_its_line),
		TI(the_first_of_several_mistakes_is_named),
		TI(an_unknown_key_is_refused),
		TI(a_key_given_twice_is_refused),
		TI(a_key_before_the_section_is_refused),
		TI(another_section_is_refused),
		TI(what_follows_a_section_is_refused),
		TI(an_indented_line_is_refused),
		TI(a_line_over_the_buffer_is_refused),
		TI(a_line_that_says_nothing_known_is_refused),
		TI(a_nul_byte_is_refused),
		TI(what_the_command_line_says_replaces_what_the_file_says),
	};

	return RUN(tests);
}
