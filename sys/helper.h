/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * helper - a small process that keeps the rights which the program gives up.
 *
 *	program ──request, reply socket──→ helper ──fork──→ job ──fork──→ iptables-restore, hook
 *	   ↑                                                 │
 *	   └────────────── output, exit status ──────────────┘
 *
 * Forked before privileges are dropped, threads begin and descriptors are opened. It does
 * three things, and each only as the table it was started with says: open a file for
 * reading, run a command with a text on its stdin, run the hook. Which program that is it
 * finds out itself: the program can have it look again, but not say. A command's words are
 * fixed at the start (iptables --modprobe=PROGRAM would be anything at all); the caller
 * chooses which, and the text.
 *
 * Commands and hooks run with a clean environment (PATH and what is given), in a process
 * group of their own, which is killed as a whole at the time limit, when the job's socket
 * is closed, and when the program dies. The helper dies with the program.
 *
 *	commands	as the user, with the network's capabilities (CAP_NET_ADMIN, CAP_NET_RAW) as far as there are any
 *	hook		as the user, with no capability; stdin is /dev/null
 *
 * Nothing goes through a shell.
 */
#ifndef SYS_HELPER_H
#define SYS_HELPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HELPER_JOBS_MAX	 16	 /* at a time; a request beyond fails with -EPIPE */
#define HELPER_RUN_MS	 2000	 /* helper_run's bound */
#define HELPER_CHUNK_MAX 1024	 /* of one event's output */
#define HELPER_REQUEST_MAX 4096	 /* bytes of a hook's words and variables together */

/* What asks it may be called from several threads at a time. */
struct helper;

struct helper_config {
	const char *const *files; /* paths, NULL at the end */
	/*
	 * Commands by number: each a NULL-terminated argv, whose program is searched in /usr/sbin:/usr/bin:/sbin:/bin.
	 * Words that begin with NAME= before the program are variables (XTABLES_LOCKFILE=/dev/null).
	 */
	const char *const *const *commands; /* NULL at the end */
	/*
	 * A file that is locked (flock) while a command runs; NULL: none. For iptables-legacy: /run/xtables.lock, which the
	 * user may not open, with XTABLES_LOCKFILE=/dev/null among the variables.
	 */
	const char *lock;
	const char *hook; /* absolute path, NULL: none */
	/* Another hook, if there is one now, malloc'ed, or NULL: none. Runs in the helper. A negative errno: all stays. */
	int (*hook_again)(void *owner, char **out);
	void *owner;
	const char *user;		    /* whom commands and hook run as; NULL: as who started */
	uid_t uid;
	gid_t gid;
};

/* The configuration is borrowed: by the helper for good. Negative errno. */
int helper_start(struct helper **out, const struct helper_config *config);
/* Ends the helper and all it runs, and waits for that. NULL is fine. */
void helper_stop(struct helper *h);

/* A descriptor of files[number], for reading, or a negative errno. */
int helper_open(struct helper *h, size_t number);

/*
 * Runs commands[number] with input (NULL: none) as its stdin, and waits for its end, at most
 * HELPER_RUN_MS. Returns its exit status (128 and the signal's number, when one ended it; 127: no
 * such program), or a negative errno: -ETIMEDOUT when it was killed, -EPIPE when there is no helper, or too much for it to do.
 * What it wrote to stdout and stderr, as it came, is in output, cut to max - 1 bytes and
 * terminated; NULL: not wanted.
 */
int helper_run(struct helper *h, size_t number, const char *input, char *output, size_t max);

/*
 * Starts the hook with words (argv[1] and on) and variables ("NAME=value"), both NULL-terminated.
 * Returns a non-blocking descriptor, readable when helper_read has something to say, or a negative
 * errno. After limit_ms it is sent SIGTERM, two seconds later SIGKILL. Closing the
 * descriptor kills it at once.
 */
int helper_hook(struct helper *h, const char *const *words, const char *const *variables, uint32_t limit_ms);

/* From the next run on the hook is what hook_again says now. A negative errno as it gives it, or -EPIPE, -ETIMEDOUT: it may be the old one. */
int helper_hook_again(struct helper *h);

struct helper_event {
	enum { HELPER_OUTPUT, HELPER_END } kind;
	int status;			/* HELPER_END: as helper_run's, -ETIMEDOUT included */
	char text[HELPER_CHUNK_MAX + 1]; /* HELPER_OUTPUT: what it wrote, terminated; may hold anything but NUL */
};
/* 0, -EAGAIN when nothing is there yet, -EPIPE when the helper is gone. After HELPER_END: close. */
int helper_read(int fd, struct helper_event *out);

#endif
