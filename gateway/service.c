/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/service.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/cleanup.h"
#include "sys/confine.h"
#include "sys/log.h"
#include "sys/notify.h"
#include "sys/tap.h"

int service_begin(struct service *s, const struct config *c, int argc, char **argv)
{
	int err;

	signal(SIGHUP, SIG_IGN); /* a manager's reload may come before the loop listens */
	notify_setup();
	s->files[0] = options_file(&config_options, argc, argv);
	s->files[1] = c->http_password_file;
	s->helper_config = (struct helper_config){ .files = s->files, .commands = firewall_commands, .lock = "/run/xtables.lock", .hook = c->hook, .user = geteuid() == 0 ? c->user : NULL,
		.uid = c->uid, .gid = c->gid };
	err = helper_start(&s->helper, &s->helper_config);
	if (err < 0)
		log_error("cannot begin the helper error=\"%s\"", strerror(-err));
	return err;
}

int service_password(const struct config *c, struct helper *helper, char out[LOGIN_PASSWORD_MAX])
{
	const char *path = c->http_password_file;
	CLEANUP(close_fd) int fd = -1;
	struct stat st;
	int err;

	out[0] = '\0';
	if (!path)
		return 0;
	fd = helper ? helper_open(helper, 1) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	err = fd >= 0 ? login_read(out, fd) : helper ? fd : -errno;
	if (err == -EINVAL)
		log_error("http-password-file=%s: its first line must be the password, 1 to %d bytes without control characters", path,
			LOGIN_PASSWORD_MAX - 1);
	else if (err < 0)
		log_error("cannot read http-password-file=%s error=\"%s\"", path, strerror(-err));
	else if (fstat(fd, &st) == 0 && st.st_mode & S_IROTH)
		log_warn("http-password-file=%s can be read by everybody on this host: chmod 600 it", path);
	return err;
}

/* The state file is written anew and renamed, so its directory is the user's. Failures are the keeper's to tell. */
static void give_state(const struct config *c)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s", c->state) < (int)sizeof(path))
		confine_directory(dirname(path), c->uid, c->gid);
}

int service_confine(const struct config *c)
{
	const uint64_t keep = CONFINE_CAP(CAP_NET_ADMIN);
	const bool root = geteuid() == 0;
	int err = tap_reserve();

	if (err < 0)
		log_warn("no packet tap on the line error=\"%s\": if the router drops on input, the filtering verdict is too strict; "
			 "it wants root or CAP_NET_RAW at the start", strerror(-err));
	if (root && c->state)
		give_state(c);
	err = root ? confine_user(c->user, c->uid, c->gid, keep) : 0;
	if (err == 0)
		err = confine_privileges(keep);
	if (err < 0) {
		log_error("cannot become user=%s with CAP_NET_ADMIN alone error=\"%s\"", c->user, strerror(-err));
		return err;
	}
	err = confine_calls(CONFINE_GATEWAY);
	log_info("confined: user=%s, %s, no new privileges, system calls %s", root ? c->user : "as started",
		confine_capabilities() ? "CAP_NET_ADMIN alone" : "no capability", err == 0 ? "filtered" : "not filtered");
	if (err < 0 && err != -ENOTSUP)
		log_warn("system calls are not filtered error=\"%s\"", strerror(-err));
	return 0;
}

static void feed(uv_timer_t *timer)
{
	(void)timer;
	notify("WATCHDOG=1");
}

void service_ready(struct service *s, uv_loop_t *loop)
{
	const uint64_t every_ms = notify_watchdog_ms();

	notify("READY=1\nMAINPID=%d\nSTATUS=serving", getpid());
	if (every_ms == 0)
		return;
	uv_timer_init(loop, &s->watchdog);
	uv_timer_start(&s->watchdog, feed, 0, every_ms);
	s->watched = true;
}

void service_end(struct service *s)
{
	notify("STOPPING=1");
	if (s->watched)
		uv_close((uv_handle_t *)&s->watchdog, NULL);
	s->watched = false;
}
