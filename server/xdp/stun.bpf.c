/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stun.bpf - answers Binding requests where the driver receives them (XDP).
 *
 *	frame -> Ethernet, tags -> IPv4 | IPv6 -> UDP -> message -> which answer -> limit -> the same frame back
 *
 * Whatever is not exactly what is looked for goes up to the sockets (XDP_PASS), unread and
 * unchanged, so a check here may be too strict but never too lax. The answer is written
 * over the question: room is made in front of it, where every driver leaves some, not
 * behind it, where few do.
 *
 * Memory is only ever read and written within what was compared with the packet's end just before; the kernel
 * proves that before it runs this. Multi-byte values are in network order unless their name says host.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "server/xdp/layout.h"

#define INLINE static inline __attribute__((always_inline))

#define ETH_HEAD 14
#define TAG_HEAD 4
#define UDP	 17

#define STUN_BINDING	      0x0001
#define STUN_CHANGE_REQUEST   0x0003
#define STUN_RESPONSE_PORT    0x0027
#define STUN_SOFTWARE	      0x8022
#define STUN_FINGERPRINT      0x8028
#define STUN_COOKIE	      bpf_htonl(0x2112a442)
#define STUN_FINGERPRINT_XOR  0x5354554eu
#define STUN_HEAD	      20
#define STUN_ID		      4 /* where the transaction id stands */
#define ANSWER_LEAST	      48 /* no answer is shorter, and 16 bytes at a time come to it */
#define STUN_MAPPED	      26 /* where the port of the first attribute does, an address */

const volatile struct xdp_fixed fixed = {};

/* One element each, mapped into the server's memory. */
#define MAPPED(type_of_value)                    \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_ARRAY);       \
		__uint(map_flags, BPF_F_MMAPABLE);      \
		__uint(max_entries, 1);                 \
		__type(key, uint32_t);                  \
		__type(value, type_of_value);           \
	}

MAPPED(struct xdp_answers) answers SEC(".maps");
MAPPED(struct xdp_shared) shared SEC(".maps");

/* What one run of the program has at hand. */
struct run {
	struct xdp_shared *shared;
	struct xdp_cpu *cpu;
};

char licence[] SEC("license") = "GPL";

/* Keeps the compiler from reasoning about a pointer: it would compare in ways the kernel cannot follow. */
#define OPAQUE(pointer) __asm__ volatile("" : "+r"(pointer))

/* Not what the compiler sees it initialised with. */
INLINE const struct xdp_fixed *fixed_at(void)
{
	const struct xdp_fixed *at = (const struct xdp_fixed *)&fixed;

	OPAQUE(at);
	return at;
}

INLINE uint16_t get16(const uint8_t *at)
{
	return *(const uint16_t *)at;
}

INLINE uint32_t get32(const uint8_t *at)
{
	return *(const uint32_t *)at;
}

INLINE uint64_t get64(const uint8_t *at)
{
	return *(const uint64_t *)at;
}

INLINE void put16(uint8_t *at, uint16_t v)
{
	*(uint16_t *)at = v;
}

INLINE void put32(uint8_t *at, uint32_t v)
{
	*(uint32_t *)at = v;
}

/*
 * Takes a number through memory, which the kernel's proof does not look into: what follows is then proven once,
 * not once for every way in which the number came about.
 */
#define FORGET(number, memory) (*(volatile uint64_t *)(memory) = (number), (number) = *(volatile uint64_t *)(memory))

/*
 * Likewise a place in the packet for a loop to begin at: else the proof learns in every turn that the
 * packet is longer, and what follows the loop is proven for each length.
 */
#define LOOP_FROM(run, pointer) ((pointer) + ((run)->shared->zero & 3))

/* The sum of words, a multiple of 4 bytes, for the Internet checksum. */
INLINE uint64_t sum_of(const uint8_t *at, unsigned len)
{
	uint64_t sum = 0;

#pragma unroll
	for (unsigned i = 0; i < len; i += 4)
		sum += get32(at + i);
	return sum;
}

INLINE uint16_t sum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* --- The frame --- */

/* What must be known of the frame once its bytes are gone. */
struct link {
	uint32_t client[2]; /* its MAC; the last two bytes are 0 */
	uint32_t tag[2];    /* as they came, type and control */
	uint64_t head;	    /* bytes of all of it */
	uint32_t vlan;	    /* as in struct xdp_place */
};

INLINE bool is_tag(uint16_t type)
{
	return type == bpf_htons(0x8100) || type == bpf_htons(0x88a8);
}

/* From a host to this interface alone. Returns the type of what is within, 0 for what is not for us. */
INLINE uint16_t link_read(struct link *l, const uint8_t *at, const uint8_t *end)
{
	uint16_t type;

	if (at + ETH_HEAD > end)
		return 0;
	if (get32(at) != *(const uint32_t *)fixed_at()->mac || get16(at + 4) != *(const uint16_t *)(fixed_at()->mac + 4))
		return 0;
	l->client[0] = get32(at + 6);
	l->client[1] = get16(at + 10);
	if (at[6] & 1) /* nobody sends from a group */
		return 0;
	l->head = ETH_HEAD;
	l->vlan = 0;
	type = get16(at + 12);
	for (int i = 0; i < 2 && is_tag(type); i++) {
		if (at + l->head + TAG_HEAD > end)
			return 0;
		l->tag[i] = get32(at + l->head - 2);
		l->vlan = l->vlan << 16 | XDP_TAG(bpf_ntohs(get16(at + l->head)) & 0xfff);
		type = get16(at + l->head + 2);
		l->head += TAG_HEAD;
	}
	return type;
}

/* The way back. l->head bytes are there. */
INLINE void link_write(const struct link *l, uint8_t *at, uint16_t type)
{
	put32(at, l->client[0]);
	put16(at + 4, (uint16_t)l->client[1]);
	put32(at + 6, *(const uint32_t *)fixed_at()->mac);
	put16(at + 10, *(const uint16_t *)(fixed_at()->mac + 4));
	put16(at + 12, type);
}

/* --- Addresses --- */

/* Who asks, in the holes' form. */
struct client {
	uint16_t port;
	uint32_t ip[4];
};

INLINE bool same_ip(const uint8_t *a, const uint32_t *b, const bool v6)
{
	if (!v6)
		return get32(a) == b[0];
	return get64(a) == ((uint64_t)b[1] << 32 | b[0]) && get64(a + 8) == ((uint64_t)b[3] << 32 | b[2]);
}

INLINE void ip_get(uint32_t out[4], const uint8_t *at, const bool v6)
{
	out[0] = get32(at);
	out[1] = v6 ? get32(at + 4) : 0;
	out[2] = v6 ? get32(at + 8) : 0;
	out[3] = v6 ? get32(at + 12) : 0;
}

/* Could an answer go there: one host, which is not us. What is private or for documentation is as good as any. */
INLINE bool answerable(const uint8_t *ip, const struct client *c, const struct xdp_place *place, const bool v6)
{
	if (c->port == 0)
		return false;
	if (!v6 && (ip[0] == 0 || ip[0] == 127 || ip[0] >= 224))
		return false;
	/* ::/64 with ::1 and IPv4's; multicast; link-local, which needs to know the interface */
	if (v6 && ((c->ip[0] == 0 && c->ip[1] == 0) || ip[0] == 0xff || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)))
		return false;
#pragma unroll
	for (int i = 0; i < (v6 ? 4 : 6); i++)
		if (same_ip(place->refused[i], c->ip, v6))
			return false;
	return true;
}

/* --- The message --- */

struct question {
	uint64_t len;
	uint32_t crc;		/* that FINGERPRINT tells, still to be compared */
	uint64_t response_port; /* 0: none */
	uint64_t shape;		/* XDP_SHAPES: for the sockets */
};

/* A word of a CRC that so many bytes follow; the table is made for the byte order of this machine: see xdp.c. */
INLINE uint32_t crc_word(uint32_t word, const unsigned follow)
{
	const uint32_t(*crc)[256] = fixed_at()->crc + follow;

	return crc[3][word & 255] ^ crc[2][word >> 8 & 255] ^ crc[1][word >> 16 & 255] ^ crc[0][word >> 24];
}

/* CRC-32 over the first len bytes, a multiple of 4. */
INLINE uint32_t crc_of(const struct run *r, const uint8_t *at, unsigned len, unsigned max, const uint8_t *end)
{
	uint32_t crc = 0xffffffff;

	at = LOOP_FROM(r, at);
	for (unsigned i = 0; i < max && i + 4 < len; i += 8, at += 8) {
		OPAQUE(at);
		if (at + 8 > end)
			break;
		crc = crc_word(crc ^ get32(at), 4) ^ crc_word(get32(at + 4), 0);
	}
	if (len & 4 && at + 4 <= end)
		crc = crc_word(crc ^ get32(at), 0);
	return ~crc;
}

/* An attribute that may stand in a request and changes nothing: SOFTWARE, and what nobody knows but may be left unread. */
INLINE bool is_ignored(uint16_t type)
{
	switch (type) {
	case 0x8002: /* these are known, and refused where their value is bad: PASSWORD-ALGORITHMS, ALTERNATE-DOMAIN, */
	case 0x8003:
	case 0x8023: /* ALTERNATE-SERVER, CACHE-TIMEOUT, FINGERPRINT, RESPONSE-ORIGIN, OTHER-ADDRESS */
	case 0x8027:
	case STUN_FINGERPRINT:
	case 0x802b:
	case 0x802c:
		return false;
	}
	return type >= 0x8000;
}

struct attributes {
	bool change, fingerprint, port;
	uint32_t value; /* of CHANGE-REQUEST */
	uint32_t crc;	/* that FINGERPRINT tells */
	uint16_t response_port;
};

/* Reads attributes up to the message's end: false when there is one that the sockets should see. */
INLINE bool attributes_read(struct attributes *out, const uint8_t *stun, unsigned len, const uint8_t *end)
{
	unsigned at = STUN_HEAD;

	for (int i = 0; i < XDP_ATTRIBUTES_MAX && at < len; i++) {
		const uint8_t *a = stun + (at & 0xff);
		uint16_t type, value_len;

		OPAQUE(a);
		if (a + 4 > end)
			return false;
		type = bpf_ntohs(get16(a));
		value_len = bpf_ntohs(get16(a + 2));
		if (value_len > XDP_QUESTION_MAX || out->fingerprint)
			return false;
		if (type == STUN_CHANGE_REQUEST) {
			if (value_len != 4 || a + 8 > end)
				return false;
			out->value = out->change ? out->value : a[7]; /* the first counts */
			out->change = true;
		} else if (type == STUN_RESPONSE_PORT) {
			if ((value_len != 4 && value_len != 2) || a + 8 > end)
				return false;
			out->response_port = out->port ? out->response_port : get16(a + 4);
			out->port = true;
		} else if (type == STUN_FINGERPRINT) {
			if (value_len != 4 || a + 8 > end)
				return false;
			out->fingerprint = true;
			out->crc = bpf_ntohl(get32(a + 4)) ^ STUN_FINGERPRINT_XOR;
		} else if (!is_ignored(type)) {
			return false;
		}
		at += 4 + ((value_len + 3u) & ~3u);
	}
	return at == len;
}

/* Which answer it gets. A question without attributes is all that is left of the checks in serve(). */
INLINE void question_read(struct question *q, const uint8_t *stun, const uint8_t *end)
{
	const bool classic = get32(stun + STUN_ID) != STUN_COOKIE;
	struct attributes a = {};
	unsigned asked = 0, least;

	/* Nearly every question with an attribute has just this one. */
	if (q->len == XDP_CHANGE_LEN && stun + XDP_CHANGE_LEN <= end && get32(stun + STUN_HEAD) == bpf_htonl(STUN_CHANGE_REQUEST << 16 | 4))
		a.value = stun[XDP_CHANGE_LEN - 1];
	else if (q->len > STUN_HEAD && !attributes_read(&a, stun, q->len, end))
		return;
	if ((classic && a.fingerprint) || (a.port && a.response_port == 0))
		return;
	least = a.fingerprint ? 8 : 0;
	if (q->len > XDP_BARE_LEN + least) {
		if (q->len < XDP_CHANGE_LEN + least)
			return; /* between the two that answers were made for */
		asked = 1 + (a.value >> 1 & 3);
	}
	q->crc = a.crc;
	q->response_port = a.response_port;
	q->shape = (classic ? XDP_CLASSIC : a.fingerprint ? XDP_FINGERPRINT : XDP_COOKIE) * XDP_ASKED + asked;
}

/* --- The limit --- */

/* Where a client's bucket is, or will be. */
struct source {
	struct bucket_set *set;
	uint32_t tag;
};

/* Long before it is wanted: the set is then on its way to the cache. */
INLINE void source_find(struct source *s, const struct run *r, const struct client *c, const bool v6)
{
	const uint64_t hash = bucket_hash(&fixed_at()->key, v6 ? (uint64_t)c->ip[1] << 32 | c->ip[0] : c->ip[0], v6);

	s->set = &r->shared->buckets[hash % BUCKET_SETS];
	s->tag = hash >> 32;
	(void)*(volatile uint64_t *)s->set;
}

/* Its own way of the set, or else that of the fullest bucket. */
INLINE unsigned way_of(const struct source *s, uint32_t now, uint32_t depth)
{
	uint32_t least = ~0u;
	unsigned at = 0;

#pragma unroll
	for (unsigned i = 0; i < BUCKET_WAYS; i++)
		if (s->set->ways[i].tag == s->tag)
			return i;
#pragma unroll
	for (unsigned i = 0; i < BUCKET_WAYS; i++) {
		const uint32_t lost = bucket_lost(s->set->ways[i].full, now, depth);

		at = lost < least ? i : at;
		least = lost < least ? lost : least;
	}
	return at;
}

/*
 * Takes one answer out of the source's bucket. No lock: of CPUs that take out of one bucket in the same instant one is counted, so a
 * source's bound is the rate times the CPUs its questions come in on.
 */
INLINE bool limit_take(const struct run *r, const struct source *s)
{
	const uint32_t interval = r->shared->interval, depth = r->shared->depth,
		       now = (uint32_t)(bpf_ktime_get_coarse_ns() >> XDP_TICK_BITS);
	struct bucket old, new = { .tag = s->tag };
	struct bucket *at;
	uint32_t lost;

	if (interval == 0)
		return true;
	at = &s->set->ways[way_of(s, now, depth) & (BUCKET_WAYS - 1)];
	*(uint64_t *)&old = *(volatile uint64_t *)at; /* whole, and so it is written */
	lost = interval + (old.tag == s->tag ? bucket_lost(old.full, now, depth) : 0);
	if (lost > depth)
		return false;
	new.full = now + lost;
	*(volatile uint64_t *)at = *(uint64_t *)&new;
	return true;
}

/* --- The answer --- */

/* Copies a template up to the frame's end, and no further than zeros that stand behind it. */
INLINE void answer_copy(const struct run *r, uint8_t *to, const struct xdp_answer *a, const uint8_t *end)
{
	unsigned i;

	if (to + ANSWER_LEAST > end)
		return;
#pragma unroll
	for (i = 0; i < ANSWER_LEAST / 8; i++)
		((uint64_t *)to)[i] = ((const uint64_t *)a->bytes)[i];
	to = LOOP_FROM(r, to + ANSWER_LEAST);
	for (i = ANSWER_LEAST / 16; i < XDP_ANSWER_MAX / 16; i++, to += 16) {
		OPAQUE(to);
		if (to + 16 > end)
			break;
		((uint64_t *)to)[0] = ((const uint64_t *)a->bytes)[2 * i];
		((uint64_t *)to)[1] = ((const uint64_t *)a->bytes)[2 * i + 1];
	}
	for (i *= 4; i < XDP_ANSWER_MAX / 4; i++, to += 4) {
		OPAQUE(to);
		if (to + 4 > end)
			break;
		put32(to, ((const uint32_t *)a->bytes)[i]);
	}
}

/* The port and address, plain or hidden by the id (RFC 8489 section 14.2). Returns their sum. */
INLINE uint64_t mapped_write(uint8_t *at, const struct client *c, const uint32_t *id, const bool v6)
{
	uint64_t sum = 0;

	put16(at, c->port ^ (id ? (uint16_t)id[0] : 0));
	sum += get16(at);
#pragma unroll
	for (int i = 0; i < (v6 ? 4 : 1); i++) {
		const uint32_t word = c->ip[i] ^ (id ? id[i] : 0);

		put32(at + 2 + 4 * i, word);
		sum += word;
	}
	return sum;
}

/* Fills the holes. There are a->len bytes from ip on, and of the message as many as are touched. False: there are not. */
INLINE bool answer_write(const struct run *r, uint8_t *ip, const uint8_t *end, const struct xdp_answer *a, const struct client *c, const uint32_t id[4],
	const struct question *q, const bool v6)
{
	const unsigned head = v6 ? 40 : 20, ip_len = v6 ? 16 : 4, kind = a->kind;
	const uint16_t port = q->response_port ? (uint16_t)q->response_port : c->port;
	uint8_t *udp = ip + head, *stun = udp + 8;
	uint64_t sum = a->sum + port;
	uint16_t folded;

	answer_copy(r, ip, a, end);
	if (stun + STUN_MAPPED + 2 + ip_len > end)
		return false;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		put32(stun + STUN_ID + 4 * i, id[i]);
		sum += id[i];
	}
#pragma unroll
	for (int i = 0; i < (v6 ? 4 : 1); i++) {
		put32(ip + (v6 ? 24 : 16) + 4 * i, c->ip[i]);
		sum += c->ip[i];
	}
	put16(udp + 2, port);
	sum += mapped_write(stun + STUN_MAPPED, c, kind == XDP_CLASSIC ? 0 : id, v6);
	if (kind != XDP_CLASSIC) {
		if (stun + STUN_MAPPED + 8 + 2 * ip_len + 2 > end)
			return false;
		sum += mapped_write(stun + STUN_MAPPED + 8 + ip_len, c, 0, v6);
	}
	if (kind == XDP_FINGERPRINT) {
		const unsigned at = (a->len - head - 16) & 0xff;

		if (stun + at + 8 > end)
			return false;
		put32(stun + at + 4, bpf_htonl(crc_of(r, stun, at, XDP_ANSWER_MAX, end) ^ STUN_FINGERPRINT_XOR));
		sum += get32(stun + at + 4);
	}
	folded = (uint16_t)~sum_fold(sum);
	put16(udp + 6, folded ? folded : 0xffff);
	if (!v6)
		put16(ip + 10, (uint16_t)~sum_fold((uint64_t)a->ip_sum + c->ip[0]));
	return true;
}

/* Turns the frame into the answer. */
INLINE int answer_send(struct xdp_md *ctx, const struct run *r, const struct link *l, const struct xdp_answer *a, const struct client *c,
	const uint32_t id[4], const struct question *q, const bool v6)
{
	const int asked_len = (int)q->len + (v6 ? 48 : 28);
	uint8_t *at, *end;
	const uint64_t head = l->head;

	/* What a link layer padded the question with stands behind the answer, too. */
	if (bpf_xdp_adjust_head(ctx, asked_len - (int)a->len))
		return XDP_PASS;
	at = (uint8_t *)(long)ctx->data;
	end = (uint8_t *)(long)ctx->data_end;
	if (at + ETH_HEAD > end)
		return XDP_DROP;
	link_write(l, at, head == ETH_HEAD ? bpf_htons(v6 ? 0x86dd : 0x0800) : (uint16_t)l->tag[0]);
#pragma unroll
	for (unsigned i = 0; i < 2; i++) {
		if (head > ETH_HEAD + i * TAG_HEAD) {
			if (at + ETH_HEAD + (i + 1) * TAG_HEAD > end)
				return XDP_DROP;
			put32(at + 12 + i * TAG_HEAD, l->tag[i]);
			put16(at + 16 + i * TAG_HEAD, bpf_htons(v6 ? 0x86dd : 0x0800));
		}
	}
	if (!answer_write(r, at + (head & 31), end, a, c, id, q, v6))
		return XDP_DROP; /* cannot be: the frame was made for it */
	r->cpu->of[XDP_ANSWERED]++;
	return XDP_TX;
}

/* --- What comes in --- */

/* Is it one whole UDP datagram, as long as it says? *len: of UDP header and what follows. */
INLINE bool ip_read(const uint8_t *ip, unsigned *len, const bool v6)
{
	if (v6) {
		*len = bpf_ntohs(get16(ip + 4));
		return ip[0] >> 4 == 6 && ip[6] == UDP;
	}
	*len = bpf_ntohs(get16(ip + 2)) - 20;
	return ip[0] == 0x45 && ip[9] == UDP && (get16(ip + 6) & bpf_htons(0xbfff)) == 0 && sum_fold(sum_of(ip, 20)) == 0xffff;
}

/* Is the checksum right, over the length told? A local sender leaves it to hardware that there is none of here. */
INLINE bool checksum_right(const struct run *r, const uint8_t *ip, const uint8_t *udp, unsigned len, const uint8_t *end, const bool v6)
{
	uint64_t sum = v6 ? sum_of(ip + 8, 32) : sum_of(ip + 12, 8);

	if (get16(udp + 6) == 0)
		return !v6;
	sum += bpf_htons(UDP) + (uint64_t)bpf_htons(len) + sum_of(udp, 8 + STUN_HEAD);
	udp = LOOP_FROM(r, udp + 8 + STUN_HEAD);
	for (unsigned i = 8 + STUN_HEAD; i < 8 + XDP_QUESTION_MAX && i < len; i += 4, udp += 4) {
		OPAQUE(udp);
		if (udp + 4 > end)
			return false;
		sum += get32(udp);
	}
	return sum_fold(sum) == 0xffff;
}

/* Answers a datagram to this endpoint of ours. */
INLINE int answer(struct xdp_md *ctx, const struct run *r, struct link *l, uint8_t *ip, const uint8_t *end, unsigned address,
	unsigned port, const bool v6)
{
	const uint8_t *udp = ip + (v6 ? 40 : 20), *stun = udp + 8;
	struct question q = { .shape = XDP_SHAPES };
	struct client c = { .port = get16(udp) };
	struct source source;
	const uint32_t only = 0;
	const struct xdp_answers *all;
	const struct xdp_answer *a;
	uint32_t id[4];
	unsigned len;

	ip_get(c.ip, ip + (v6 ? 8 : 12), v6);
	source_find(&source, r, &c, v6);
	if (!ip_read(ip, &len, v6) || len < 8 + STUN_HEAD || len > 8 + XDP_QUESTION_MAX || get16(udp + 4) != bpf_htons(len))
		return XDP_PASS;
	q.len = len - 8;
	if (get16(stun) != bpf_htons(STUN_BINDING) || get16(stun + 2) != bpf_htons(q.len - STUN_HEAD) || q.len % 4)
		return XDP_PASS;
	if (stun + q.len > end || !checksum_right(r, ip, udp, len, end, v6))
		return XDP_PASS;
	if (!answerable(ip + (v6 ? 8 : 12), &c, &fixed_at()->places[v6], v6))
		return XDP_PASS;
	ip_get(id, stun + STUN_ID, true);
	question_read(&q, stun, end);
	FORGET(q.len, &r->cpu->scratch);
	FORGET(q.shape, &r->cpu->scratch);
	if (q.shape >= XDP_SHAPES)
		return XDP_PASS;
	if (q.shape >= XDP_FINGERPRINT * XDP_ASKED && crc_of(r, stun, q.len - 8, XDP_QUESTION_MAX, end) != q.crc)
		return XDP_PASS;
	all = bpf_map_lookup_elem(&answers, &only);
	if (!all)
		return XDP_PASS;
	a = &all->of[r->shared->bank[v6] & 1][v6][address][port][q.shape];
	if (a->len == 0 || a->len > XDP_ANSWER_MAX)
		return XDP_PASS;
	if (!limit_take(r, &source)) {
		r->cpu->of[XDP_LIMITED]++;
		return XDP_DROP;
	}
	return answer_send(ctx, r, l, a, &c, id, &q, v6);
}

/* Is it for an endpoint of this family that stands here? */
INLINE int serve(struct xdp_md *ctx, const struct run *r, struct link *l, uint8_t *ip, const uint8_t *end, const bool v6)
{
	const struct xdp_place *place = &fixed_at()->places[v6];
	const uint8_t *udp = ip + (v6 ? 40 : 20);
	unsigned address, port;
	uint32_t to[4];
	int verdict;

	if (udp + 8 + STUN_HEAD > end)
		return XDP_PASS;
	ip_get(to, ip + (v6 ? 24 : 16), v6);
	if (same_ip(place->local[0], to, v6))
		address = 0;
	else if (same_ip(place->local[1], to, v6))
		address = 1;
	else
		return XDP_PASS;
	if (get16(udp + 2) == place->port[0])
		port = 0;
	else if (get16(udp + 2) == place->port[1])
		port = 1;
	else
		return XDP_PASS;
	if (l->vlan != place->tags[address])
		return XDP_PASS;
	verdict = answer(ctx, r, l, ip, end, address, port, v6);
	if (verdict == XDP_PASS)
		r->cpu->of[XDP_PASSED]++;
	return verdict;
}

SEC("xdp")
int stun(struct xdp_md *ctx)
{
	uint8_t *at = (uint8_t *)(long)ctx->data, *end = (uint8_t *)(long)ctx->data_end;
	const uint32_t cpu = bpf_get_smp_processor_id(), only = 0;
	struct run r = { .shared = bpf_map_lookup_elem(&shared, &only) };
	struct link l;

	if (!r.shared || cpu >= XDP_CPUS)
		return XDP_PASS;
	r.cpu = &r.shared->cpus[cpu];
	switch (link_read(&l, at, end)) {
	case bpf_htons(0x0800):
		return serve(ctx, &r, &l, at + (l.head & 31), end, false);
	case bpf_htons(0x86dd):
		return serve(ctx, &r, &l, at + (l.head & 31), end, true);
	default:
		return XDP_PASS;
	}
}
