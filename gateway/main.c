/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stunway-gateway: reads its options, opens line, LANs and firewall, serves until told to stop. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/config.h"
#include "gateway/gateway.h"
#include "gateway/natpmp_server.h"
#include "sys/holder.h"
#include "sys/log.h"

/* Exit codes, as every program of stunway has them. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_FIREWALL = 4 };

#define FAREWELL_MS   500 /* handles have this long to close; a DNS lookup may not */
#define FILES_BESIDES 64  /* open beside the mappings' own */

struct program {
	uv_loop_t loop;
	struct config config;
	struct netif wan, lans[CONFIG_LANS_MAX];
	size_t lan_count;
	struct firewall *firewall;
	struct natpmp_server *server;
	struct gateway *gateway;
	uv_signal_t signals[3];
};

/* A TCP hole takes up to three sockets: the usual soft limit of 1024 would be used up by 300 of them. */
static void raise_file_limit(const struct config *c)
{
	const rlim_t want = FILES_BESIDES + 3 * (rlim_t)c->max_mappings;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < want)
		log_warn("only %llu files may be open, --max-mappings=%u may want %llu: raise the limit (ulimit -Hn, LimitNOFILE=)",
			(unsigned long long)limit.rlim_cur, c->max_mappings, (unsigned long long)want);
}

static int find_wan(struct program *p)
{
	char name[IF_NAMESIZE], all[512];
	int err = 0;

	if (p->config.wan)
		snprintf(name, sizeof(name), "%s", p->config.wan);
	else
		err = netif_default(name);
	if (err < 0) {
		log_error("no default route: which interface is the line? Name it with --wan");
		return err;
	}
	err = netif_find(&p->wan, name);
	netif_names(all, sizeof(all));
	if (err == -ENODEV)
		log_error("no interface wan=%s: there are %s; name the line's with --wan", name, all);
	else if (err == -EADDRNOTAVAIL)
		log_error("interface wan=%s has no IPv4 address: start again when the line is up, or name another with --wan", name);
	else if (err < 0)
		log_error("cannot read interface wan=%s error=\"%s\"", name, strerror(-err));
	return err;
}

static int find_lans(struct program *p)
{
	char all[512];

	if (p->config.lan_count == 0)
		p->lan_count = netif_lans(p->lans, CONFIG_LANS_MAX, p->wan.name);
	netif_names(all, sizeof(all));
	for (size_t i = 0; i < p->config.lan_count; i++) {
		const char *name = p->config.lans[i];
		const int err = netif_find(&p->lans[i], name);

		if (err == -ENODEV)
			log_error("no interface lan=%s: there are %s; name the LAN's with --lan", name, all);
		else if (err < 0)
			log_error("interface lan=%s has no IPv4 address: give it one, or name another with --lan", name);
		if (err < 0)
			return err;
		p->lan_count++;
	}
	if (p->lan_count == 0) {
		log_error("no LAN: no interface but wan=%s has a private IPv4 address (there are %s); name the LAN's with --lan",
			p->wan.name, all);
		return -ENODEV;
	}
	return 0;
}

static void log_interfaces(const struct program *p)
{
	struct endpoint ip = endpoint_ipv4(p->wan.ip, 0);
	char text[ENDPOINT_TEXT_MAX];

	log_info("stunway-gateway %s wan=%s address=%s", STUNWAY_VERSION, p->wan.name, endpoint_ip_text(&ip, text));
	for (size_t i = 0; i < p->lan_count; i++) {
		ip = endpoint_ipv4(p->lans[i].ip, 0);
		log_info("serving NAT-PMP lan=%s address=%s", p->lans[i].name, endpoint_ip_text(&ip, text));
	}
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

static int open_firewall(struct program *p)
{
	const struct config *c = &p->config;
	struct firewall_config f = { .wan = p->wan.name, .mark = c->mark, .mark_mask = c->mark_mask,
		.accept_chain_count = c->accept_chain_count };
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

static int open_server(struct program *p)
{
	const char *lan = "";
	const struct endpoint port = endpoint_ipv4(0, NATPMP_PORT);
	char holder[HOLDER_MAX];
	const int err = natpmp_server_open(&p->server, &p->loop, p->lans, p->lan_count, &lan);

	if (err == -EADDRINUSE) {
		log_error("UDP port %u on lan=%s is held by %s: stop it, or leave out this interface with --lan", NATPMP_PORT, lan,
			holder_name(holder, SOCK_DGRAM, &port));
	} else if (err < 0) {
		log_error("cannot open UDP port %u on lan=%s error=\"%s\"", NATPMP_PORT, lan, strerror(-err));
	}
	return err;
}

static void log_counters(const struct program *p)
{
	const struct natpmp_counters *c = natpmp_server_counters(p->server);

	log_info("NAT-PMP answered=%llu dropped: malformed=%llu foreign=%llu crowded=%llu refused: version=%llu opcode=%llu",
		(unsigned long long)c->answered, (unsigned long long)c->malformed, (unsigned long long)c->foreign, (unsigned long long)c->crowded,
		(unsigned long long)c->unsupported_version, (unsigned long long)c->unsupported_opcode);
}

static void signalled(uv_signal_t *handle, int number)
{
	struct program *p = handle->data;

	if (number == SIGUSR1) {
		gateway_log_mappings(p->gateway);
		log_counters(p);
	} else {
		log_info("stopping signal=%s", number == SIGTERM ? "TERM" : "INT");
		uv_stop(&p->loop);
	}
}

static const int watched[3] = { SIGTERM, SIGINT, SIGUSR1 };

static void watch_signals(struct program *p)
{
	for (size_t i = 0; i < 3; i++) {
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

	if (p->server)
		log_counters(p);
	p->config.firewall->close(p->firewall);
	gateway_close(p->gateway);
	natpmp_server_close(p->server);
	for (size_t i = 0; i < 3; i++)
		if (p->signals[i].data)
			uv_close((uv_handle_t *)&p->signals[i], NULL);
	/* Asked again it is still stopping: libuv gives closed signals back to their default, which kills. */
	for (size_t i = 0; i < 3; i++)
		signal(watched[i], SIG_IGN);
	uv_timer_init(&p->loop, &timer);
	uv_timer_start(&timer, stop_waiting, FAREWELL_MS, 0);
	uv_unref((uv_handle_t *)&timer);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&p->loop, UV_RUN_NOWAIT);
}

static int serve(struct program *p)
{
	int err;

	err = gateway_open(&p->gateway, &p->loop, &p->config, &p->wan, p->firewall, &natpmp_server_callbacks, p->server);
	if (err < 0) {
		log_error("cannot begin error=\"%s\"", strerror(-err));
		return EXIT_FAILED;
	}
	natpmp_server_serve(p->server, p->gateway);
	log_info("ready");
	uv_run(&p->loop, UV_RUN_DEFAULT);
	return EXIT_DONE;
}

static int run(struct program *p)
{
	if (find_wan(p) < 0 || find_lans(p) < 0)
		return EXIT_FAILED;
	log_interfaces(p);
	if (open_server(p) < 0)
		return EXIT_FAILED;
	watch_signals(p); /* before there is a table that a signal's death would leave behind */
	if (open_firewall(p) < 0)
		return EXIT_FIREWALL;
	return serve(p);
}

int main(int argc, char **argv)
{
	static struct program p;
	int operand, status, err;

	switch (options_read(&config_options, &p.config, argc, argv, &operand)) {
	case 0:
		break;
	case 1:
		return EXIT_DONE;
	default:
		free(p.config.values);
		return EXIT_USAGE;
	}
	if (operand < argc) {
		fprintf(stderr, "stunway-gateway: no word '%s' expected; see --help\n", argv[operand]);
		return EXIT_USAGE;
	}
	setenv("UV_THREADPOOL_SIZE", "4", 0); /* lookups get half of them: a name that hangs does not hold up the others */
	log_setup("stunway-gateway", (enum log_target)p.config.log_target, (enum log_level)p.config.log_level);
	raise_file_limit(&p.config);
	err = uv_loop_init(&p.loop);
	if (err < 0) {
		log_error("cannot begin error=\"%s\"", uv_strerror(err));
		return EXIT_FAILED;
	}
	status = run(&p);
	farewell(&p);
	free(p.config.values);
	/* A lookup that still runs cannot be broken off, and exit(3) would wait for its thread. */
	if (uv_loop_close(&p.loop) < 0)
		_exit(status);
	return status;
}
