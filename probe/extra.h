/* SPDX-License-Identifier: GPL-2.0-or-later */
/* extra - the questions beside the verdict: --tcp, --hairpin, --lifetime. */
#ifndef PROBE_EXTRA_H
#define PROBE_EXTRA_H

#include "probe/config.h"
#include "probe/report.h"

/* Asks what the configuration wants of the server that report.info names, and fills in the report. */
void extra_ask(struct report *r, const struct config *config, void (*event)(void *user, const char *text));

#endif
