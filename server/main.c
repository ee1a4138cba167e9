/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stunway-server: STUN for those who want to know what their NAT does.
 *
 *	                             +-> xdp, at the interface: the same answers, ready-made
 *	                             +-> workers: udp <-> template, answer_to
 *	command line -> config -> places
 *	                             |            udp <-> peer, the other node
 *	                             +-> this thread: tcp <-> answer_to, signals, the peer's heartbeats
 *
 * A worker is a thread with sockets of its own; nothing is shared while it serves. All
 * sockets are bound before any is announced; user, capabilities and system calls are
 * given up in between.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/bind.h"
#include "server/config.h"
#include "server/counts.h"
#include "server/loop.h"
#include "server/peer.h"
#include "server/metrics.h"
#include "server/tcp.h"
#include "server/worker.h"
#include "server/xdp/xdp.h"
#include "sys/clock.h"
#include "sys/confine.h"
#include "sys/log.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_PERMISSION = 4 };

struct server {
	struct watch signals; /* first: on_signal finds its owner by it */
	struct config config;
	struct counts counts; /* this thread's */
	struct loop loop;
	struct place places[PLACES];
	size_t place_count;
	struct worker *workers[WORKERS_MAX];
	size_t worker_count;
	struct xdp *xdp[CONFIG_XDP_MAX];
	size_t xdp_count;
	struct tcp *tcp;	 /* NULL with --no-tcp */
	struct metrics *metrics; /* NULL without --metrics */
	int argc;
	char **argv; /* read again at SIGHUP */
	bool stop;
};

/* Of all threads. */
static void sum_counts(void *server, struct counts_sum *sum)
{
	const struct server *s = server;

	counts_sum(sum, &s->counts);
	for (size_t i = 0; i < s->worker_count; i++)
		worker_counts(s->workers[i], sum);
	for (size_t i = 0; i < s->xdp_count; i++)
		xdp_counts(s->xdp[i], sum);
}

/* The sum of all threads', and how the workers share the load. */
static void log_counts(struct server *s)
{
	struct counts_sum sum = { 0 };
	char text[COUNTS_TEXT_MAX];

	sum_counts(s, &sum);
	log_info("counts %s", counts_text(&sum, text));
	for (size_t i = 0; s->worker_count > 1 && i < s->worker_count; i++) {
		struct counts_sum one = { 0 };

		worker_counts(s->workers[i], &one);
		log_info("worker number=%zu %s", i, counts_text(&one, text));
	}
}

/* What can be changed while serving is; what cannot is said. */
static void apply(struct server *s, const struct config *c)
{
	char fixed[CONFIG_CHANGES_MAX];
	const uint32_t max = c->tcp_max < s->config.tcp_max ? c->tcp_max : s->config.tcp_max;

	log_up_to_level((enum log_level)c->log_level);
	for (size_t i = 0; s->config.rate > 0 && c->rate > 0 && i < s->worker_count; i++)
		worker_rate(s->workers[i], c->rate);
	for (size_t i = 0; s->config.rate > 0 && c->rate > 0 && i < s->xdp_count; i++)
		xdp_rate(s->xdp[i], c->rate);
	if (s->tcp)
		tcp_limits(s->tcp, max, c->tcp_max_per_address, c->tcp_idle_s * 1000);
	log_info("configuration read again log-level=%d rate=%u tcp-max=%u tcp-max-per-address=%u tcp-idle=%u", c->log_level,
		s->config.rate > 0 && c->rate > 0 ? c->rate : s->config.rate, max, c->tcp_max_per_address, c->tcp_idle_s);
	if (config_fixed(&s->config, c, fixed)[0])
		log_warn("changed, but only a restart brings it about: %s", fixed);
}

static void reload(struct server *s)
{
	struct config c;

	if (config_read_again(&c, s->argc, s->argv) == 0)
		apply(s, &c);
	else
		log_error("configuration not read again, all stays as it is: see stderr");
	config_free(&c);
}

static void on_signal(struct watch *w, uint32_t events)
{
	struct server *s = (struct server *)w;
	struct signalfd_siginfo info;

	(void)events;
	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		log_counts(s);
	else if (info.ssi_signo == SIGHUP)
		reload(s);
	else
		s->stop = true;
}

static int signals_watch(struct server *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = (struct watch){ .ready = on_signal, .fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC) };
	return s->signals.fd < 0 ? -errno : loop_add(&s->loop, &s->signals, EPOLLIN);
}

/* Every connection is a descriptor; a worker has its sockets, loop and eventfd; and there are a few more. */
static void descriptors_allow(const struct config *c)
{
	const rlim_t want = (c->no_tcp ? 0 : c->tcp_max) + (rlim_t)c->workers * (PLACES * SITE_ADDRESSES * SITE_PORTS + 2) + 64;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	if (limit.rlim_max < want) /* allowed to root only */
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ want, want });
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < want)
		log_warn("fewer descriptors than --tcp-max and --workers need: allowed=%llu needed=%llu",
			(unsigned long long)limit.rlim_cur, (unsigned long long)want);
}

/* Calls do_it for each socket of a place. The first error, after all were tried. */
static int each_socket(struct server *s, const struct place *p,
	int (*do_it)(struct server *s, const struct place *p, unsigned address, unsigned port))
{
	int err = 0;

	for (unsigned i = 0; i < SITE_ADDRESSES * SITE_PORTS; i++) {
		const unsigned address = i / SITE_PORTS, port = i % SITE_PORTS;
		const int e = p->local[address][port].family == ENDPOINT_NONE ? 0 : do_it(s, p, address, port);

		err = err < 0 ? err : e;
	}
	return err;
}

static int listen_one(struct server *s, const struct place *p, unsigned address, unsigned port)
{
	return tcp_listen(s->tcp, p, address, port);
}

/* A kernel without IPv6 is no reason to refuse the service nobody asked to be on IPv6. */
static bool unavailable(const struct place *p)
{
	int fd;

	if (!p->any || p->local[0][0].family != ENDPOINT_IPV6)
		return false;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true;
	close(fd);
	return false;
}

static int tcp_open(struct server *s)
{
	const struct tcp_settings set = { .loop = &s->loop, .counts = &s->counts, .max = s->config.tcp_max,
		.max_per_source = s->config.tcp_max_per_address, .idle_ms = s->config.tcp_idle_s * 1000 };
	int err = s->config.no_tcp ? 0 : tcp_new(&s->tcp, &set);

	for (size_t i = 0; s->tcp && i < s->place_count; i++) {
		const int e = each_socket(s, &s->places[i], listen_one);

		err = err < 0 ? err : e;
	}
	return err;
}

/* Before the workers, who answer as the peer is there or not. */
static int peers_open(struct server *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->place_count; i++)
		if (s->places[i].peered)
			err = peer_new(&s->places[i].peer, &s->places[i], s->config.keys, s->config.key_count);
	if (err < 0)
		log_error("cannot talk to a peer: %s", strerror(-err));
	explicit_bzero(s->config.keys, sizeof(s->config.keys)); /* the seals have them */
	return err;
}

static int peers_start(struct server *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->place_count; i++)
		if (s->places[i].peer)
			err = peer_start(s->places[i].peer, worker_fd(s->workers[0], i));
	return err;
}

/* The first worker finds the ports that are taken; the others would only say it again. */
static int workers_open(struct server *s)
{
	int err = 0;

	while (err == 0 && s->worker_count < s->config.workers) {
		const struct worker_settings set = { .places = s->places, .place_count = s->place_count,
			.number = (uint32_t)s->worker_count, .count = s->config.workers, .rate = s->config.rate };

		err = worker_new(&s->workers[s->worker_count], &set);
		s->worker_count += err == 0;
	}
	return err;
}

static void metrics_read(void *arg, struct metrics_facts *out)
{
	const struct server *s = arg;

	sum_counts(arg, &out->counts);
	out->workers = s->config.workers;
	for (size_t i = 0; i < s->place_count; i++) {
		const struct place *p = &s->places[i];

		if (p->peer)
			out->peers[p->local[0][0].family == ENDPOINT_IPV6] = peer_alive(p->peer) ? METRICS_PEER_ALIVE : METRICS_PEER_SILENT;
	}
}

static int metrics_open(struct server *s)
{
	const struct metrics_source source = { .read = metrics_read, .arg = s };

	return s->config.metrics.family == ENDPOINT_NONE ? 0 : metrics_new(&s->metrics, &s->loop, &s->config.metrics, &source);
}

static int sockets_open(struct server *s)
{
	int udp, tcp, metrics;

	s->place_count = config_places(&s->config, s->places);
	if (unavailable(&s->places[s->place_count - 1]))
		s->place_count--;
	udp = peers_open(s);
	if (udp == 0)
		udp = workers_open(s);
	if (udp == 0)
		udp = peers_start(s);
	tcp = tcp_open(s); /* also when UDP's failed: every port that is taken is named */
	metrics = metrics_open(s);
	if (udp < 0)
		return udp;
	return tcp < 0 ? tcp : metrics;
}

static int xdp_open(struct server *s)
{
	int err = 0;

	while (err == 0 && s->xdp_count < s->config.xdp_count) {
		err = xdp_new(&s->xdp[s->xdp_count], s->config.xdp[s->xdp_count], s->places, s->place_count, s->config.rate);
		s->xdp_count += err == 0;
	}
	return err;
}

static int workers_start(struct server *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->worker_count; i++)
		err = worker_start(s->workers[i]);
	return err;
}

static int privileges_drop(const struct config *c)
{
	int err = c->drop_user ? confine_user(c->user, c->uid, c->gid, 0) : 0;

	if (err < 0) {
		log_error("cannot become user %s: %s", c->user, strerror(-err));
		return err;
	}
	err = confine_privileges(0);
	if (err < 0)
		log_error("cannot give up capabilities: %s", strerror(-err));
	return err;
}

/* Of what a kernel may not have: served without it, and said. */
static void calls_confine(void)
{
	const int err = confine_calls(CONFINE_SERVER);

	if (err == 0)
		log_info("confined: no capability, no new privileges, system calls filtered");
	else
		log_warn("confined: no capability, no new privileges; system calls not filtered: %s",
			err == -ENOTSUP ? "not to be had here" : strerror(-err));
}

/* "listening udp 203.0.113.1:3478", and what is bound where that is another. */
static void announce(int type, const struct place *p, unsigned address, unsigned port)
{
	const struct endpoint *local = &p->local[address][port];
	const struct endpoint *public = p->any ? local : &p->site.origin[address][port];
	char a[ENDPOINT_TEXT_MAX], b[ENDPOINT_TEXT_MAX];

	if (endpoint_equal(public, local))
		log_info("listening %s %s", bind_type_text(type), endpoint_text(local, a));
	else
		log_info("listening %s %s local=%s", bind_type_text(type), endpoint_text(public, a), endpoint_text(local, b));
}

static int announce_one(struct server *s, const struct place *p, unsigned address, unsigned port)
{
	announce(SOCK_DGRAM, p, address, port);
	if (s->tcp)
		announce(SOCK_STREAM, p, address, port);
	return 0;
}

static int announce_metrics(const struct server *s)
{
	char text[ENDPOINT_TEXT_MAX];

	if (s->metrics)
		log_info("metrics at http://%s/metrics", endpoint_text(&s->config.metrics, text));
	return 0;
}

static int start(struct server *s)
{
	int err;

	descriptors_allow(&s->config);
	err = loop_open(&s->loop);
	if (err == 0)
		err = signals_watch(s);
	if (err == 0)
		err = sockets_open(s);
	if (err == 0)
		err = xdp_open(s);
	if (err == 0)
		err = privileges_drop(&s->config);
	if (err == 0)
		err = workers_start(s);
	if (err == 0)
		calls_confine();
	for (size_t i = 0; err == 0 && i < s->place_count; i++)
		each_socket(s, &s->places[i], announce_one);
	return err == 0 ? announce_metrics(s) : err;
}

/* Of two waits in ms, negative for ever. */
static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Does what is due by time; returns in how many ms something will be again, negative for never. */
static int tick(struct server *s)
{
	const uint64_t now_ms = clock_ms();
	int wait = s->tcp ? tcp_tick(s->tcp, now_ms) : -1;

	if (s->metrics)
		wait = sooner(wait, metrics_tick(s->metrics, now_ms));
	for (size_t i = 0; i < s->place_count; i++)
		if (s->places[i].peer)
			wait = sooner(wait, peer_tick(s->places[i].peer, &s->counts));
	for (size_t i = 0; i < s->xdp_count; i++)
		xdp_follow(s->xdp[i]);
	return wait;
}

static int serve(struct server *s)
{
	int err = 0;

	while (!s->stop && err == 0)
		err = loop_turn(&s->loop, tick(s));
	log_counts(s);
	return err;
}

static void finish(struct server *s)
{
	for (size_t i = 0; i < s->xdp_count; i++)
		xdp_free(s->xdp[i]);
	for (size_t i = 0; i < s->worker_count; i++)
		worker_free(s->workers[i]);
	for (size_t i = 0; i < s->place_count; i++)
		peer_free(s->places[i].peer);
	tcp_free(s->tcp);
	metrics_free(s->metrics);
	if (s->signals.fd >= 0)
		close(s->signals.fd);
	loop_close(&s->loop);
}

static int exit_code(int err)
{
	if (err == 0)
		return EXIT_DONE;
	return err == -EACCES || err == -EPERM ? EXIT_PERMISSION : EXIT_FAILED;
}

static int say_one(struct server *s, const struct place *p, unsigned address, unsigned port)
{
	const struct endpoint *local = &p->local[address][port];
	const struct endpoint *public = p->any ? local : &p->site.origin[address][port];
	char a[ENDPOINT_TEXT_MAX], b[ENDPOINT_TEXT_MAX];

	printf("would bind %s %s", s->config.no_tcp ? "udp" : "udp and tcp", endpoint_text(local, b));
	if (!endpoint_equal(public, local))
		printf(", known to clients as %s", endpoint_text(public, a));
	putchar('\n');
	return 0;
}

/* --check: nothing is bound, so what another program holds is not noticed. */
static void say(struct server *s)
{
	const struct config *c = &s->config;
	char text[ENDPOINT_TEXT_MAX];

	s->place_count = config_places(c, s->places);
	for (size_t i = 0; i < s->place_count; i++)
		each_socket(s, &s->places[i], say_one);
	for (size_t i = 0; i < s->place_count; i++)
		if (s->places[i].peered)
			printf("would be one of two nodes, the other is %s\n", endpoint_text(&s->places[i].site.origin[1][0], text));
	printf("would answer UDP in %u threads, ", c->workers);
	if (c->rate > 0)
		printf("at most %u times a second to one address\n", c->rate);
	else
		printf("as often as asked\n");
	if (!c->no_tcp)
		printf("would hold %u TCP connections, %u of one address, idle for %u s\n", c->tcp_max, c->tcp_max_per_address,
			c->tcp_idle_s);
	for (size_t i = 0; i < c->xdp_count; i++)
		printf("would answer before the network stack what comes in at %s\n", c->xdp[i]);
	if (c->metrics.family != ENDPOINT_NONE)
		printf("would tell metrics at http://%s/metrics\n", endpoint_text(&c->metrics, text));
	if (c->drop_user)
		printf("would become user %s\n", c->user);
}

int main(int argc, char **argv)
{
	struct server s = { .signals.fd = -1, .loop.fd = -1, .argc = argc, .argv = argv };
	int err = config_read(&s.config, argc, argv);

	if (err != 0) {
		config_free(&s.config);
		return err < 0 ? EXIT_USAGE : EXIT_DONE;
	}
	if (s.config.check) {
		say(&s);
		config_free(&s.config);
		return EXIT_DONE;
	}
	log_setup("stunway-server", (enum log_target)s.config.log_target, (enum log_level)s.config.log_level);
	err = start(&s);
	if (err == 0)
		err = serve(&s);
	finish(&s);
	config_free(&s.config);
	return exit_code(err);
}
