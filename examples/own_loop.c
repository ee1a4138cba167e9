/* SPDX-License-Identifier: MIT */
/*
 * The state machine in a loop of one's own, here poll(2): nothing blocks but the wait, so other work fits beside it.
 *
 *	cc own_loop.c $(pkg-config --cflags --libs stunway) && ./a.out 198.51.100.1
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <stunway/stunway.h>

static struct sockaddr_in server = { .sin_family = AF_INET };
static struct pollfd sockets[STUNWAY_SLOTS]; /* a slot's socket; fd -1: not opened yet */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The address that the kernel sends to the server from: a connected UDP socket knows it, and nothing is sent. */
static void local_address(struct sockaddr_in *local)
{
	const int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(*local);

	if (connect(fd, (const struct sockaddr *)&server, sizeof(server)) == 0)
		getsockname(fd, (struct sockaddr *)local, &len);
	local->sin_port = 0;
	close(fd);
}

static void open_slot(struct stunway_discovery *d, unsigned slot)
{
	struct sockaddr_in local = { .sin_family = AF_INET };
	socklen_t len = sizeof(local);
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	local_address(&local);
	bind(fd, (const struct sockaddr *)&local, sizeof(local));
	getsockname(fd, (struct sockaddr *)&local, &len);
	sockets[slot] = (struct pollfd){ .fd = fd, .events = POLLIN };
	stunway_discovery_bound(d, slot, (const struct sockaddr *)&local);
}

static void receive(struct stunway_discovery *d, unsigned slot)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char bytes[1500];
	const ssize_t n = recvfrom(sockets[slot].fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len);

	if (n >= 0)
		stunway_discovery_receive(d, slot, (const struct sockaddr *)&from, bytes, (size_t)n, now_ms());
}

static void wait_for_datagrams(struct stunway_discovery *d)
{
	const uint64_t now = now_ms(), wake = stunway_discovery_wake_ms(d);

	if (poll(sockets, STUNWAY_SLOTS, wake > now ? (int)(wake - now) : 0) <= 0)
		return;
	for (unsigned i = 0; i < STUNWAY_SLOTS; i++)
		if (sockets[i].revents)
			receive(d, i);
}

int main(int argc, char **argv)
{
	struct stunway_discovery *d;
	struct stunway_nat_info info;
	struct stunway_step s;

	server.sin_port = htons(3478);
	if (argc < 2 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
		fprintf(stderr, "usage: %s IPV4-ADDRESS\n", argv[0]);
		return 2;
	}
	for (unsigned i = 0; i < STUNWAY_SLOTS; i++)
		sockets[i].fd = -1;
	if (stunway_discovery_new(&d, (const struct sockaddr *)&server, 0, 0, now_ms()) < 0)
		return 1;
	for (;;) {
		const enum stunway_action action = stunway_discovery_step(d, now_ms(), &s);

		if (action == STUNWAY_DONE)
			break;
		if (action == STUNWAY_WAIT) {
			wait_for_datagrams(d);
			continue;
		}
		if (sockets[s.slot].fd < 0)
			open_slot(d, s.slot);
		sendto(sockets[s.slot].fd, s.bytes, s.len, 0, (const struct sockaddr *)&s.to, s.to_len);
	}
	stunway_discovery_result(d, now_ms(), &info);
	printf("%s %s\n", stunway_type_text(info.type), info.info);
	stunway_discovery_free(d);
	for (unsigned i = 0; i < STUNWAY_SLOTS; i++)
		if (sockets[i].fd >= 0)
			close(sockets[i].fd);
	return 0;
}
