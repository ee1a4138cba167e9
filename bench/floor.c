/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * floor ADDRESS PORT - the least that a STUN responder on sockets can do, for bench_server.py.
 *
 * One thread, one socket, recvmmsg and sendmmsg of 64; every datagram is taken for a
 * Binding and answered with its mapped address alone (XOR-MAPPED-ADDRESS, or
 * MAPPED-ADDRESS without the cookie). IPv4.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64

static struct mmsghdr messages[BATCH];
static struct iovec iov[BATCH];
static struct sockaddr_in from[BATCH];
static uint8_t bytes[BATCH][256];

static void answer(uint8_t *b, const struct sockaddr_in *a)
{
	static const uint8_t cookie[4] = { 0x21, 0x12, 0xa4, 0x42 };
	const int modern = memcmp(b + 4, cookie, 4) == 0;
	uint8_t *v = b + 28;

	memcpy(b, "\1\1\0\14", 4);
	memcpy(b + 20, "\0\1\0\10\0\1", 6);
	b[21] = modern ? 0x20 : 1;
	memcpy(b + 26, &a->sin_port, 2);
	memcpy(v, &a->sin_addr, 4);
	for (int i = 0; modern && i < 4; i++)
		v[i] ^= cookie[i];
	b[26] ^= modern ? cookie[0] : 0;
	b[27] ^= modern ? cookie[1] : 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = argc == 3 ? htons((uint16_t)atoi(argv[2])) : 0 };
	const int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 3 || inet_pton(AF_INET, argv[1], &local.sin_addr) != 1 ||
		bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0) {
		fprintf(stderr, "usage: floor ADDRESS PORT\n");
		return 2;
	}
	for (int i = 0; i < BATCH; i++) {
		iov[i].iov_base = bytes[i];
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &from[i], .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			messages[i].msg_hdr.msg_namelen = sizeof(from[i]);
			iov[i].iov_len = sizeof(bytes[i]);
		}
		const int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

		for (int i = 0; i < n; i++) {
			answer(bytes[i], &from[i]);
			iov[i].iov_len = 32;
		}
		for (int done = 0; done < n;) {
			const int sent = sendmmsg(fd, messages + done, (unsigned)(n - done), 0);

			done += sent < 0 ? 1 : sent;
		}
	}
}
