/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/bind.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sys/cleanup.h"
#include "sys/log.h"
#include "sys/net.h"

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

const char *bind_type_text(int type)
{
	return type == SOCK_STREAM ? "tcp" : "udp";
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

/* " held-by=NAME pid=N" of whoever holds the port, "" when it cannot be told. */
static void holder_text(int type, const struct endpoint *local, char *out, size_t max)
{
	char path[32], name[64];
	CLEANUP(close_dir) DIR *proc = opendir("/proc");
	unsigned long inode = 0;

	out[0] = '\0';
	for (int i = 0; i < 2 && inode == 0; i++) {
		/* the other family too: an IPv6 socket that takes IPv4 as well */
		const bool v6 = (local->family == ENDPOINT_IPV6) != (i == 1);

		snprintf(path, sizeof(path), "/proc/net/%s%s", bind_type_text(type), v6 ? "6" : "");
		inode = blocking_inode(path, local);
	}
	for (const struct dirent *d; inode && proc && (d = readdir(proc));) {
		if (atoi(d->d_name) <= 0 || atoi(d->d_name) == getpid() || !has_socket(d->d_name, inode))
			continue;
		process_name(d->d_name, name, sizeof(name));
		snprintf(out, max, " held-by=%s pid=%.20s", name, d->d_name);
		return;
	}
}

static int listening(int fd, int type)
{
	return type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

int bind_open(int *out_fd, int type, const struct endpoint *local, unsigned flags)
{
	CLEANUP(close_fd) int fd = -1;
	char text[ENDPOINT_TEXT_MAX], holder[128] = "";
	int err = net_open(&fd, type, local, flags);

	if (err == 0)
		err = listening(fd, type);
	if (err < 0) {
		if (err == -EADDRINUSE)
			holder_text(type, local, holder, sizeof(holder));
		log_error("cannot bind %s %s: %s%s", bind_type_text(type), endpoint_text(local, text), strerror(-err), holder);
		return err;
	}
	*out_fd = fd;
	fd = -1; /* handed over */
	return 0;
}
