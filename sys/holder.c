/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "sys/cleanup.h"

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* The inode of the socket bound to the port, 0 for none. */
static unsigned long inode_of(const char *protocol, const char *version, uint16_t port)
{
	char path[32], line[512];

	snprintf(path, sizeof(path), "/proc/net/%s%s", protocol, version);
	CLEANUP(close_file) FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		unsigned local;
		unsigned long inode;

		if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*s %*s %*s %*s %*s %*s %*s %lu", &local, &inode) == 2 && local == port &&
			inode != 0)
			return inode;
	}
	return 0;
}

static bool holds(const char *pid, unsigned long inode)
{
	char path[300], target[64], want[64];
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	snprintf(want, sizeof(want), "socket:[%lu]", inode);
	CLEANUP(close_dir) DIR *fds = opendir(path);
	while (fds && (entry = readdir(fds))) {
		const ssize_t n = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		if (n > 0 && (target[n] = '\0', strcmp(target, want) == 0))
			return true;
	}
	return false;
}

static void name_of(char *buf, size_t max, const char *pid)
{
	char path[300], name[64] = "?";

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	CLEANUP(close_file) FILE *file = fopen(path, "re");
	if (file && fgets(name, sizeof(name), file))
		name[strcspn(name, "\n")] = '\0';
	snprintf(buf, max, "%s (pid %s)", name, pid);
}

void holder_name(char *buf, size_t max, const char *protocol, uint16_t port)
{
	const unsigned long v4 = inode_of(protocol, "", port);
	const unsigned long inode = v4 ? v4 : inode_of(protocol, "6", port);
	CLEANUP(close_dir) DIR *proc = opendir("/proc");
	const struct dirent *entry;

	snprintf(buf, max, "another process");
	while (inode && proc && (entry = readdir(proc))) {
		if (isdigit((unsigned char)entry->d_name[0]) && holds(entry->d_name, inode)) {
			name_of(buf, max, entry->d_name);
			return;
		}
	}
}
