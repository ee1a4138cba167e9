/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/xdp/answers.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/stun.h"
#include "server/template.h"

#define UDP_HEAD 8
#define DF	 0x40
#define VALUE	 (STUN_HEADER_LEN + 4) /* where the first attribute's value stands */

static_assert(XDP_ANSWER_MAX >= 40 + UDP_HEAD + TEMPLATE_MAX, "the longest answer fits");
static_assert(XDP_BARE_LEN == STUN_HEADER_LEN && XDP_CHANGE_LEN == STUN_HEADER_LEN + 8, "as the program has it");

static void zero(uint8_t *at, size_t len)
{
	memset(at, 0, len);
}

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/* One's complement sum of words as they stand in memory, folded. */
static uint16_t sum_of(const uint8_t *at, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2) {
		uint16_t word;

		memcpy(&word, at + i, sizeof(word));
		sum += word;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* A question of this shape; with filler, longer by an attribute that asks for nothing. Its length. */
static size_t question_write(uint8_t *buf, size_t max, unsigned kind, unsigned asked, bool filler)
{
	static const uint8_t chosen[12], text[40];
	uint8_t id[STUN_ID_LEN] = { 0 };
	struct stun_builder b;

	if (kind != XDP_CLASSIC)
		stun_id(id, chosen);
	stun_begin(&b, buf, max, STUN_REQUEST, STUN_BINDING, id);
	if (asked > 0)
		stun_put_u32(&b, STUN_CHANGE_REQUEST, (asked - 1) << 1);
	if (filler)
		stun_put_bytes(&b, STUN_SOFTWARE, text, sizeof(text));
	if (kind == XDP_FINGERPRINT)
		stun_put_fingerprint(&b);
	return stun_end(&b);
}

/* Where the message's mapped addresses stand: they are holes. */
static void mapped_clear(uint8_t *message, unsigned kind, size_t ip_len)
{
	zero(message + VALUE + 2, 2 + ip_len);
	if (kind != XDP_CLASSIC)
		zero(message + VALUE + 4 + ip_len + 4 + 2, 2 + ip_len);
}

/* The message that answers a question of this shape, with holes; how long, 0 for none. *from: by which socket. */
static size_t message_write(uint8_t buf[ANSWER_TCP_MAX], struct answer *from, struct question *q, unsigned kind, unsigned asked,
	bool filler)
{
	uint8_t asking[XDP_QUESTION_MAX];

	q->bytes = asking;
	q->len = question_write(asking, sizeof(asking), kind, asked, filler);
	if (answer_to(q, buf, ANSWER_TCP_MAX, from) != COUNT_ANSWERED || from->len > TEMPLATE_MAX)
		return 0;
	zero(buf + 4, STUN_ID_LEN);
	mapped_clear(buf, kind, endpoint_ip_len(&q->from));
	if (kind == XDP_FINGERPRINT)
		zero(buf + from->len - 4, 4);
	return from->len;
}

/* IP and UDP header before a message of len bytes. Like the socket's: may not be fragmented, so needs no identification. */
static size_t headers_write(uint8_t *at, const struct endpoint *from, size_t len, uint8_t hops)
{
	const bool v6 = from->family == ENDPOINT_IPV6;
	const size_t head = v6 ? 40 : 20, datagram = UDP_HEAD + len;

	zero(at, head + UDP_HEAD);
	at[0] = v6 ? 0x60 : 0x45;
	put16(at + (v6 ? 4 : 2), v6 ? datagram : head + datagram);
	at[v6 ? 6 : 9] = IPPROTO_UDP;
	at[v6 ? 7 : 8] = hops;
	if (!v6)
		at[6] = DF;
	memcpy(at + (v6 ? 8 : 12), from->ip, endpoint_ip_len(from));
	put16(at + head, from->port);
	put16(at + head + 4, datagram);
	return head + UDP_HEAD;
}

/* The sums over everything that is no hole; the pseudo header has addresses, protocol and the UDP length once more. */
static void sums_make(struct xdp_answer *a, bool v6)
{
	const size_t head = v6 ? 40 : 20;
	const uint32_t datagram = a->len - (uint32_t)head;
	const uint32_t sum = (uint32_t)sum_of(a->bytes + (v6 ? 8 : 12), v6 ? 16 : 4) + sum_of(a->bytes + head, datagram) +
		htons(IPPROTO_UDP) + htons((uint16_t)datagram);

	a->ip_sum = v6 ? 0 : sum_of(a->bytes, head);
	a->sum = (uint16_t)((sum & 0xffff) + (sum >> 16));
	if (a->sum < (sum >> 16)) /* the carry's own carry */
		a->sum++;
}

static void answer_make(struct xdp_answer *out, const struct place *place, const struct standing *s, struct question *q, unsigned kind,
	unsigned asked)
{
	uint8_t message[ANSWER_TCP_MAX], longer[ANSWER_TCP_MAX];
	struct answer from;
	const size_t len = message_write(message, &from, q, kind, asked, false);
	const bool away = from.address != q->address;
	size_t head;

	if (len == 0 || (away && (!s->together || !s->here[from.address])))
		return;
	/* The program gives it to longer questions, too: they must not have room for more. */
	if (asked > 0 && (message_write(longer, &from, q, kind, asked, true) != len || memcmp(message, longer, len) != 0))
		return;
	head = headers_write(out->bytes, &place->local[from.address][from.port], len, s->hops);
	memcpy(out->bytes + head, message, len);
	out->len = (uint16_t)(head + len);
	out->kind = (uint16_t)kind;
	sums_make(out, q->from.family == ENDPOINT_IPV6);
}

/* Every answer from what a site is. */
static void bank_make(struct xdp_answer out[XDP_ADDRESSES][XDP_PORTS][XDP_SHAPES], const struct place *place, const struct site *site,
	const struct standing *s)
{
	for (unsigned i = 0; i < XDP_ADDRESSES * XDP_PORTS * XDP_SHAPES; i++) {
		const unsigned address = i / XDP_SHAPES / XDP_PORTS, port = i / XDP_SHAPES % XDP_PORTS, shape = i % XDP_SHAPES;
		const struct endpoint *here = &place->local[address][port];
		struct question q = { .site = site, .address = address, .port = port, .from = { .family = here->family } };

		if (here->family != ENDPOINT_NONE && s->here[address])
			answer_make(&out[address][port][shape], place, s, &q, shape / XDP_ASKED, shape % XDP_ASKED);
	}
}

static void place_make(struct xdp_place *out, const struct place *place, const struct standing *s)
{
	for (unsigned i = 0; i < XDP_ADDRESSES; i++) {
		const struct endpoint *local = &place->local[i][0];

		memcpy(out->refused[i], local->ip, sizeof(local->ip));
		memcpy(out->refused[2 + i], place->site.origin[i][0].ip, sizeof(local->ip));
		memcpy(out->refused[4 + i], &s->broadcast[i], sizeof(s->broadcast[i]));
		if (local->family == ENDPOINT_NONE || !s->here[i])
			continue;
		memcpy(out->local[i], local->ip, sizeof(local->ip));
		out->tags[i] = s->tags[i];
	}
	for (unsigned i = 0; i < XDP_PORTS; i++)
		out->port[i] = htons(place->local[0][i].port);
}

void answers_make(struct xdp_fixed *fixed, struct xdp_answers *answers, const struct place *place, const struct standing *standing)
{
	const unsigned family = place->local[0][0].family == ENDPOINT_IPV6;
	struct site alone = place->site;

	memset(alone.origin[1], 0, sizeof(alone.origin[1]));
	place_make(&fixed->places[family], place, standing);
	bank_make(answers->of[0][family], place, &place->site, standing);
	if (place->peered)
		bank_make(answers->of[1][family], place, &alone, standing);
}
