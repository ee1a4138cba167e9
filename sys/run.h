/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * run - runs a short-lived program to its end: no shell, a clean environment, bounded in output and time.
 *
 * Blocks; made for programs that take milliseconds, such as iptables-restore.
 */
#ifndef SYS_RUN_H
#define SYS_RUN_H

#include <stddef.h>
#include <stdint.h>

#define RUN_NOT_FOUND 127 /* the status of a program that is not there */

/*
 * argv[0] is searched in /usr/sbin:/usr/bin:/sbin:/bin. input (NULL: none) is its stdin. What it
 * wrote to stdout and stderr, as it came, is in output, cut to max - 1 bytes and terminated.
 * Returns its exit status (128 and the signal's number, when one ended it), or a negative errno:
 * -ETIMEDOUT when it was killed after limit_ms.
 */
int run_program(const char *const *argv, const char *input, char *output, size_t max, uint32_t limit_ms);

#endif
