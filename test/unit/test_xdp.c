/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The XDP program beside the responder in C: the same frames to both.
 *
 * Frames run through the program in the kernel (BPF_PROG_TEST_RUN, no interface). Whatever
 * it answers must be what a reader of its own, answer_to and a writer of its own make of the same
 * frame, to the last byte; whatever it passes on must be unchanged; and of frames that
 * nobody has bent, made of what the program knows, it must answer every one.
 */
#include "test.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lab/packet.h"
#include "lib/stun.h"
#include "server/template.h"
#include "server/xdp/answers.h"
#include "server/xdp/program.h"

#define FRAMES	  (getenv("STUNWAY_LONG") ? 20000000u : 1000000u)
#define FRAME_MAX 600
#define HOPS	  61

static const uint8_t own_mac[6] = { 2, 0, 0, 0, 0, 1 }, client_mac[6] = { 2, 0, 0, 0, 0, 9 };

/* --- Dice: the same in every run --- */

static uint64_t dice = 88172645463325252u;

static uint32_t roll(uint32_t sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (uint32_t)(dice >> 32) % sides;
}

/* --- Servers --- */

struct setup {
	const char *name;
	const char *local[2][2], *public[2][2]; /* [family][address]; NULL: none */
	bool peered;				/* address 1 is the peer's */
	uint32_t tags[2];
	unsigned bank;
};

static const struct setup setups[] = {
	{ "two addresses", { { "198.51.100.1", "198.51.100.2" }, { "2001:db8::1", "2001:db8::2" } }, { { 0 } }, false, { 0, 0 }, 0 },
	{ "one address", { { "198.51.100.1", NULL }, { "2001:db8::1", NULL } }, { { 0 } }, false, { 0, 0 }, 0 },
	{ "behind a 1:1 NAT", { { "10.0.0.1", "10.0.0.2" }, { "2001:db8::1", "2001:db8::2" } },
		{ { "198.51.100.1", "198.51.100.2" }, { "2001:db8:1::1", "2001:db8:1::2" } }, false, { 0, 0 }, 0 },
	{ "in a VLAN", { { "198.51.100.1", "198.51.100.2" }, { "2001:db8::1", "2001:db8::2" } }, { { 0 } }, false,
		{ XDP_TAG(100), XDP_TAG(100) }, 0 },
	{ "in a VLAN in a VLAN", { { "198.51.100.1", "198.51.100.2" }, { "2001:db8::1", "2001:db8::2" } }, { { 0 } }, false,
		{ XDP_TAG(100) << 16 | XDP_TAG(7), XDP_TAG(100) << 16 | XDP_TAG(7) }, 0 },
	{ "with a peer", { { "198.51.100.1", "198.51.100.2" }, { "2001:db8::1", "2001:db8::2" } }, { { 0 } }, true, { 0, 0 }, 0 },
	{ "with a dead peer", { { "198.51.100.1", "198.51.100.2" }, { "2001:db8::1", "2001:db8::2" } }, { { 0 } }, true, { 0, 0 }, 1 },
};

struct bed {
	struct place places[2];
	struct site sites[2]; /* as the responder is to see them */
	struct templates templates[2];
	struct program *program;
	const struct setup *setup;
	unsigned long answered, passed, bent_answered;
};

static void place_set(struct bed *b, unsigned family, unsigned address, unsigned port)
{
	const struct setup *s = b->setup;
	const char *local = s->local[family][address], *public = s->public[family][address];
	struct place *p = &b->places[family];
	struct endpoint e = { 0 };

	if (!local)
		return;
	assert_int_equal(endpoint_parse_ip(&e, local, (uint16_t)(3478 + port)), 0);
	p->site.origin[address][port] = e;
	if (!s->peered || address == 0)
		p->local[address][port] = e;
	if (public)
		assert_int_equal(endpoint_parse_ip(&p->site.origin[address][port], public, (uint16_t)(3478 + port)), 0);
	b->sites[family].origin[address][port] =
		s->peered && s->bank && address ? (struct endpoint){ 0 } : p->site.origin[address][port];
}

static void bed_open(struct bed *b, const struct setup *setup, uint32_t rate)
{
	struct xdp_fixed *fixed = calloc(1, sizeof(*fixed));
	struct xdp_answers *answers = calloc(1, sizeof(*answers));
	struct standing standing = { .hops = HOPS, .together = true };

	*b = (struct bed){ .setup = setup };
	memcpy(fixed->mac, own_mac, sizeof(own_mac));
	for (unsigned i = 0; i < 8; i++)
		place_set(b, i / 4, i / 2 % 2, i % 2);
	for (unsigned family = 0; family < 2; family++) {
		b->places[family].peered = setup->peered;
		for (unsigned i = 0; i < 2; i++) {
			standing.here[i] = b->places[family].local[i][0].family != ENDPOINT_NONE;
			standing.tags[i] = setup->tags[i];
		}
		answers_make(fixed, answers, &b->places[family], &standing);
		templates_make(&b->templates[family], &b->sites[family]);
	}
	assert_int_equal(program_load(&b->program, fixed, answers, rate), 0);
	program_shared(b->program)->bank[0] = program_shared(b->program)->bank[1] = setup->bank;
	free(fixed);
	free(answers);
}

/* --- Frames --- */

struct frame {
	size_t len, ip; /* ip: where its header begins */
	bool v6;
	uint8_t bytes[FRAME_MAX];
};

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static size_t get16(const uint8_t *at)
{
	return (size_t)at[0] << 8 | at[1];
}

static size_t ip_head(bool v6)
{
	return v6 ? 40 : 20;
}

static uint16_t udp_sum(const uint8_t *ip, bool v6, size_t udp_len)
{
	const uint32_t sum = packet_sum(17 + (uint32_t)udp_len, ip + (v6 ? 8 : 12), v6 ? 32 : 8);

	return (uint16_t)~packet_sum(sum, ip + ip_head(v6), udp_len);
}

static void checksums_set(struct frame *f)
{
	uint8_t *ip = f->bytes + f->ip, *udp = ip + ip_head(f->v6);
	size_t len = get16(udp + 4);
	uint16_t sum;

	if (!f->v6) {
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~packet_sum(0, ip, 20));
	}
	if (f->ip + ip_head(f->v6) + len > f->len)
		return;
	put16(udp + 6, 0);
	sum = udp_sum(ip, f->v6, len);
	put16(udp + 6, sum ? sum : 0xffff);
}

static size_t link_write(uint8_t *at, uint32_t tags, bool v6)
{
	size_t used = 12;

	memcpy(at, own_mac, 6);
	memcpy(at + 6, client_mac, 6);
	for (int shift = 16; shift >= 0; shift -= 16) {
		if (!(tags >> shift & 0xffff))
			continue;
		put16(at + used, roll(4) ? 0x8100 : 0x88a8);
		put16(at + used + 2, (tags >> shift & 0xfff) | roll(16) << 12);
		used += 4;
	}
	put16(at + used, v6 ? 0x86dd : 0x0800);
	return used + 2;
}

/* What a question consists of, beyond what the program knows only where bent is set. Returns its length. */
static size_t question_write(uint8_t *buf, size_t max, bool bent)
{
	static const uint16_t types[] = { STUN_SOFTWARE, 0x8888, 0xc001, STUN_CHANGE_REQUEST, STUN_RESPONSE_PORT, /* and bent: */ STUN_USERNAME,
		STUN_PADDING, STUN_RESPONSE_ADDRESS, 0x7001, STUN_MESSAGE_INTEGRITY, STUN_OTHER_ADDRESS, STUN_CACHE_TIMEOUT, STUN_REALM };
	const bool classic = roll(3) == 0, fingerprint = !classic && roll(3) == 0;
	uint8_t id[STUN_ID_LEN], value[64];
	struct stun_builder b;

	for (size_t i = 0; i < sizeof(id); i++)
		id[i] = (uint8_t)roll(256);
	if (!classic)
		stun_id(id, id + 4);
	for (size_t i = 0; i < sizeof(value); i++)
		value[i] = (uint8_t)roll(256);
	stun_begin(&b, buf, max, STUN_REQUEST, STUN_BINDING, id);
	if (roll(3) == 0)
		stun_put_u32(&b, STUN_CHANGE_REQUEST, roll(bent ? 16 : 4) << 1);
	for (uint32_t n = roll(2) ? 0 : roll(bent ? 7 : 4); n > 0; n--) {
		const uint16_t type = types[roll(bent ? 13 : 3)];

		stun_put_bytes(&b, type, value, type == STUN_CHANGE_REQUEST ? 4 : type == STUN_RESPONSE_PORT ? 2 + roll(3) : roll(3) ? 4 + roll(16) : roll(60));
	}
	if (!bent && roll(8) == 0)
		stun_put_u32(&b, STUN_RESPONSE_PORT, (1 + roll(65535)) << 16 | roll(65536));
	if (fingerprint)
		stun_put_fingerprint(&b);
	return stun_end(&b);
}

/* A whole frame with such a question to one of the server's addresses. */
static void frame_write(struct frame *f, const struct bed *b, bool bent)
{
	const bool v6 = roll(2);
	const struct place *p = &b->places[v6];
	const unsigned address = p->local[1][0].family ? roll(2) : 0, port = roll(2);
	const struct endpoint *to = &p->local[address][port];
	uint8_t *ip, *udp;
	size_t len;

	memset(f, 0, sizeof(*f));
	f->v6 = v6;
	f->ip = link_write(f->bytes, b->setup->tags[address], v6);
	ip = f->bytes + f->ip;
	udp = ip + ip_head(v6);
	len = 8 + question_write(udp + 8, FRAME_MAX - 100, bent);
	ip[0] = v6 ? 0x60 : 0x45;
	put16(ip + (v6 ? 4 : 2), v6 ? len : 20 + len);
	ip[v6 ? 6 : 9] = 17;
	ip[v6 ? 7 : 8] = (uint8_t)(1 + roll(255));
	if (!v6)
		ip[6] = roll(2) ? 0x40 : 0;
	for (unsigned i = 0; i < (v6 ? 16 : 4); i++)
		ip[(v6 ? 8 : 12) + i] = (uint8_t)roll(256);
	ip[v6 ? 8 : 12] = v6 ? 0x20 : (uint8_t)(1 + roll(126));
	memcpy(ip + (v6 ? 24 : 16), to->ip, v6 ? 16 : 4);
	put16(udp, 1 + roll(65535));
	put16(udp + 2, to->port);
	put16(udp + 4, len);
	f->len = f->ip + ip_head(v6) + len;
	checksums_set(f);
	if (!v6 && roll(10) == 0)
		put16(udp + 6, 0); /* none */
	if (roll(6) == 0)
		f->len += roll(30);
}

static void frame_bend(struct frame *f)
{
	for (uint32_t n = 1 + roll(3); n > 0; n--) {
		const uint32_t at = roll(2) ? roll((uint32_t)f->len) : (uint32_t)f->ip + roll((uint32_t)(f->len - f->ip));

		f->bytes[at] = roll(3) ? (uint8_t)roll(256) : (uint8_t)(f->bytes[at] ^ 1u << roll(8));
	}
	if (roll(10) == 0)
		f->len = 14 + roll((uint32_t)f->len - 13);
	if (roll(3))
		checksums_set(f);
}

/* --- The program, and what it should have said --- */

static unsigned program_run(const struct bed *b, const struct frame *in, struct frame *out)
{
	union bpf_attr attr = { .test = { .prog_fd = (uint32_t)program_fd(b->program), .data_in = (uintptr_t)in->bytes,
					.data_size_in = (uint32_t)in->len, .data_out = (uintptr_t)out->bytes, .data_size_out = FRAME_MAX, .repeat = 1 } };

	assert_int_equal(syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr.test)), 0);
	out->len = attr.test.data_size_out;
	out->ip = in->ip;
	out->v6 = in->v6;
	return attr.test.retval;
}

/* Where in a frame the IP header stands, if it is for that MAC and in this VLAN; 0 if not. */
static size_t link_find(const struct frame *f, uint32_t tags, size_t *type)
{
	size_t at = 12;
	uint32_t found = 0;

	for (*type = get16(f->bytes + at); *type == 0x8100 || *type == 0x88a8; *type = get16(f->bytes + (at += 4)))
		found = found << 16 | XDP_TAG(get16(f->bytes + at + 2) & 0xfff);
	return memcmp(f->bytes, own_mac, 6) == 0 && found == tags && at + 2 + 48 <= f->len ? at + 2 : 0;
}

struct heard {
	struct question q;
	uint16_t to_port;
	const uint8_t *ip;
};

/* Reads a frame as a whole datagram to a server's endpoint. */
static bool hear(struct heard *out, const struct frame *f, const struct bed *b)
{
	size_t type, at = link_find(f, b->setup->tags[0], &type), len;
	const bool v6 = type == 0x86dd;
	const uint8_t *ip = f->bytes + at, *udp = ip + ip_head(v6);
	struct question q = { .site = &b->sites[v6] };

	if (at == 0 || (type != 0x0800 && !v6) || at + ip_head(v6) + 8 > f->len)
		return false;
	if (v6 ? ip[0] >> 4 != 6 || ip[6] != 17 : ip[0] != 0x45 || ip[9] != 17 || (get16(ip + 6) & 0xbfff) || packet_sum(0, ip, 20) != 0xffff)
		return false;
	len = v6 ? get16(ip + 4) : get16(ip + 2) - 20;
	if (len < 8 || len > 65535 || at + ip_head(v6) + len > f->len || get16(udp + 4) != len)
		return false;
	if (get16(udp + 6) == 0 ? v6 : udp_sum(ip, v6, len) != 0)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		const struct endpoint *e = &b->places[v6].local[i / 2][i % 2];

		if (e->family && memcmp(ip + (v6 ? 24 : 16), e->ip, v6 ? 16 : 4) == 0 && get16(udp + 2) == e->port) {
			q.address = i / 2;
			q.port = i % 2;
			q.bytes = udp + 8;
			q.len = len - 8;
			q.from = (struct endpoint){ .family = v6 ? ENDPOINT_IPV6 : ENDPOINT_IPV4, .port = (uint16_t)get16(udp) };
			memcpy(q.from.ip, ip + (v6 ? 8 : 12), v6 ? 16 : 4);
			*out = (struct heard){ .q = q, .ip = ip };
			return true;
		}
	}
	return false;
}

/* The frame that the sockets' answer would be. */
static void answer_frame(struct frame *out, const struct frame *in, const struct bed *b)
{
	struct heard h;
	struct answer a;
	uint8_t buf[1000], *ip, *udp;
	bool v6;

	assert_true(hear(&h, in, b));
	assert_int_equal(answer_to(&h.q, buf, sizeof(buf), &a), COUNT_ANSWERED);
	v6 = h.q.from.family == ENDPOINT_IPV6;
	assert_true(endpoint_is_host(&h.q.from));
	memset(out->bytes, 0, FRAME_MAX);
	out->v6 = v6;
	out->ip = (size_t)(h.ip - in->bytes);
	memcpy(out->bytes, in->bytes + 6, 6);
	memcpy(out->bytes + 6, own_mac, 6);
	memcpy(out->bytes + 12, in->bytes + 12, out->ip - 12);
	ip = out->bytes + out->ip;
	udp = ip + ip_head(v6);
	ip[0] = v6 ? 0x60 : 0x45;
	put16(ip + (v6 ? 4 : 2), v6 ? 8 + a.len : 28 + a.len);
	ip[v6 ? 6 : 9] = 17;
	ip[v6 ? 7 : 8] = HOPS;
	if (!v6)
		ip[6] = 0x40;
	memcpy(ip + (v6 ? 8 : 12), b->places[v6].local[a.address][a.port].ip, v6 ? 16 : 4);
	memcpy(ip + (v6 ? 24 : 16), a.to.ip, v6 ? 16 : 4);
	put16(udp, b->places[v6].local[a.address][a.port].port);
	put16(udp + 2, a.to.port);
	put16(udp + 4, 8 + a.len);
	memcpy(udp + 8, buf, a.len);
	out->len = out->ip + ip_head(v6) + 8 + a.len;
	checksums_set(out);
}

static void differ(const struct bed *b, const char *what, const struct frame *in, const struct frame *out, const struct frame *want)
{
	const struct frame *frames[] = { in, out, want };

	fprintf(stderr, "%s: %s\n", b->setup->name, what);
	for (size_t i = 0; i < 3 && frames[i]; i++) {
		for (size_t k = 0; k < frames[i]->len; k++)
			fprintf(stderr, "%02x%s", frames[i]->bytes[k], k % 4 == 3 ? " " : "");
		fprintf(stderr, "\n");
	}
	fail();
}

static void compare(struct bed *b, const struct frame *in, bool bent)
{
	struct frame out, want;
	const unsigned verdict = program_run(b, in, &out);

	if (verdict == XDP_PASS) {
		if (out.len != in->len || memcmp(out.bytes, in->bytes, in->len) != 0)
			differ(b, "passed on, but changed", in, &out, NULL);
		b->passed++;
		return;
	}
	if (verdict != XDP_TX)
		differ(b, "dropped", in, NULL, NULL);
	answer_frame(&want, in, b);
	/* What the link padded the question with is there, too, and nobody's business. */
	if (out.len < want.len || memcmp(out.bytes, want.bytes, want.len) != 0 || out.len - want.len > 30)
		differ(b, "answered otherwise", in, &out, &want);
	b->answered++;
	b->bent_answered += bent;
}

/* Whether the peer has to say it, or 420 has to be said: the program has no answer then. */
static bool goes_up(const struct bed *b, const struct frame *f)
{
	struct heard h;
	struct answer a;
	uint8_t buf[1000];

	return !hear(&h, f, b) || answer_to(&h.q, buf, sizeof(buf), &a) != COUNT_ANSWERED ||
		b->places[f->v6].local[a.address][a.port].family == ENDPOINT_NONE || h.q.len > XDP_QUESTION_MAX ||
		/* between a bare question and the next longer one the program has none */
		(h.q.len != XDP_BARE_LEN && h.q.len < XDP_CHANGE_LEN + 8 && h.q.len != XDP_CHANGE_LEN) || !endpoint_is_host(&h.q.from);
}

static void a_million_frames_are_answered_as_answer_to_does_or_passed_on_unchanged(void **state)
{
	const size_t count = sizeof(setups) / sizeof(setups[0]);

	(void)state;
	for (size_t s = 0; s < count; s++) {
		struct bed b;
		struct frame f;

		bed_open(&b, &setups[s], 0);
		for (unsigned i = 0; i <= FRAMES / count; i++) {
			const bool bent = roll(10) < 7;
			unsigned long before = b.answered;

			frame_write(&f, &b, bent);
			if (bent && roll(4))
				frame_bend(&f);
			compare(&b, &f, bent);
			if (!bent && b.answered == before && !goes_up(&b, &f))
				differ(&b, "left unanswered", &f, NULL, NULL);
		}
		fprintf(stderr, "# %s: answered %lu (%lu of them bent), passed on %lu\n", setups[s].name, b.answered, b.bent_answered, b.passed);
		assert_true(b.answered > FRAMES / count / 6 && b.bent_answered > FRAMES / count / 50);
		assert_true(program_count(b.program, XDP_ANSWERED) == b.answered);
		program_free(b.program);
	}
}

/* The simplest question, of this client. */
static void frame_plain(struct frame *f, const struct bed *b, uint32_t client, bool v6)
{
	do
		frame_write(f, b, false);
	while (f->v6 != v6);
	memcpy(f->bytes + f->ip + 12, &client, 4);
	checksums_set(f);
}

static void groups_loopback_and_own_addresses_get_nothing_private_and_documentation_ranges_do(void **state)
{
	static const char *const none[] = { "0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.51.100.1",
		"198.51.100.2", "::", "::1", "::ffff:192.0.2.1", "ff02::1", "fe80::1", "2001:db8::1", "2001:db8::2" };
	static const char *const hosts[] = { "10.0.0.9", "192.168.1.1", "192.0.2.1", "203.0.113.1", "169.254.1.1", "100.64.0.1", "fd00::1",
		"2001:db8::3", "64:ff9b::1" };
	struct bed b;

	(void)state;
	bed_open(&b, &setups[0], 0);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]) + sizeof(hosts) / sizeof(hosts[0]); i++) {
		const bool host = i >= sizeof(none) / sizeof(none[0]);
		const char *text = host ? hosts[i - sizeof(none) / sizeof(none[0])] : none[i];
		struct endpoint e;
		struct frame f, out;
		unsigned verdict;

		assert_int_equal(endpoint_parse_ip(&e, text, 1), 0);
		do
			frame_plain(&f, &b, 0, e.family == ENDPOINT_IPV6);
		while (goes_up(&b, &f) && f.len < 90);
		memcpy(f.bytes + f.ip + (f.v6 ? 8 : 12), e.ip, f.v6 ? 16 : 4);
		checksums_set(&f);
		verdict = program_run(&b, &f, &out);
		if (verdict != (host ? XDP_TX : XDP_PASS))
			fail_msg("%s: verdict %u", text, verdict);
	}
	program_free(b.program);
}

static void a_source_gets_its_answers_a_second_and_no_more(void **state)
{
	struct bed b;
	struct frame f, out;
	unsigned answered[3] = { 0 }, most;
	time_t began;

	(void)state;
	bed_open(&b, &setups[0], 50);
	began = time(NULL);
	for (unsigned i = 0; i < 600; i++) {
		unsigned verdict;

		do
			frame_plain(&f, &b, htonl(0x0a000001 + i % 2), i % 3 == 2);
		while (goes_up(&b, &f));
		if (f.v6) { /* one /64 */
			memset(f.bytes + f.ip + 8, 0x20, 8);
			checksums_set(&f);
		}
		verdict = program_run(&b, &f, &out);
		answered[f.v6 ? 2 : i % 2] += verdict == XDP_TX;
		assert_true(verdict == XDP_TX || verdict == XDP_DROP);
	}
	/* A second's worth each, and what has come back meanwhile. */
	most = 50 * (2 + (unsigned)(time(NULL) - began));
	for (unsigned i = 0; i < 3; i++)
		if (answered[i] < 50 || answered[i] > most)
			fail_msg("source %u: %u answers", i, answered[i]);
	assert_true(program_count(b.program, XDP_LIMITED) == 600 - answered[0] - answered[1] - answered[2]);
	program_free(b.program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_million_frames_are_answered_as_answer_to_does_or_passed_on_unchanged),
		T(groups_loopback_and_own_addresses_get_nothing_private_and_documentation_ranges_do),
		T(a_source_gets_its_answers_a_second_and_no_more),
	};

	return RUN(tests);
}
