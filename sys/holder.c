/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/holder.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sys/cleanup.h"

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* An address as /proc/net's tables write it: 4 bytes at a time, each as a number of this machine. */
static void table_text(const struct endpoint *e, char out[33])
{
	out[0] = '\0';
	for (size_t i = 0; i < endpoint_ip_len(e); i += 4) {
		uint32_t word;

		memcpy(&word, e->ip + i, 4);
		snprintf(out + 2 * i, 9, "%08X", word);
	}
}

static bool all_zeros(const char *text)
{
	return text[strspn(text, "0")] == '\0';
}

/* Inode of the socket in a table that keeps us from an endpoint: the same, or any address on one side. 0 for none. */
static unsigned long blocking_inode(const char *table, const struct endpoint *want)
{
	CLEANUP(close_file) FILE *file = fopen(table, "re");
	char line[512], wanted[33], address[33];
	unsigned port;
	unsigned long inode;

	table_text(want, wanted);
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " %*d: %32[0-9A-Fa-f]:%x %*s %*s %*s %*s %*s %*s %*s %lu", address, &port, &inode) != 3)
			continue;
		if (port == want->port && inode != 0 &&
			(strcmp(address, wanted) == 0 || all_zeros(address) || all_zeros(wanted)))
			return inode;
	}
	return 0;
}

/* Does the process (a name in /proc) have the socket open? */
static bool has_socket(const char *pid, unsigned long inode)
{
	char path[300];
	CLEANUP(close_dir) DIR *dir = NULL;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	for (const struct dirent *d; dir && (d = readdir(dir));)
		if (fstatat(dirfd(dir), d->d_name, &st, 0) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == inode)
			return true;
	return false;
}

static void process_name(const char *pid, char *out, size_t max)
{
	char path[300];
	CLEANUP(close_file) FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(out, (int)max, file))
		snprintf(out, max, "?");
	out[strcspn(out, "\n")] = '\0';
}

/* The family's own table first, then the other: an IPv6 socket may take IPv4 as well. */
static unsigned long holding_inode(int type, const struct endpoint *local)
{
	unsigned long inode = 0;
	char path[32];

	for (int i = 0; i < 2 && inode == 0; i++) {
		const bool v6 = (local->family == ENDPOINT_IPV6) != (i == 1);

		snprintf(path, sizeof(path), "/proc/net/%s%s", type == SOCK_STREAM ? "tcp" : "udp", v6 ? "6" : "");
		inode = blocking_inode(path, local);
	}
	return inode;
}

const char *holder_name(char buf[HOLDER_MAX], int type, const struct endpoint *local)
{
	CLEANUP(close_dir) DIR *proc = opendir("/proc");
	const unsigned long inode = holding_inode(type, local);
	char name[64];

	for (const struct dirent *d; inode && proc && (d = readdir(proc));) {
		if (atoi(d->d_name) <= 0 || atoi(d->d_name) == getpid() || !has_socket(d->d_name, inode))
			continue;
		process_name(d->d_name, name, sizeof(name));
		snprintf(buf, HOLDER_MAX, "%s (pid %.20s)", name, d->d_name);
		return buf;
	}
	return strcpy(buf, "another process");
}
