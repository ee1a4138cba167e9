/* SPDX-License-Identifier: GPL-2.0-or-later */
/* holder - who has a port: for the error message that says which process is in the way. */
#ifndef SYS_HOLDER_H
#define SYS_HOLDER_H

#include <stddef.h>
#include <stdint.h>

/* Writes "miniupnpd (pid 812)", or "another process" when it cannot be told. protocol: "udp" or "tcp". */
void holder_name(char *buf, size_t max, const char *protocol, uint16_t port);

#endif
