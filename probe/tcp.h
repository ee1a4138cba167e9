/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcp - how the NAT maps TCP: lib/natcheck over connections from one local port.
 */
#ifndef PROBE_TCP_H
#define PROBE_TCP_H

#include "probe/report.h"

/* Fills in what the report has of TCP, within the time. local: an address of this host; its port 0 for any. */
void tcp_ask(struct report *r, const struct endpoint *server, const struct endpoint *local, uint32_t timeout_ms,
	void (*event)(void *user, const char *text));

#endif
