/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys/cleanup.h"
#include "sys/clock.h"

/* Where programs are, and nowhere else: not what a caller's PATH says. */
static const char *const directories[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
static char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

static int find(const char *name, char *path, size_t max)
{
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		const int n = snprintf(path, max, "%s/%s", directories[i], name);

		if (n > 0 && (size_t)n < max && access(path, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/* A file in memory that holds the text: nobody has to feed a pipe, nor minds who does not read. */
static int open_input(const char *text)
{
	const size_t len = strlen(text);
	CLEANUP(close_fd) int fd = memfd_create("input", MFD_CLOEXEC);
	int opened;

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < len;) {
		const ssize_t n = write(fd, text + done, len - done);

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	opened = fd;
	fd = -1; /* handed over */
	return opened;
}

/* The program begins with the signals as a shell would leave them, whatever ours are. */
static int spawn(pid_t *out, const char *path, const char *const *argv, int input, int output)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	int err;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
	err = posix_spawn(out, path, &files, &attributes, (char *const *)argv, environment);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attributes);
	return -err;
}

/* Until the program closes its end. 0 or -ETIMEDOUT; what does not fit is read and dropped. */
static int read_output(int fd, char *output, size_t max, uint64_t deadline_ms)
{
	char chunk[4096];
	size_t used = 0;

	for (;;) {
		struct pollfd waiting = { .fd = fd, .events = POLLIN };
		const uint64_t now_ms = clock_ms();
		ssize_t n;

		if (now_ms >= deadline_ms)
			return -ETIMEDOUT;
		if (poll(&waiting, 1, (int)(deadline_ms - now_ms)) <= 0)
			continue; /* interrupted, or the time is over */
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			return 0;
		if ((size_t)n > max - 1 - used)
			n = (ssize_t)(max - 1 - used);
		memcpy(output + used, chunk, (size_t)n);
		used += (size_t)n;
		output[used] = '\0';
	}
}

/* Its last word is out, its end near: what takes longer than the deadline is killed. */
static int wait_end(pid_t pid, uint64_t deadline_ms)
{
	const struct timespec nap = { .tv_nsec = 200000 };
	bool killed = false;
	int status;
	pid_t ended;

	while ((ended = waitpid(pid, &status, killed ? 0 : WNOHANG)) <= 0) {
		if (ended < 0 && errno != EINTR)
			return -errno;
		if (ended == 0 && clock_ms() >= deadline_ms) {
			kill(pid, SIGKILL);
			killed = true;
		} else if (ended == 0) {
			nanosleep(&nap, NULL);
		}
	}
	if (killed)
		return -ETIMEDOUT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_program(const char *const *argv, const char *input, char *output, size_t max, uint32_t limit_ms)
{
	const uint64_t deadline_ms = clock_ms() + limit_ms;
	CLEANUP(close_fd) int in = -1, out = -1, theirs = -1;
	char path[256];
	int ends[2], err;
	pid_t pid;

	output[0] = '\0';
	if (find(argv[0], path, sizeof(path)) < 0)
		return RUN_NOT_FOUND;
	in = open_input(input ? input : "");
	if (in < 0)
		return in;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	out = ends[0];
	theirs = ends[1];
	err = spawn(&pid, path, argv, in, theirs);
	if (err < 0)
		return err;
	close(theirs);
	theirs = -1; /* or there is no end of file */
	err = read_output(out, output, max, deadline_ms);
	return wait_end(pid, err < 0 ? 0 : deadline_ms);
}
