/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * confine - gives away what a program does not need once its sockets are bound.
 *
 *	confine_user, confine_privileges	before there are threads, who inherit it
 *	confine_calls				once all threads run
 */
#ifndef SYS_CONFINE_H
#define SYS_CONFINE_H

#include <stdint.h>
#include <sys/types.h>

/* Capabilities as a set: CONFINE_CAP(CAP_NET_ADMIN) | … */
#define CONFINE_CAP(cap) (1ULL << (cap))

/*
 * Becomes a user with all its groups and no other. Of the capabilities those in keep stay within reach of
 * confine_privileges, which must follow. Negative errno.
 */
int confine_user(const char *name, uid_t uid, gid_t gid, uint64_t keep);

/*
 * Gives up every capability but those in keep that there are, for root too, and whatever
 * exec could bring back (no_new_privs). Negative errno.
 */
int confine_privileges(uint64_t keep);
/* What is left of these goes on to the program that is executed next. Negative errno. */
int confine_inherit(uint64_t keep);
/* The capabilities in effect. */
uint64_t confine_capabilities(void);

/*
 * Makes a directory (its parent must be there) if need be, and gives it to a user, with
 * root's files in it: for what a program writes after it gave up its rights. A link is
 * refused, and one in it is left alone, hard ones too. Negative errno.
 */
int confine_directory(const char *path, uid_t uid, gid_t gid);

enum confine_work {
	CONFINE_SERVER,	 /* serves on sockets that are bound, logs, reads files */
	CONFINE_GATEWAY, /* opens sockets, talks netlink, resolves names, begins threads, writes files */
};

/*
 * From now on every thread can do this work, and nothing else (seccomp).
 * Calls that no path of ours comes near and an intruder begins with (exec, ptrace, ...)
 * end the process; any other answers ENOSYS, since a C library may try a new call
 * before the one it knows, and a public service is not to die of its update. -ENOTSUP
 * where the kernel, the processor or a sanitizer does not let us; other negative errno.
 */
int confine_calls(enum confine_work work);

#endif
