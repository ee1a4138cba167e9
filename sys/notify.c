/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sys/cleanup.h"

/* The one manager that a process has. */
static struct sockaddr_un manager;
static socklen_t manager_len; /* 0: none */
static uint64_t watchdog_us;

/* "@name" is an abstract address: a NUL, then the name, without one at its end. */
static void manager_set(const char *path)
{
	const size_t len = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(manager.sun_path))
		return;
	manager.sun_family = AF_UNIX;
	memcpy(manager.sun_path, path, len);
	if (path[0] == '@')
		manager.sun_path[0] = '\0';
	manager_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
}

void notify_setup(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (path)
		manager_set(path);
	if (us && (!pid || strtoul(pid, NULL, 10) == (unsigned long)getpid()))
		watchdog_us = strtoull(us, NULL, 10);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify(const char *format, ...)
{
	char text[512];
	va_list args;
	int len;

	if (!manager_len)
		return;
	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* A manager that does not listen is not told: nothing here is worth waiting for. */
	if (fd >= 0 && len > 0 && (size_t)len < sizeof(text))
		sendto(fd, text, (size_t)len, MSG_NOSIGNAL, (const struct sockaddr *)&manager, manager_len);
}

void notify_reloading(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	notify("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)t.tv_sec * 1000000 + (unsigned long long)t.tv_nsec / 1000);
}

uint64_t notify_watchdog_ms(void)
{
	return watchdog_us / 2000;
}
