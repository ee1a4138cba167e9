/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stunway-probe: says what the NAT before this machine does.
 *
 *	command line -> config -> stunway_nat_info() -> extra: tcp, hairpin, lifetime -> report
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe/config.h"
#include "probe/extra.h"
#include "probe/report.h"
#include "sys/log.h"
#include "sys/sockaddr.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static void say(void *user, const char *text)
{
	(void)user;
	log_info("%s", text);
}

static int ask(struct report *r, const struct config *c)
{
	struct sockaddr_storage local;
	struct stunway_nat_options options = { .server = c->host, .port = c->port, .ip_version = c->ipv4 ? 4 : c->ipv6 ? 6 : 0,
		.timeout_ms = c->timeout_ms, .port_mode = c->port_mode, .event = c->verbose ? say : NULL };
	int err;

	if (c->bind.family != ENDPOINT_NONE) {
		net_sockaddr(&local, &c->bind);
		options.local = (const struct sockaddr *)&local;
	}
	err = stunway_nat_info(&r->info, &options);
	if (err == 0)
		extra_ask(r, c, options.event);
	return err;
}

static void print(const struct report *r, const struct config *c)
{
	char text[REPORT_JSON_MAX];

	if (c->json)
		puts(report_json(text, r));
	else
		report_table(stdout, r, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
}

int main(int argc, char **argv)
{
	char asked[CONFIG_HOST_MAX + 16];
	struct report report = { .asked = asked };
	struct config config;
	int err = config_read(&config, argc, argv);

	if (err != 0)
		return err < 0 ? EXIT_USAGE : EXIT_DONE;
	signal(SIGPIPE, SIG_IGN); /* a reader that is gone is an error to be said */
	log_setup("stunway-probe", LOG_TARGET_STDERR, LOG_LEVEL_INFO);
	snprintf(asked, sizeof(asked), strchr(config.host, ':') ? "[%s]:%u" : "%s:%u", config.host, config.port);
	err = ask(&report, &config);
	if (err < 0) {
		fprintf(stderr, "stunway-probe: %s\n", strerror(-err));
		return EXIT_FAILED;
	}
	print(&report, &config);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "stunway-probe: cannot write the result: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return report_exit_code(&report);
}
