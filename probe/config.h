/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config - what the command line says, checked. */
#ifndef PROBE_CONFIG_H
#define PROBE_CONFIG_H

#include "lib/endpoint.h"

#define CONFIG_HOST_MAX 256 /* a host's name has at most 253 bytes */

struct config {
	char host[CONFIG_HOST_MAX]; /* without brackets */
	uint16_t port;
	struct endpoint bind; /* family NONE: any */
	uint32_t timeout_ms, lifetime_max_s;
	bool ipv4, ipv6, port_mode, tcp, lifetime, hairpin, json, verbose;
};

/* 0: go on. 1: --help or --version was printed. -EINVAL: said on stderr. */
int config_read(struct config *config, int argc, char **argv);

/* HOST, HOST:PORT, an IPv6 literal, [IPv6 literal], [IPv6 literal]:PORT; port: if none is written. -EINVAL. */
int config_host_read(char host[CONFIG_HOST_MAX], uint16_t *port, const char *text);

#endif
