/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stunway-gateway: reads its options, opens line, LANs and firewall, serves until told to stop. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/face/api.h"
#include "gateway/config.h"
#include "gateway/follow.h"
#include "gateway/core/gateway.h"
#include "gateway/face/http.h"
#include "gateway/natpmp_server.h"
#include "gateway/preview.h"
#include "gateway/service.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/notify.h"

/* Exit codes, as every program of stunway has them. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_FIREWALL = 4 };

#define FAREWELL_MS   500 /* handles have this long to close; a DNS lookup may not */
#define FILES_BESIDES (64 + HTTP_CONNECTIONS_MAX) /* open beside the mappings' own */

static const int watched[] = { SIGTERM, SIGINT, SIGUSR1, SIGHUP };
#define SIGNALS (sizeof(watched) / sizeof(watched[0]))

struct program {
	uv_loop_t loop;
	struct config config;
	struct follow *follow;
	struct firewall *firewall;
	struct natpmp_server *server;
	struct http *http; /* NULL: --http none */
	struct api *api;
	struct gateway *gateway;
	struct hooks *hooks;
	struct service service;
	uv_signal_t signals[SIGNALS];
	int argc;
	char **argv; /* read again at SIGHUP */
};

/* A TCP hole takes up to three sockets: the usual soft limit of 1024 would be used up by 300 of them. */
static rlim_t files_wanted(const struct config *c)
{
	return FILES_BESIDES + 3 * (rlim_t)(c->max_mappings + PERMANENTS_MAX + c->pool);
}

static void raise_file_limit(const struct config *c)
{
	const rlim_t want = files_wanted(c);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < want)
		log_warn("only %llu files may be open, --max-mappings=%u may want %llu: raise the limit (ulimit -Hn, LimitNOFILE=)",
			(unsigned long long)limit.rlim_cur, c->max_mappings, (unsigned long long)want);
}

/*
 * The kernel makes room for descriptors as they come, each time twice as many, and where a process has threads it waits for
 * its readers then, for up to 80 ms on a busy machine. Before there are threads it does not. 8 bytes each.
 */
static void make_room_for_files(const struct config *c)
{
	const rlim_t want = files_wanted(c);
	struct rlimit limit;
	int fd;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)(limit.rlim_cur < want ? limit.rlim_cur : want) - 1);
	if (fd >= 0)
		close(fd);
}

/* The firewall asked for, or what the system has: the first that can do what was asked. */
static int open_backend(struct program *p, const struct firewall_config *f, char *why, size_t why_max)
{
	struct config *c = &p->config;
	const int err = c->firewall->open(&p->firewall, f, why, why_max);
	char ignored[512];

	if (err == 0 || err == -EPERM || !c->firewall_otherwise)
		return err;
	if (c->firewall_otherwise->open(&p->firewall, f, ignored, sizeof(ignored)) < 0)
		return err;
	log_info("firewall=%s, since %s does not do error=\"%s\"", c->firewall_otherwise->name, c->firewall->name, why);
	c->firewall = c->firewall_otherwise;
	return 0;
}

static int run_command(void *owner, size_t command, const char *input, char *output, size_t max)
{
	return helper_run(owner, command, input, output, max);
}

static int open_firewall(struct program *p)
{
	const struct config *c = &p->config;
	struct firewall_config f = { .wan = follow_wan(p->follow)->name, .mark = c->mark, .mark_mask = c->mark_mask,
		.accept_chain_count = c->accept_chain_count, .run = run_command, .run_owner = p->service.helper };
	char why[512] = "", obstacles[512];
	int err;

	memcpy(f.accept_chains, c->accept_chains, sizeof(f.accept_chains));
	err = open_backend(p, &f, why, sizeof(why));
	if (err == -EPERM) {
		log_error("%s: no right to change the firewall: run as root or with CAP_NET_ADMIN", c->firewall->name);
		return err;
	}
	if (err < 0) {
		log_error("%s: cannot build the firewall error=\"%s\": is --accept-chain right, has the kernel what it needs?",
			c->firewall->name, why[0] ? why : strerror(-err));
		return err;
	}
	c->firewall->obstacles(p->firewall, FIREWALL_FORWARD, obstacles, sizeof(obstacles));
	if (obstacles[0])
		log_warn("chain %s drops by default: strangers will not pass it; let our flows pass with --accept-chain", obstacles);
	c->firewall->obstacles(p->firewall, FIREWALL_INPUT, obstacles, sizeof(obstacles));
	if (obstacles[0])
		log_info("chain %s drops by default: mappings for services on the router itself want --accept-chain for it, others do not",
			obstacles);
	return 0;
}

static void log_counters(const struct program *p)
{
	const struct natpmp_counters *c = natpmp_server_counters(p->server);

	log_info("NAT-PMP answered=%llu dropped: malformed=%llu foreign=%llu crowded=%llu refused: version=%llu opcode=%llu",
		(unsigned long long)c->answered, (unsigned long long)c->malformed, (unsigned long long)c->foreign, (unsigned long long)c->crowded,
		(unsigned long long)c->unsupported_version, (unsigned long long)c->unsupported_opcode);
}

/* Nobody is told of mappings where the configuration has no hook. */
static int begin_hooks(struct program *p)
{
	if (!p->config.hook)
		return 0;
	if (p->hooks) {
		hooks_limit(p->hooks, p->config.hook_timeout_s * 1000);
		return 0;
	}
	return hooks_open(&p->hooks, &p->loop, p->service.helper, p->config.hook_timeout_s * 1000);
}

/* The helper reads itself which it is. A hook that comes hears of the mappings there are, another one goes on where the last one was. */
static void reload_hook(struct program *p)
{
	const int err = helper_hook_again(p->service.helper);

	if (err < 0)
		log_error("hook=%s is not run yet error=\"%s\": send SIGHUP again", p->config.hook ? p->config.hook : "none", strerror(-err));
	if (begin_hooks(p) < 0)
		log_error("no memory for the hook");
	gateway_hooks(p->gateway, p->config.hook ? p->hooks : NULL);
	if (p->config.hook)
		return;
	hooks_close(p->hooks);
	p->hooks = NULL;
}

static void reload_password(struct program *p)
{
	char password[LOGIN_PASSWORD_MAX];

	if (p->config.http_password_file && service_password(&p->config, p->service.helper, password) == 0)
		http_password(p->http, password);
}

/* What can be changed while mappings stay; what cannot is named. */
static void reload(struct program *p)
{
	struct config again = { .values = NULL };
	char changed[CONFIG_CHANGES_MAX], fixed[CONFIG_CHANGES_MAX];
	const struct netif *lans;
	const size_t lan_count = follow_lans(p->follow, &lans);

	notify_reloading();
	if (config_read_again(&again, p->argc, p->argv, p->service.helper) < 0) {
		log_error("configuration not read again, all stays as it is: see stderr");
	} else {
		config_apply(&p->config, &again, changed, fixed);
		log_up_to_level((enum log_level)p->config.log_level);
		gateway_reload(p->gateway, strstr(changed, "--stun") != NULL, lans, lan_count);
		if (strstr(changed, "--hook"))
			reload_hook(p);
		log_info("configuration read again changed=\"%s\"", changed);
		if (fixed[0])
			log_warn("changed, but only a restart brings it about: %s", fixed);
	}
	reload_password(p);
	config_free(&again);
	notify("READY=1");
}

static void signalled(uv_signal_t *handle, int number)
{
	struct program *p = handle->data;

	if (number == SIGUSR1) {
		gateway_log_mappings(p->gateway);
		log_counters(p);
	} else if (number == SIGHUP) {
		if (p->gateway)
			reload(p);
	} else {
		log_info("stopping signal=%s", number == SIGTERM ? "TERM" : "INT");
		uv_stop(&p->loop);
	}
}

static void watch_signals(struct program *p)
{
	for (size_t i = 0; i < SIGNALS; i++) {
		uv_signal_init(&p->loop, &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], signalled, watched[i]);
	}
	signal(SIGPIPE, SIG_IGN);
}

static void stop_waiting(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* The firewall first: then no flow can begin that the scrubbing of conntrack would miss. */
static void farewell(struct program *p)
{
	uv_timer_t timer;

	service_end(&p->service);
	if (p->server)
		log_counters(p);
	follow_close(p->follow);
	http_close(p->http);
	gateway_release_firewall(p->gateway);
	p->config.firewall->close(p->firewall);
	gateway_close(p->gateway);
	api_close(p->api);
	hooks_close(p->hooks);
	natpmp_server_close(p->server);
	for (size_t i = 0; i < SIGNALS; i++)
		if (p->signals[i].data)
			uv_close((uv_handle_t *)&p->signals[i], NULL);
	/* Asked again it is still stopping: libuv gives closed signals back to their default, which kills. */
	for (size_t i = 0; i < SIGNALS; i++)
		signal(watched[i], SIG_IGN);
	uv_timer_init(&p->loop, &timer);
	uv_timer_start(&timer, stop_waiting, FAREWELL_MS, 0);
	uv_unref((uv_handle_t *)&timer);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&p->loop, UV_RUN_NOWAIT);
}

static int open_api(struct program *p)
{
	const struct view view = { .gateway = p->gateway, .config = &p->config, .follow = p->follow, .natpmp = p->server,
		.traffic = gateway_traffic(p->gateway), .started_ms = clock_ms() };

	return api_open(&p->api, &p->loop, p->http, &view);
}

static int serve(struct program *p)
{
	const struct netif *lans;
	const size_t lan_count = follow_lans(p->follow, &lans);
	int err;

	if (begin_hooks(p) < 0)
		return EXIT_FAILED;
	err = gateway_open(&p->gateway, &p->loop, &p->config, follow_wan(p->follow), lans, lan_count, p->firewall);
	if (err < 0) {
		log_error("cannot begin error=\"%s\"", strerror(-err));
		return EXIT_FAILED;
	}
	gateway_hooks(p->gateway, p->hooks);
	natpmp_server_serve(p->server, p->gateway);
	follow_begin(p->follow, p->gateway);
	if (p->http && open_api(p) < 0)
		return EXIT_FAILED;
	log_info("ready");
	service_ready(&p->service, &p->loop);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	return EXIT_DONE;
}

static int open_http(struct program *p)
{
	char password[LOGIN_PASSWORD_MAX];

	if (service_password(&p->config, NULL, password) < 0)
		return EXIT_USAGE;
	if (!p->config.http_none && http_open(&p->http, &p->loop, &p->config, p->config.http_password_file ? password : NULL) < 0)
		return EXIT_FAILED;
	return EXIT_DONE;
}

static int run(struct program *p)
{
	int status;

	log_info("stunway-gateway %s", STUNWAY_VERSION);
	if (follow_open(&p->follow, &p->loop, &p->config) < 0)
		return EXIT_FAILED;
	status = open_http(p);
	if (status != EXIT_DONE)
		return status;
	if (natpmp_server_open(&p->server, &p->loop) < 0 || follow_serve(p->follow, p->server, p->http) < 0)
		return EXIT_FAILED;
	watch_signals(p); /* before there is a table that a signal's death would leave behind */
	if (open_firewall(p) < 0)
		return EXIT_FIREWALL;
	if (service_confine(&p->config) < 0)
		return EXIT_FIREWALL;
	return serve(p);
}

/* --check */
static int look(const struct config *c)
{
	static const int codes[] = { [PREVIEW_FINE] = EXIT_DONE, [PREVIEW_WRONG] = EXIT_USAGE, [PREVIEW_RIGHTS] = EXIT_FIREWALL };

	return codes[preview(c)];
}

int main(int argc, char **argv)
{
	static struct program p;
	int status, err;

	p.argc = argc;
	p.argv = argv;
	err = config_read(&p.config, argc, argv);
	if (err != 0 || p.config.check) {
		status = err == 0 ? look(&p.config) : err < 0 ? EXIT_USAGE : EXIT_DONE;
		config_free(&p.config);
		return status;
	}
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1); /* else each thread keeps what libnftables' parser left there, a megabyte or more */
#endif
	setenv("UV_THREADPOOL_SIZE", "4", 0); /* lookups get half of them: a name that hangs does not hold up the others */
	log_setup("stunway-gateway", (enum log_target)p.config.log_target, (enum log_level)p.config.log_level);
	raise_file_limit(&p.config);
	make_room_for_files(&p.config);
	if (service_begin(&p.service, &p.config, argc, argv) < 0)
		return EXIT_FAILED;
	err = uv_loop_init(&p.loop);
	if (err < 0) {
		log_error("cannot begin error=\"%s\"", uv_strerror(err));
		return EXIT_FAILED;
	}
	status = run(&p);
	farewell(&p);
	helper_stop(p.service.helper);
	config_free(&p.config);
	/* A lookup that still runs cannot be broken off, and exit(3) would wait for its thread. */
	if (uv_loop_close(&p.loop) < 0)
		_exit(status);
	return status;
}
