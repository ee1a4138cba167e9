/* SPDX-License-Identifier: MIT */
#include "sys/runner.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h> /* needs time.h before it */

#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/sockaddr.h"

#define DATAGRAM_MAX 2048 /* an answer has a few hundred bytes; what is longer is none */
#define TURN_MAX     64	  /* datagrams of one socket before the machine and the others have their turn */
#define SILENCE_MS   250  /* after so long without an answer the server's host is asked by TCP */
#define SLEEP_MAX_MS 500  /* a signal just before poll(2) does not end it */
#define DENIED_MAX   5	  /* sends refused by a local firewall (EPERM), in a row, before that is called the reason */

struct run {
	const struct runner *set;
	struct endpoint local[RUNNER_SLOTS];
	/* The first is the TCP connection to the server, slot i's socket is that at i + 1. -1: none. */
	struct pollfd pollfds[1 + RUNNER_SLOTS];
	nfds_t used; /* up to the highest slot opened: poll(2) refuses more than the descriptors allowed */
	uint64_t started_ms;
	uint64_t knock_ms; /* when the connection was begun, 0: not yet */
	bool answered, sent;
	bool told; /* that the host is reachable */
	unsigned denied;
};

static struct pollfd *knock_of(struct run *r)
{
	return &r->pollfds[0];
}

static struct pollfd *socket_at(struct run *r, unsigned slot)
{
	return &r->pollfds[1 + slot];
}

__attribute__((format(printf, 2, 3))) static void event(const struct run *r, const char *format, ...)
{
	char text[256];
	va_list args;

	if (!r->set->event)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	r->set->event(r->set->user, text);
}

static int bind_to(int fd, const struct endpoint *local)
{
	struct sockaddr_storage addr;
	const socklen_t len = net_sockaddr(&addr, local);

	return bind(fd, (const struct sockaddr *)&addr, len) < 0 ? -errno : 0;
}

static int connect_to(int fd, const struct endpoint *to)
{
	struct sockaddr_storage addr;
	const socklen_t len = net_sockaddr(&addr, to);

	return connect(fd, (const struct sockaddr *)&addr, len) < 0 ? -errno : 0;
}

static int local_of(int fd, struct endpoint *out)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	*out = net_endpoint(&addr);
	return 0;
}

static int socket_of(const struct endpoint *e, int type)
{
	const int fd = socket(e->family == ENDPOINT_IPV6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

int runner_route(struct endpoint *local, const struct endpoint *server, char why[RUNNER_WHY_MAX])
{
	char text[ENDPOINT_TEXT_MAX];
	CLEANUP(close_fd) int fd = socket_of(server, SOCK_DGRAM);
	struct endpoint address = *local;
	int err = fd < 0 ? fd : 0;

	address.port = 0;
	snprintf(why, RUNNER_WHY_MAX, "cannot open a socket: %s", strerror(-err));
	if (err == 0 && local->family != ENDPOINT_NONE) {
		err = bind_to(fd, &address);
		snprintf(why, RUNNER_WHY_MAX, "cannot ask from %s: %s", endpoint_ip_text(local, text), strerror(-err));
	}
	if (err == 0) {
		err = connect_to(fd, server); /* sends nothing, but chooses the way */
		snprintf(why, RUNNER_WHY_MAX, "no way to %s: %s", endpoint_ip_text(server, text), strerror(-err));
	}
	if (err == 0)
		err = local_of(fd, &address);
	if (err < 0)
		return err;
	address.port = local->port;
	*local = address;
	return 0;
}

static int slot_open(struct run *r, unsigned slot)
{
	const bool v6 = r->set->local.family == ENDPOINT_IPV6;
	CLEANUP(close_fd) int fd = socket_of(&r->set->local, SOCK_DGRAM);
	struct endpoint local = r->set->local;
	int err;

	if (fd < 0)
		return fd;
	if (slot > 0)
		local.port = 0;
	setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &(int){ 1 }, sizeof(int));
	err = bind_to(fd, &local);
	if (err == 0)
		err = local_of(fd, &r->local[slot]);
	if (err < 0)
		return err;
	*socket_at(r, slot) = (struct pollfd){ .fd = fd, .events = POLLIN };
	if (r->used < slot + 2)
		r->used = slot + 2;
	fd = -1; /* handed over */
	r->set->inquiry->bound(r->set->machine, slot, &r->local[slot]);
	return 0;
}

static void reachable(struct run *r, uint64_t since_ms, const char *how)
{
	const uint64_t now_ms = clock_ms();

	if (r->told || !r->set->reachable)
		return;
	r->told = true;
	event(r, "the server's host answers: %s", how);
	r->set->reachable(r->set->machine, (uint32_t)(now_ms - since_ms), now_ms);
}

/* What IP_RECVERR and IPV6_RECVERR put beside the datagram that could not be delivered. */
struct icmp_error {
	struct sock_extended_err error;
	struct sockaddr_storage offender;
};

static void icmp_heard(struct run *r, const struct cmsghdr *c)
{
	struct icmp_error icmp = { 0 };
	const size_t len = c->cmsg_len - CMSG_LEN(0);
	struct endpoint offender;
	char text[ENDPOINT_TEXT_MAX];

	memcpy(&icmp, CMSG_DATA(c), len < sizeof(icmp) ? len : sizeof(icmp));
	if (icmp.error.ee_origin != SO_EE_ORIGIN_ICMP && icmp.error.ee_origin != SO_EE_ORIGIN_ICMP6)
		return;
	offender = net_endpoint(&icmp.offender);
	event(r, "ICMP error from %s: %s", endpoint_ip_text(&offender, text), strerror((int)icmp.error.ee_errno));
	if (endpoint_same_ip(&offender, &r->set->server))
		reachable(r, r->started_ms, "by an ICMP error");
}

/* Empties a socket's error queue, whose errors would fail the next send in place of their own. True when there was any. */
static bool errors_read(struct run *r, unsigned slot)
{
	_Alignas(struct cmsghdr) char control[512];
	char bytes[64];
	unsigned count = 0;

	for (; count < TURN_MAX; count++) {
		struct iovec iov = { bytes, sizeof(bytes) };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

		if (recvmsg(socket_at(r, slot)->fd, &msg, MSG_ERRQUEUE) < 0)
			break;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
			if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
				(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
				icmp_heard(r, c);
	}
	return count > 0;
}

static int send_from(struct run *r, const struct inquiry_step *s)
{
	const int fd = socket_at(r, s->slot)->fd;
	struct sockaddr_storage addr;
	const socklen_t len = net_sockaddr(&addr, &s->to);
	int err;

	do {
		if (sendto(fd, s->bytes, s->len, MSG_NOSIGNAL, (const struct sockaddr *)&addr, len) >= 0)
			return 0;
		err = -errno;
	} while (errors_read(r, s->slot)); /* the error was an earlier datagram's */
	return err;
}

/* Whether a send that failed says that none will succeed, rather than that this one is lost. */
static bool hopeless(struct run *r, const struct inquiry_step *s, int err)
{
	if (r->sent || r->answered || !endpoint_equal(&s->to, &r->set->server))
		return false;
	switch (err) {
	case -EAGAIN:
	case -EINTR:
	case -ENOBUFS:
	case -ECONNREFUSED:
		return false;
	case -EPERM: /* a firewall of this host, which may throw dice */
		return ++r->denied == DENIED_MAX;
	default:
		return true;
	}
}

static int obey(struct run *r, const struct inquiry_step *s, char why[RUNNER_WHY_MAX])
{
	char from[ENDPOINT_TEXT_MAX], to[ENDPOINT_TEXT_MAX];
	int err = socket_at(r, s->slot)->fd < 0 ? slot_open(r, s->slot) : 0;

	if (err < 0) {
		struct endpoint local = r->set->local;

		local.port = s->slot > 0 ? 0 : local.port;
		snprintf(why, RUNNER_WHY_MAX, "cannot ask from %s: %s",
			local.port ? endpoint_text(&local, from) : endpoint_ip_text(&local, from), strerror(-err));
		return r->answered ? 0 : err; /* short of sockets later on: one sample less */
	}
	endpoint_text(&r->local[s->slot], from);
	endpoint_text(&s->to, to);
	err = send_from(r, s);
	if (err == 0) {
		r->sent = r->sent || endpoint_equal(&s->to, &r->set->server);
		event(r, "%zu bytes %s -> %s", s->len, from, to);
		return 0;
	}
	event(r, "not sent %s -> %s: %s", from, to, strerror(-err));
	snprintf(why, RUNNER_WHY_MAX, "cannot send from %s to %s: %s", from, to, strerror(-err));
	return hopeless(r, s, err) ? err : 0;
}

static void receive(struct run *r, unsigned slot)
{
	char a[ENDPOINT_TEXT_MAX], b[ENDPOINT_TEXT_MAX];
	uint8_t bytes[DATAGRAM_MAX];

	for (unsigned i = 0; i < TURN_MAX; i++) {
		struct sockaddr_storage addr = { 0 };
		socklen_t len = sizeof(addr);
		const ssize_t n = recvfrom(socket_at(r, slot)->fd, bytes, sizeof(bytes), MSG_TRUNC, (struct sockaddr *)&addr, &len);
		const struct endpoint from = net_endpoint(&addr);
		bool answer;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
			continue; /* an ICMP error: read from its queue */
		answer = (size_t)n <= sizeof(bytes) &&
			r->set->inquiry->receive(r->set->machine, slot, &from, bytes, (size_t)n, clock_ms());
		r->answered = r->answered || answer;
		event(r, "%zd bytes %s <- %s%s", n, endpoint_text(&r->local[slot], a), endpoint_text(&from, b),
			answer ? "" : ", no answer to us");
	}
}

static void knock_end(struct run *r)
{
	if (knock_of(r)->fd >= 0)
		close(knock_of(r)->fd);
	knock_of(r)->fd = -1;
}

/* Does the server's host live, if its STUN is silent? Opened or refused, both say so. */
static void knock_result(struct run *r, int err)
{
	knock_end(r);
	if (err == 0)
		reachable(r, r->knock_ms, "it accepts a TCP connection");
	else if (err == ECONNREFUSED)
		reachable(r, r->knock_ms, "it refuses a TCP connection");
	else
		event(r, "TCP connection to the server: %s", strerror(err));
}

static void knock(struct run *r)
{
	struct endpoint local = r->set->local;
	const int fd = socket_of(&local, SOCK_STREAM);
	int err;

	r->knock_ms = clock_ms();
	if (fd < 0)
		return;
	local.port = 0;
	*knock_of(r) = (struct pollfd){ .fd = fd, .events = POLLOUT };
	err = bind_to(fd, &local);
	if (err == 0)
		err = connect_to(fd, &r->set->server);
	if (err != -EINPROGRESS)
		knock_result(r, -err);
}

static void knock_woken(struct run *r)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(knock_of(r)->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	knock_result(r, err);
}

static bool wants_to_knock(const struct run *r)
{
	return r->set->reachable && !r->answered && !r->told && r->knock_ms == 0;
}

static int sleep_ms(const struct run *r, uint64_t now_ms)
{
	uint64_t wake_ms = r->set->inquiry->wake_ms(r->set->machine);

	if (wants_to_knock(r) && r->started_ms + SILENCE_MS < wake_ms)
		wake_ms = r->started_ms + SILENCE_MS;
	if (wake_ms <= now_ms)
		return 0;
	return wake_ms - now_ms < SLEEP_MAX_MS ? (int)(wake_ms - now_ms) : SLEEP_MAX_MS;
}

static void wait(struct run *r)
{
	const uint64_t now_ms = clock_ms();

	if (wants_to_knock(r) && now_ms >= r->started_ms + SILENCE_MS)
		knock(r);
	if (poll(r->pollfds, r->used, sleep_ms(r, now_ms)) <= 0)
		return;
	for (unsigned i = 0; i + 1 < r->used; i++) {
		if (socket_at(r, i)->revents & POLLERR)
			errors_read(r, i);
		if (socket_at(r, i)->revents)
			receive(r, i);
	}
	if (knock_of(r)->fd >= 0 && knock_of(r)->revents)
		knock_woken(r);
}

/* Does what the machine says until it waits or is done. 1: done. */
static int turn(struct run *r, char why[RUNNER_WHY_MAX])
{
	for (;;) {
		struct inquiry_step s;
		int err;

		switch (r->set->inquiry->step(r->set->machine, clock_ms(), &s)) {
		case INQUIRY_DONE:
			return 1;
		case INQUIRY_WAIT:
			return 0;
		case INQUIRY_SEND:
			assert(s.slot < RUNNER_SLOTS);
			err = obey(r, &s, why);
			if (err < 0)
				return err;
		}
	}
}

int runner_run(const struct runner *settings, char why[RUNNER_WHY_MAX])
{
	struct run *r = calloc(1, sizeof(*r));
	int err = 0;

	if (!r) {
		snprintf(why, RUNNER_WHY_MAX, "no memory");
		return -ENOMEM;
	}
	r->set = settings;
	r->started_ms = clock_ms();
	r->used = 1;
	for (size_t i = 0; i <= RUNNER_SLOTS; i++)
		r->pollfds[i].fd = -1;
	while ((err = turn(r, why)) == 0) {
		wait(r);
		if (settings->go_on && !settings->go_on(settings->user)) {
			err = -EINTR;
			break;
		}
	}
	for (size_t i = 0; i < r->used; i++)
		close_fd(&r->pollfds[i].fd);
	free(r);
	return err < 0 ? err : 0;
}
