/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * confine - gives away what a server does not need once its sockets are bound.
 *
 *	confine_user, confine_privileges	before there are threads, who inherit it
 *	confine_calls				once all threads run
 */
#ifndef SYS_CONFINE_H
#define SYS_CONFINE_H

#include <sys/types.h>

/* Becomes a user with all its groups and no other. Negative errno. */
int confine_user(const char *name, uid_t uid, gid_t gid);

/* Gives up every capability, for root too, and whatever exec could bring back (no_new_privs). Negative errno. */
int confine_privileges(void);

/*
 * From now on every thread can serve, log and read files, and nothing else (seccomp).
 * Calls that no path of ours comes near and an intruder begins with (exec, ptrace, ...)
 * end the process; any other answers ENOSYS, since a C library may try a new call
 * before the one it knows, and a public service is not to die of its update. -ENOTSUP
 * where the kernel, the processor or a sanitizer does not let us; other negative errno.
 */
int confine_calls(void);

#endif
