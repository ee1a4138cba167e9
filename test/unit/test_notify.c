/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sys/notify.h"

/* What a manager whose socket has this name is told. */
static void told(const char *name, char buf[256])
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ssize_t n;

	memcpy(at.sun_path, name, strlen(name));
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	unlink(name);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_setup();
	notify("READY=1\nSTATUS=%d mappings", 3);
	n = recv(fd, buf, 255, MSG_DONTWAIT);
	buf[n < 0 ? 0 : n] = '\0';
	close(fd);
	unlink(name);
}

static void a_manager_is_told_at_a_path_and_at_an_abstract_address(void **state)
{
	char name[64], buf[256];

	(void)state;
	snprintf(name, sizeof(name), "/tmp/test-notify-%d", getpid());
	told(name, buf);
	assert_string_equal(buf, "READY=1\nSTATUS=3 mappings");
	snprintf(name, sizeof(name), "@test-notify-%d", getpid());
	told(name, buf);
	assert_string_equal(buf, "READY=1\nSTATUS=3 mappings");
	assert_null(getenv("NOTIFY_SOCKET"));
}

static void the_watchdog_is_fed_twice_as_often_as_asked_and_only_by_whom_it_watches(void **state)
{
	char pid[32];

	(void)state;
	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	notify_setup();
	assert_int_equal(notify_watchdog_ms(), 0);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	notify_setup();
	assert_int_equal(notify_watchdog_ms(), 15000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_manager_is_told_at_a_path_and_at_an_abstract_address),
		T(the_watchdog_is_fed_twice_as_often_as_asked_and_only_by_whom_it_watches),
	};

	return RUN(tests);
}
