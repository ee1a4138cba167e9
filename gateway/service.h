/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * service - what the gateway does to be a good service: few rights, a helper with the rest, a word to its manager.
 *
 *	service_begin	first of all: nothing is open, no thread runs
 *	service_confine	once the firewall's table and the LAN's sockets stand, before there are threads
 *	service_ready	the loop runs
 *	service_end	the loop has ended
 */
#ifndef GATEWAY_SERVICE_H
#define GATEWAY_SERVICE_H

#include <uv.h>

#include "gateway/config.h"
#include "gateway/face/login.h"

struct service {
	struct helper *helper; /* reads the configuration again, runs the firewall's programs and the hook */
	uv_timer_t watchdog;
	bool watched;

	/* private: what the helper borrows for good */
	struct helper_config helper_config;
	const char *files[3]; /* the configuration, the password, NULL */
	int argc;
	char **argv;
};

/*
 * The web interface's password as its file has it now, "" when none is asked for; helper NULL: read by ourselves, before
 * service_confine. Negative errno, said in the log.
 */
int service_password(const struct config *c, struct helper *helper, char out[LOGIN_PASSWORD_MAX]);
/* Negative errno, said in the log. */
int service_begin(struct service *s, const struct config *c, int argc, char **argv);
/*
 * Becomes --user when we are root, keeps CAP_NET_ADMIN alone, and filters system calls.
 * Negative errno, said in the log; where system calls cannot be filtered that is only said.
 */
int service_confine(const struct config *c);
void service_ready(struct service *s, uv_loop_t *loop);
void service_end(struct service *s); /* what has not begun is fine */

#endif
