/* SPDX-License-Identifier: MIT */
/*
 * resolve - a host's name to addresses, within a time that getaddrinfo(3) does not know of.
 *
 * A literal is read at once. A name is asked for in a thread of its own, which is left
 * behind, to end by itself, when the time is over.
 */
#ifndef SYS_RESOLVE_H
#define SYS_RESOLVE_H

#include "lib/endpoint.h"

#define RESOLVE_MAX	16 /* addresses of one name */
#define RESOLVE_WHY_MAX 128

/* family: the wanted one, ENDPOINT_NONE for both. How many were written to out, 0 with the reason in why; -ENOMEM. */
int resolve(struct endpoint out[RESOLVE_MAX], const char *host, uint16_t port, enum endpoint_family family, uint32_t timeout_ms,
	char why[RESOLVE_WHY_MAX]);

#endif
