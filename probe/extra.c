/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe/extra.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe/tcp.h"
#include "sys/clock.h"
#include "sys/entropy.h"
#include "sys/runner.h"
#include "sys/sockaddr.h"

_Static_assert(RUNNER_SLOTS >= LIFETIME_SLOTS && RUNNER_SLOTS >= HAIRPIN_SLOTS, "every slot gets a socket");
_Static_assert(REPORT_WHY_MAX >= RUNNER_WHY_MAX, "a reason is told whole");

static volatile sig_atomic_t interrupted; /* a signal handler has no other place to say it */

static void on_interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* The second Ctrl-C ends the program as ever. */
static void watch_interrupt(void)
{
	const struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
}

struct progress {
	const struct lifetime *machine;
	void (*event)(void *user, const char *text);
	uint64_t next_ms;
	bool shown; /* on a terminal, in one line that is written over and over */
};

static void progress_show(struct progress *p)
{
	struct lifetime_progress now;
	const uint64_t now_ms = clock_ms();

	if (!p->shown || now_ms < p->next_ms)
		return;
	p->next_ms = now_ms + 1000;
	lifetime_progress(p->machine, now_ms, &now);
	fprintf(stderr, "\r\033[Klifetime: at least %u s", now.alive_s);
	if (now.dead_s)
		fprintf(stderr, ", at most %u s", now.dead_s);
	if (now.next_s)
		fprintf(stderr, "; %u s are tested %s %u s", now.next_s, now.wait_ms ? "in" : "now, after", now.wait_ms ? (now.wait_ms + 999) / 1000 : now.next_s);
	fflush(stderr);
}

static bool progress_go_on(void *user)
{
	progress_show(user);
	return !interrupted;
}

static void progress_event(void *user, const char *text)
{
	struct progress *p = user;

	if (p->event)
		p->event(NULL, text);
}

static void ask_lifetime(struct report *r, const struct config *config, const struct endpoint *server,
	const struct endpoint *local, void (*event)(void *user, const char *text))
{
	const struct lifetime_config machine_config = { .server = *server, .max_s = config->lifetime_max_s, .random = random_bytes };
	struct lifetime *machine = lifetime_new(&machine_config, clock_ms());
	struct progress progress = { .machine = machine, .event = event, .shown = isatty(STDERR_FILENO) && !event };
	const struct runner runner = { .inquiry = &lifetime_inquiry, .machine = machine, .server = *server, .local = *local,
		.event = progress_event, .go_on = progress_go_on, .user = &progress };
	int err;

	if (!machine) {
		strcpy(r->lifetime.why, "no memory");
		return;
	}
	watch_interrupt();
	progress_event(&progress, "--lifetime begins");
	err = runner_run(&runner, r->lifetime.why);
	if (progress.shown)
		fprintf(stderr, "\r\033[K");
	r->lifetime_stopped = err == -EINTR;
	if (err == 0 || err == -EINTR)
		r->lifetime.why[0] = '\0';
	lifetime_progress(machine, clock_ms(), &r->lifetime_progress);
	lifetime_free(machine);
}

static void ask_hairpin(struct report *r, const struct endpoint *server, const struct endpoint *local,
	void (*event)(void *user, const char *text))
{
	const struct hairpin_config config = { .server = *server, .random = random_bytes };
	struct hairpin *machine = hairpin_new(&config, clock_ms());
	const struct runner runner = { .inquiry = &hairpin_inquiry, .machine = machine, .server = *server, .local = *local,
		.event = event };

	if (!machine) {
		strcpy(r->hairpin.why, "no memory");
		return;
	}
	if (runner_run(&runner, r->hairpin.why) == 0)
		r->hairpin.why[0] = '\0';
	hairpin_result(machine, &r->hairpin_result);
	hairpin_free(machine);
}

static void cannot(struct report_extra *extra, bool wanted, const char *why)
{
	extra->asked = wanted;
	if (wanted)
		snprintf(extra->why, sizeof(extra->why), "%s", why);
}

void extra_ask(struct report *r, const struct config *config, void (*event)(void *user, const char *text))
{
	const struct endpoint server = net_endpoint(&r->info.server);
	const bool answered = net_endpoint(&r->info.external).family != ENDPOINT_NONE;
	struct endpoint local = config->bind;
	char why[RUNNER_WHY_MAX];

	cannot(&r->tcp, config->tcp, "the server is not known");
	cannot(&r->hairpin, config->hairpin, "the server does not answer over UDP");
	cannot(&r->lifetime, config->lifetime, "the server does not answer over UDP");
	if (server.family == ENDPOINT_NONE || !(config->tcp || config->hairpin || config->lifetime))
		return;
	if (runner_route(&local, &server, why) < 0) {
		cannot(&r->tcp, config->tcp, why);
		return;
	}
	if (config->tcp)
		tcp_ask(r, &server, &local, config->timeout_ms, event);
	local.port = 0; /* the one asked for may have a mapping, which would be no new one */
	if (config->hairpin && answered)
		ask_hairpin(r, &server, &local, event);
	if (config->lifetime && answered)
		ask_lifetime(r, config, &server, &local, event);
}
