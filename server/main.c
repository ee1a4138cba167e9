/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stunway-server: STUN for those who want to know what their NAT does.
 *
 *	                             +-> workers: udp <-> template, answer_to
 *	command line -> config -> places
 *	                             |            udp <-> peer, the other node
 *	                             +-> this thread: tcp <-> answer_to, signals, the peer's heartbeats
 *
 * A worker is a thread with sockets of its own; nothing is shared while it serves. All
 * sockets are bound before any is announced, and the user is dropped in between.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
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
#include "server/tcp.h"
#include "server/worker.h"
#include "sys/clock.h"
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
	struct tcp *tcp; /* NULL with --no-tcp */
	bool stop;
};

/* The sum of all threads', and how the workers share the load. */
static void log_counts(const struct server *s)
{
	struct counts_sum sum = { 0 };
	char text[COUNTS_TEXT_MAX];

	counts_sum(&sum, &s->counts);
	for (size_t i = 0; i < s->worker_count; i++)
		worker_counts(s->workers[i], &sum);
	log_info("counts %s", counts_text(&sum, text));
	for (size_t i = 0; s->worker_count > 1 && i < s->worker_count; i++) {
		struct counts_sum one = { 0 };

		worker_counts(s->workers[i], &one);
		log_info("worker number=%zu %s", i, counts_text(&one, text));
	}
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

static int sockets_open(struct server *s)
{
	int udp, tcp;

	s->place_count = config_places(&s->config, s->places);
	if (unavailable(&s->places[s->place_count - 1]))
		s->place_count--;
	udp = peers_open(s);
	if (udp == 0)
		udp = workers_open(s);
	if (udp == 0)
		udp = peers_start(s);
	tcp = tcp_open(s); /* also when UDP's failed: every port that is taken is named */
	return udp < 0 ? udp : tcp;
}

static int workers_start(struct server *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->worker_count; i++)
		err = worker_start(s->workers[i]);
	return err;
}

static int user_drop(const struct config *c)
{
	if (!c->drop_user)
		return 0;
	if (initgroups(c->user, c->gid) < 0 || setgid(c->gid) < 0 || setuid(c->uid) < 0) {
		const int err = -errno;

		log_error("cannot become user %s: %s", c->user, strerror(-err));
		return err;
	}
	return 0;
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
		err = user_drop(&s->config);
	if (err == 0)
		err = workers_start(s);
	for (size_t i = 0; err == 0 && i < s->place_count; i++)
		each_socket(s, &s->places[i], announce_one);
	return err;
}

/* Of two waits in ms, negative for ever. */
static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Does what is due by time; returns in how many ms something will be again, negative for never. */
static int tick(struct server *s)
{
	int wait = s->tcp ? tcp_tick(s->tcp, clock_ms()) : -1;

	for (size_t i = 0; i < s->place_count; i++)
		if (s->places[i].peer)
			wait = sooner(wait, peer_tick(s->places[i].peer, &s->counts));
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
	for (size_t i = 0; i < s->worker_count; i++)
		worker_free(s->workers[i]);
	for (size_t i = 0; i < s->place_count; i++)
		peer_free(s->places[i].peer);
	tcp_free(s->tcp);
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

int main(int argc, char **argv)
{
	struct server s = { .signals.fd = -1, .loop.fd = -1 };
	int err = config_read(&s.config, argc, argv);

	if (err != 0) {
		config_free(&s.config);
		return err < 0 ? EXIT_USAGE : EXIT_DONE;
	}
	log_setup("stunway-server", (enum log_target)s.config.log_target, (enum log_level)s.config.log_level);
	err = start(&s);
	if (err == 0)
		err = serve(&s);
	finish(&s);
	config_free(&s.config);
	return exit_code(err);
}
