/* SPDX-License-Identifier: GPL-2.0-or-later */
/* holder - who has a port: for the error message that says which process is in the way. */
#ifndef SYS_HOLDER_H
#define SYS_HOLDER_H

#include "lib/endpoint.h"

#define HOLDER_MAX 128

/*
 * "miniupnpd (pid 812)" for who keeps a socket of a type (SOCK_DGRAM, SOCK_STREAM) from being
 * bound to an endpoint, "another process" when it cannot be told. Returns buf.
 */
const char *holder_name(char buf[HOLDER_MAX], int type, const struct endpoint *local);

#endif
