/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bind - opens the server's sockets, and says in words why one could not be. */
#ifndef SERVER_BIND_H
#define SERVER_BIND_H

#include "lib/endpoint.h"

/*
 * Opens a socket of a type (SOCK_DGRAM, or SOCK_STREAM, which listens) bound to an
 * endpoint; flags as in net_open. On failure logs type, endpoint, reason and, where
 * it can be told, the process that holds the port. Negative errno.
 */
int bind_open(int *out_fd, int type, const struct endpoint *local, unsigned flags);

/* The one word of a socket's type: "udp" or "tcp". */
const char *bind_type_text(int type);

#endif
