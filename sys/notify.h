/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notify - tells the service manager how we are (sd_notify(3)), by a datagram to
 * $NOTIFY_SOCKET. Without one it does nothing.
 */
#ifndef SYS_NOTIFY_H
#define SYS_NOTIFY_H

#include <stdint.h>

/* Remembers socket and watchdog, and takes both out of the environment, so that hooks cannot speak for us. Before anything is confined. */
void notify_setup(void);
/* "READY=1\nSTATUS=…". */
__attribute__((format(printf, 1, 2))) void notify(const char *format, ...);
/* RELOADING=1 with the time it began; READY=1 ends it. */
void notify_reloading(void);
/* How often WATCHDOG=1 is to be said, half of what the manager waits; 0: not at all. */
uint64_t notify_watchdog_ms(void);

#endif
