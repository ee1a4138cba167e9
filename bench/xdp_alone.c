/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xdp_alone - what --xdp's program takes for an answer, without an interface around it.
 *
 * Each kind of question runs many times through it (BPF_PROG_TEST_RUN) behind again.bpf.c, and again with a
 * program that does nothing in its place, in turn; the difference of the best rounds is the program's. A busy machine
 * makes a round longer, never shorter.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "again.lskel.h" /* made at build */
#include "bench/again.h"
#include "lab/packet.h"
#include "lib/stun.h"
#include "server/xdp/answers.h"
#include "server/xdp/program.h"

#define BLOCKS	4 /* of rounds with the one program, then as many with the other: to change it takes the kernel long */
#define ROUNDS	50
#define REPEAT	5000
#define SENDERS 1024

static const struct row {
	const char *name;
	bool classic, change, fingerprint, v6;
} rows[] = {
	{ "RFC 8489", false, false, false, false },
	{ "RFC 3489", true, false, false, false },
	{ "CHANGE-REQUEST", false, true, false, false },
	{ "FINGERPRINT", false, false, true, false },
	{ "RFC 8489, IPv6", false, false, false, true },
};

static void die(const char *what, int err)
{
	fprintf(stderr, "xdp_alone: %s: %s\n", what, strerror(err));
	exit(1);
}

static const uint8_t own_mac[6] = { 2, 0, 0, 0, 0, 1 };
static struct place places[2];

static struct program *server(void)
{
	static const char *const addresses[2][2] = { { "198.18.0.1", "198.18.0.2" }, { "2001:db8::1", "2001:db8::2" } };
	struct xdp_fixed *fixed = calloc(1, sizeof(*fixed));
	struct xdp_answers *answers = calloc(1, sizeof(*answers));
	struct standing standing = { .here = { true, true }, .together = true, .hops = 64 };
	struct program *p;
	int err;

	if (!fixed || !answers)
		die("memory", ENOMEM);
	memcpy(fixed->mac, own_mac, sizeof(own_mac));
	for (unsigned family = 0; family < 2; family++) {
		struct place *place = &places[family];

		for (unsigned i = 0; i < 4; i++) {
			(void)endpoint_parse_ip(&place->local[i / 2][i % 2], addresses[family][i / 2], (uint16_t)(3478 + i % 2));
			place->site.origin[i / 2][i % 2] = place->local[i / 2][i % 2];
		}
		answers_make(fixed, answers, place, &standing);
	}
	err = program_load(&p, fixed, answers, 1000000);
	if (err < 0)
		die("loading", -err);
	free(fixed);
	free(answers);
	return p;
}

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static size_t question_write(uint8_t *at, size_t max, const struct row *r)
{
	static const uint8_t chosen[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	uint8_t id[STUN_ID_LEN] = { 0, 1, 2, 3 };
	struct stun_builder b;

	if (!r->classic)
		stun_id(id, chosen);
	/* What stands there while the checksum is made is a number and its complement, as for number 0. */
	id[14] = id[15] = 0xff;
	stun_begin(&b, at, max, STUN_REQUEST, STUN_BINDING, id);
	if (r->change)
		stun_put_u32(&b, STUN_CHANGE_REQUEST, 6);
	if (r->fingerprint)
		stun_put_fingerprint(&b);
	return stun_end(&b);
}

static void frame_write(struct again *a, const struct row *r)
{
	const struct endpoint *to = &places[r->v6].local[0][0];
	const size_t head = r->v6 ? 40 : 20, ip_len = r->v6 ? 16 : 4;
	uint8_t *f = a->frame, *ip = f + 14, *udp = ip + head;
	size_t len;

	memset(f, 0, AGAIN_FRAME);
	len = 8 + question_write(udp + 8, AGAIN_FRAME - 14 - head - 8, r);
	memcpy(f, own_mac, 6);
	memcpy(f + 6, (const uint8_t[]){ 2, 0, 0, 0, 0, 9 }, 6);
	put16(f + 12, r->v6 ? 0x86dd : 0x0800);
	ip[0] = r->v6 ? 0x60 : 0x45;
	put16(ip + (r->v6 ? 4 : 2), r->v6 ? len : 20 + len);
	ip[r->v6 ? 6 : 9] = 17;
	ip[r->v6 ? 7 : 8] = 64;
	/* 192.0.x.x, 2001:db8:1:x:: */
	memcpy(ip + (r->v6 ? 8 : 12), r->v6 ? (const uint8_t[]){ 0x20, 1, 0xd, 0xb8, 0, 1 } : (const uint8_t[]){ 192, 0, 0, 0, 0, 0 }, r->v6 ? 6 : 4);
	memcpy(ip + (r->v6 ? 24 : 16), to->ip, ip_len);
	put16(udp, 5000);
	put16(udp + 2, to->port);
	put16(udp + 4, len);
	a->len = (uint32_t)(14 + head + len);
	a->from = r->v6 ? 14 + 8 + 6 : 14 + 12 + 2;
	a->id = (uint32_t)(14 + head + 8 + 4 + 14);
	a->ip_id = r->v6 ? 0 : 14 + 4;
	a->senders = r->fingerprint ? 0 : SENDERS - 1;
	if (!r->v6) {
		put16(ip + 4, 0xffff);
		put16(ip + 10, (uint16_t)~packet_sum(0, ip, 20));
	}
	put16(udp + 6, (uint16_t)~packet_sum(packet_sum(17 + (uint32_t)len, ip + (r->v6 ? 8 : 12), 2 * ip_len), udp, len));
}

static unsigned round_of(const struct again_bpf *again, const struct again *a)
{
	union bpf_attr run = { .test = { .prog_fd = (uint32_t)again->progs.again.prog_fd, .data_in = (uintptr_t)a->frame,
				       .data_size_in = a->len, .repeat = REPEAT } };

	if (skel_sys_bpf(BPF_PROG_TEST_RUN, &run, sizeof(run)) < 0)
		die("BPF_PROG_TEST_RUN", errno);
	if (run.test.retval != XDP_TX) {
		fprintf(stderr, "xdp_alone: verdict %u\n", run.test.retval);
		exit(1);
	}
	return run.test.duration;
}

/* Nanoseconds a run, in the best of some rounds. */
static unsigned best_of(const struct again_bpf *again, int program, const struct again *a)
{
	const uint32_t only = 0, fd = (uint32_t)program;
	union bpf_attr set = { .map_fd = (uint32_t)again->maps.next.map_fd, .key = (uintptr_t)&only, .value = (uintptr_t)&fd };
	unsigned best = ~0u;

	if (skel_sys_bpf(BPF_MAP_UPDATE_ELEM, &set, sizeof(set)) < 0)
		die("BPF_MAP_UPDATE_ELEM", errno);
	for (int i = 0; i < ROUNDS; i++) {
		const unsigned ns = round_of(again, a);

		best = ns < best ? ns : best;
	}
	return best;
}

int main(void)
{
	struct again_bpf *again = again_bpf__open_and_load();
	struct program *p = server();
	struct again *a;

	if (!again)
		die("again", errno);
	a = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, again->maps.state.map_fd, 0);
	if (a == MAP_FAILED)
		die("mmap", errno);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint64_t before = program_count(p, XDP_ANSWERED);
		unsigned all = ~0u, without = ~0u;

		frame_write(a, &rows[i]);
		for (int k = 0; k < BLOCKS; k++) {
			const unsigned w = best_of(again, again->progs.nothing.prog_fd, a), n = best_of(again, program_fd(p), a);

			without = w < without ? w : without;
			all = n < all ? n : all;
		}
		if (program_count(p, XDP_ANSWERED) - before != (uint64_t)BLOCKS * ROUNDS * REPEAT) {
			fprintf(stderr, "xdp_alone: not all were answered\n");
			return 1;
		}
		printf("    %-15s %4u ns\n", rows[i].name, all - without);
	}
	program_free(p);
	again_bpf__destroy(again);
	return 0;
}
