/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report - what the probe found out, for people and for programs. */
#ifndef PROBE_REPORT_H
#define PROBE_REPORT_H

#include <stdio.h>

#include <stunway/stunway.h>

#include "lib/hairpin.h"
#include "lib/lifetime.h"

#define REPORT_WHY_MAX 160

/* One of the questions beside the verdict. */
struct report_extra {
	bool asked;
	char why[REPORT_WHY_MAX]; /* it could not be asked; "": it could */
};

struct report {
	struct stunway_nat_info info;
	const char *asked; /* the server as it was named */
	struct report_extra tcp, hairpin, lifetime;
	enum stunway_behavior tcp_mapping;
	struct endpoint tcp_external; /* family NONE: unknown */
	struct hairpin_result hairpin_result;
	struct lifetime_progress lifetime_progress;
	bool lifetime_stopped; /* by Ctrl-C */
};

/* An aligned table. */
void report_table(FILE *out, const struct report *r, bool colour);
#define REPORT_JSON_MAX 4096
/* One object, without a newline. Returns text. */
const char *report_json(char text[REPORT_JSON_MAX], const struct report *r);
/* What the program's exit code is. */
int report_exit_code(const struct report *r);

#endif
