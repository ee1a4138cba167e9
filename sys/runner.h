/* SPDX-License-Identifier: MIT */
/*
 * runner - runs any machine of lib/inquiry.h on poll(2), with a UDP socket for each of its slots.
 *
 * A socket is opened when the machine first names its slot, and bound to the address that
 * the kernel would send from, never to the wildcard. Where the machine wants to know, the
 * server's host is asked by TCP after some silence whether it lives; ICMP errors that
 * it sends say the same. ICMP errors are no verdict and end nothing: anybody can forge one.
 */
#ifndef SYS_RUNNER_H
#define SYS_RUNNER_H

#include "lib/inquiry.h"

#define RUNNER_SLOTS   160
#define RUNNER_WHY_MAX 160

struct runner {
	const struct inquiry *inquiry;
	void *machine;
	struct endpoint server;
	struct endpoint local; /* as runner_route says; its port is slot 0's, 0 for any */
	/* The server's host lives, said at most once; NULL: not asked for. */
	void (*reachable)(void *machine, uint32_t rtt_ms, uint64_t now_ms);
	/* A line for each datagram and each thing learnt; NULL: none. */
	void (*event)(void *user, const char *text);
	/* Called now and then, at least once a second; false: end now. NULL: none. */
	bool (*go_on)(void *user);
	void *user;
};

/*
 * The local address to ask a server from: *local is what was wished for (family NONE or the wildcard: any) and
 * becomes the address; its port stays. Negative errno, and the reason in why.
 */
int runner_route(struct endpoint *local, const struct endpoint *server, char why[RUNNER_WHY_MAX]);

/* 0 when the machine is done. -EINTR: stopped. Other negative errno: nothing can be sent at all, for the reason in why. */
int runner_run(const struct runner *settings, char why[RUNNER_WHY_MAX]);

#endif
