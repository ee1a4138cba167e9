/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options - a program's options as one table.
 *
 * A row serves the command line, --help and the INI file, whose keys are the long
 * options (sys/ini.h). Values are checked as they are read: a wrong one is named, with
 * the option, and what would be right. What the command line says of an option replaces
 * all that the file says of it.
 */
#ifndef SYS_OPTIONS_H
#define SYS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX 64 /* rows of a table */

enum option_kind {
	OPTION_FLAG, /* bool: true when given */
	OPTION_U32,  /* uint32_t within min and max */
	OPTION_TEXT, /* const char *, borrowed from argv or from the file's values; "" is refused */
	OPTION_READ, /* read() makes of it what it wants */
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
	bool repeatable;	/* the file may have its key more than once */
	bool command_line_only; /* it is no key of the file */
	/* OPTION_READ: 0, or a negative errno with *why saying what would be right. The value is borrowed as OPTION_TEXT's is. */
	int (*read)(void *config, const char *value, const char **why);
};

#define OPTIONS_END { .name = NULL }

#define OPTION_WHY_MAX 128

/* Sections of the file beside the one of the options, as often as wanted: "[KIND NAME]" is one element of something. */
struct option_group {
	const char *kind;
	const char *help;
	const struct option_row *rows; /* its keys; they set the element */
	/* A section begins: its element, or NULL and in why what would be right. The name is borrowed as OPTION_TEXT's value is. */
	void *(*begin)(void *config, const char *name, char why[OPTION_WHY_MAX]);
	/* It ends: 0, or -EINVAL and in why what is wrong with it as a whole. */
	int (*end)(void *config, const void *element, char why[OPTION_WHY_MAX]);
};

struct options {
	const char *program;
	const char *usage; /* what follows the program's name */
	const char *about; /* printed above the table by --help */
	const struct option_row *rows;
	const char *section; /* of the INI file named with --config; NULL: there is no such file */
	const char *file;    /* the one read when none is named; it may be absent */
	const struct option_group *group; /* its other sections; NULL: there are none */
	size_t values;	     /* offset of a char *: what the file's values are borrowed from, for the caller to free */
};

/* Sets one option, with value NULL for a flag on the command line. -EINVAL, and in why what would be right. */
int option_set(const struct option_row *row, void *config, const char *value, char why[OPTION_WHY_MAX]);

/*
 * Sets the fallbacks, then reads the file, then argv. 0: go on, *first_operand is the index of the
 * first word that is no option. 1: --help or --version was printed, exit 0. -EINVAL:
 * said on stderr, exit 2.
 */
int options_read(const struct options *o, void *config, int argc, char **argv, int *first_operand);
/* The file that options_read reads: the one named in argv, or the default, which may be absent. */
const char *options_file(const struct options *o, int argc, char **argv);
/* options_read once more, for a program that may no longer open its file: fd is that file, -1 for an absent one. */
int options_read_again(const struct options *o, void *config, int argc, char **argv, int fd);

#endif
