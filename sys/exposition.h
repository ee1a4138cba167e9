/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exposition - numbers as Prometheus reads them (text format 0.0.4).
 *
 *	# HELP stunway_gateway_mappings Mappings there are.
 *	# TYPE stunway_gateway_mappings gauge
 *	stunway_gateway_mappings{protocol="udp",state="open"} 3
 */
#ifndef SYS_EXPOSITION_H
#define SYS_EXPOSITION_H

#include "lib/text.h"

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct exposition_label {
	const char *name, *value; /* any text */
};

/* Heads what follows. kind: "counter" or "gauge"; help: a sentence in one line, NULL for none. */
void exposition_family(struct text *t, const char *name, const char *kind, const char *help);
void exposition_value(struct text *t, const char *name, const struct exposition_label *labels, size_t count, double value);
/* A family of one number. */
void exposition_single(struct text *t, const char *name, const char *kind, const char *help, double value);

#endif
