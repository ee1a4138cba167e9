/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options - a program's options as one table.
 *
 * A row serves the command line and --help (and the INI file, whose keys are the
 * long options). Values are checked as they are read: a wrong one is named, with
 * the option, and what would be right.
 */
#ifndef SYS_OPTIONS_H
#define SYS_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG, /* bool: true when given */
	OPTION_U32,  /* uint32_t within min and max */
	OPTION_TEXT, /* const char *, borrowed from argv; "" is refused */
	OPTION_READ, /* read() makes of it what it wants; may be repeatable */
};

struct option_row {
	const char *name; /* the long option, without dashes */
	char letter;	  /* the short one, 0 for none */
	enum option_kind kind;
	size_t offset; /* of the field in the configuration */
	uint32_t min, max;
	const char *fallback; /* set before anything is read; NULL: the field stays as it is */
	const char *argument; /* its name in --help, NULL for a flag */
	const char *help;
	/* OPTION_READ: 0, or a negative errno with *why saying what would be right. */
	int (*read)(void *config, const char *value, const char **why);
};

#define OPTIONS_END { .name = NULL }

struct options {
	const char *program;
	const char *usage; /* what follows the program's name */
	const char *about; /* printed above the table by --help */
	const struct option_row *rows;
};

/*
 * Sets the fallbacks, then reads argv. 0: go on, *first_operand is the index of the
 * first word that is no option. 1: --help or --version was printed, exit 0. -EINVAL:
 * said on stderr, exit 2.
 */
int options_read(const struct options *o, void *config, int argc, char **argv, int *first_operand);

#endif
