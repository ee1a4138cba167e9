/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natbox - a NAT in user space, between two TUN devices: what a carrier's NAT may be like, on demand.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "lab/control.h"
#include "lab/nat.h"
#include "lab/queue.h"
#include "lab/tun.h"

enum { BURST = 64, PACKET_MAX = 2048, TICK_MS = 500 };

struct box {
	struct nat *nat;
	struct queue *queue;
	struct control *control; /* NULL: none */
	int tun[2];              /* by enum side */
	int signals;
};

enum { AT_TUN, AT_SIGNALS = AT_TUN + 2, AT_CONTROL, AT_COUNT = AT_CONTROL + CONTROL_FDS };

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void transmit(struct box *b, int to, const uint8_t *bytes, size_t len)
{
	if (write(b->tun[to], bytes, len) < 0)
		nat_count(b->nat, REASON_DEVICE);
}

static void forward(struct box *b, const struct verdict *v, uint64_t now_ms)
{
	for (unsigned i = 0; i < v->copies; i++) {
		/* One more when it is queued: the clock is cut to milliseconds, the delay is not to fall short. */
		if (v->delay_ms[i] == 0)
			transmit(b, (int)v->to, v->bytes, v->len);
		else if (queue_push(b->queue, now_ms + v->delay_ms[i] + 1, (int)v->to, v->bytes, v->len) < 0)
			nat_count(b->nat, REASON_QUEUE_FULL);
	}
}

static void receive(struct box *b, enum side from, uint64_t now_ms)
{
	uint8_t bytes[PACKET_MAX];

	for (int i = 0; i < BURST; i++) {
		const ssize_t n = read(b->tun[from], bytes, sizeof(bytes));

		if (n < 0)
			return;
		const struct verdict v = nat_handle(b->nat, from, bytes, (size_t)n, now_ms);
		forward(b, &v, now_ms);
	}
}

static void release(struct box *b, uint64_t now_ms)
{
	struct queued *item;

	while ((item = queue_pop(b->queue, now_ms))) {
		transmit(b, item->to, item->bytes, item->len);
		free(item);
	}
}

static void prepare(const struct box *b, struct pollfd fds[AT_COUNT])
{
	for (int i = 0; i < AT_COUNT; i++)
		fds[i] = (struct pollfd){ .fd = -1 };
	fds[AT_TUN + SIDE_INSIDE] = (struct pollfd){ .fd = b->tun[SIDE_INSIDE], .events = POLLIN };
	fds[AT_TUN + SIDE_OUTSIDE] = (struct pollfd){ .fd = b->tun[SIDE_OUTSIDE], .events = POLLIN };
	fds[AT_SIGNALS] = (struct pollfd){ .fd = b->signals, .events = POLLIN };
	if (b->control)
		control_prepare(b->control, fds + AT_CONTROL);
}

/* Until the first of: a delayed packet is due, the next tick when there is something to expire. */
static int timeout_ms(const struct box *b, bool ticking, uint64_t tick_ms, uint64_t now_ms)
{
	const uint64_t due = queue_due_ms(b->queue);
	const uint64_t next = ticking && tick_ms < due ? tick_ms : due;

	if (next == UINT64_MAX)
		return -1;
	return next > now_ms ? (int)(next - now_ms) : 0;
}

static void run(struct box *b)
{
	struct pollfd fds[AT_COUNT];
	uint64_t now_ms = now(), tick_ms = now_ms;
	bool ticking = true;

	while (!b->control || !control_quits(b->control)) {
		prepare(b, fds);
		if (poll(fds, AT_COUNT, timeout_ms(b, ticking, tick_ms, now_ms)) < 0 && errno != EINTR)
			return;
		now_ms = now();
		if (fds[AT_SIGNALS].revents)
			return;
		release(b, now_ms); /* before new ones, which would overtake them when the delay has become 0 */
		for (int side = SIDE_INSIDE; side <= SIDE_OUTSIDE; side++)
			if (fds[AT_TUN + side].revents) {
				receive(b, (enum side)side, now_ms);
				ticking = true;
			}
		if (now_ms >= tick_ms) {
			ticking = nat_expire(b->nat, now_ms);
			tick_ms = now_ms + TICK_MS;
		}
		if (b->control)
			control_serve(b->control, fds + AT_CONTROL, now_ms);
	}
}

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int fail(const char *what, int r)
{
	fprintf(stderr, "natbox: %s: %s\n", what, strerror(-r));
	return r;
}

static int box_open(struct box *b, const struct config *c)
{
	int r;

	b->signals = signals_open();
	if (b->signals < 0)
		return fail("signals", -errno);
	if ((r = nat_new(&b->nat, c)) < 0 || (r = queue_new(&b->queue)) < 0)
		return fail("tables", r);
	if ((r = tun_open(&b->tun[SIDE_INSIDE], c->inside)) < 0)
		return fail(c->inside, r);
	if ((r = tun_open(&b->tun[SIDE_OUTSIDE], c->outside)) < 0)
		return fail(c->outside, r);
	if (c->control[0] && (r = control_new(&b->control, c->control, b->nat)) < 0)
		return fail(c->control, r);
	return 0;
}

static void box_close(struct box *b)
{
	const int fds[] = { b->tun[0], b->tun[1], b->signals };

	control_free(b->control);
	queue_free(b->queue);
	nat_free(b->nat);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void help(void)
{
	puts("natbox - a NAT between two TUN devices, for a laboratory\n\n"
	     "  natbox --outer ADDR [OPTION...]     run until SIGTERM; prints \"ready\"\n"
	     "  natbox --ctl PATH COMMAND...        tell a running one\n\n"
	     "Fragments are dropped and counted: send what fits the MTU of 1500.\n"
	     "Options (* may change at run time with `set`):");
	config_help(stdout);
	puts("\nCommands:");
	control_help(stdout);
}

int main(int argc, char **argv)
{
	struct box box = { .tun = { -1, -1 }, .signals = -1 };
	const char *bad, *reason;
	struct config config;

	if (argc > 3 && strcmp(argv[1], "--ctl") == 0)
		return control_client(argv[2], argv + 3, (size_t)argc - 3);
	const int r = config_args(&config, argc, argv, &bad, &reason);
	if (r > 0) {
		help();
		return 0;
	}
	if (r < 0) {
		fprintf(stderr, "natbox: '%s': %s; see --help\n", bad, reason);
		return 2;
	}
	const int opened = box_open(&box, &config);
	if (opened == 0) {
		puts("ready");
		fflush(stdout);
		run(&box);
	}
	box_close(&box);
	return opened == 0 ? 0 : 1;
}
