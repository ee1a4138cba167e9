/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ini - a configuration file, read into the same table of options as the command line.
 *
 *	# comment                       keys are the long options; a repeatable one
 *	[server]                        stands once per value, a flag is true, yes, on
 *	ipv4 = 198.51.100.1  ; comment  or false, no, off
 *	no-tcp = yes
 *
 * inih reads it. What inih bends without a word is refused here, with file and line:
 * indented lines (to inih they continue the value before), lines longer than its buffer,
 * what follows a section's bracket, NUL bytes; and so are sections other than the one
 * that is read and those of the group, keys before it, keys that are no option, and a
 * second value for an option that takes one.
 */
#ifndef SYS_INI_H
#define SYS_INI_H

#include <stdbool.h>

#include "sys/options.h"

#define INI_TEXT_MAX 65536
#define INI_WHY_MAX  512

struct ini {
	const struct option_row *rows;
	const char *section; /* the section of these rows */
	const struct option_group *group; /* what other sections there may be; NULL: none */
	const char *path;    /* for messages */
	const char *text;
	size_t len;
	const bool *skip; /* by row: known, but not to be set; NULL: none */
	char *values;	  /* room for len + 1 bytes: what OPTION_TEXT and read() are given, to live as long as the configuration */
};

/* 0, or -EINVAL and "PATH:LINE: what is wrong" in why; the configuration may then be half read. */
int ini_set(const struct ini *file, void *config, char why[INI_WHY_MAX]);

#endif
