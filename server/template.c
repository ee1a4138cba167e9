/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/template.h"

#include <string.h>

#include "lib/stun.h"

#define ID	    4			  /* where the transaction id stands */
#define VALUE	    (STUN_HEADER_LEN + 4) /* where the first attribute's value does, the mapped address */
#define PORT_AND_IP 2			  /* where they stand in such a value */
#define BARE_LEN    STUN_HEADER_LEN
#define CHANGE_LEN  (STUN_HEADER_LEN + 8)

/* The first 4 bytes of a Binding request that is nothing but a header; with CHANGE-REQUEST; and that attribute's. */
static const uint8_t bare[4] = { 0, 1, 0, 0 }, with_change[4] = { 0, 1, 0, 8 }, change_request[4] = { 0, 3, 0, 4 };
static const uint8_t cookie[4] = { 0x21, 0x12, 0xa4, 0x42 };

/* The port and address bytes of a mapped address, in network order: 6 or 18. */
struct mapped {
	uint8_t bytes[18];
};

static struct mapped mapped_of(const struct endpoint *e)
{
	struct mapped m = { { (uint8_t)(e->port >> 8), (uint8_t)e->port } };

	memcpy(m.bytes + 2, e->ip, sizeof(e->ip));
	return m;
}

/* XOR-MAPPED-ADDRESS: the port with the id's first 2 bytes, the address with all of it. RFC 8489 section 14.2. */
static void mapped_xor(struct mapped *m, const uint8_t id[STUN_ID_LEN])
{
	m->bytes[0] ^= id[0];
	m->bytes[1] ^= id[1];
	for (size_t i = 0; i < STUN_ID_LEN; i++)
		m->bytes[2 + i] ^= id[i];
}

/* Which of the shapes a question has, or -1. */
static int shape_of(const uint8_t *bytes, size_t len)
{
	int asked;

	if (len == BARE_LEN && memcmp(bytes, bare, 4) == 0)
		asked = 0;
	else if (len == CHANGE_LEN && memcmp(bytes, with_change, 4) == 0 &&
		memcmp(bytes + STUN_HEADER_LEN, change_request, 4) == 0)
		asked = 1 + (bytes[CHANGE_LEN - 1] >> 1 & 3); /* its other bits mean nothing */
	else
		return -1;
	return asked + (memcmp(bytes + ID, cookie, 4) == 0 ? TEMPLATE_ASKED : 0);
}

bool template_answer(const struct templates *t, const struct question *q, void *buf, struct answer *out)
{
	const int shape = shape_of(q->bytes, q->len);

	if (shape < 0)
		return false;
	const struct template *it = &t->of[q->address][q->port][shape];
	const uint8_t *id = (const uint8_t *)q->bytes + ID;
	const size_t ip_len = q->from.family == ENDPOINT_IPV6 ? 16 : 4;
	struct mapped m = mapped_of(&q->from);
	uint8_t *at = buf;

	if (it->len == 0)
		return false;
	memcpy(at, it->bytes, TEMPLATE_MAX);
	memcpy(at + ID, id, STUN_ID_LEN);
	if (shape >= TEMPLATE_ASKED) { /* XOR-MAPPED-ADDRESS, and MAPPED-ADDRESS behind it */
		memcpy(at + VALUE + 4 + ip_len + 4 + PORT_AND_IP, m.bytes, 2 + ip_len);
		mapped_xor(&m, id);
	}
	memcpy(at + VALUE + PORT_AND_IP, m.bytes, 2 + ip_len);
	*out = (struct answer){ .len = it->len, .address = it->address, .port = it->port, .to = q->from };
	return true;
}

/* A question of this shape, as bytes; returns its length. */
static size_t question_write(uint8_t bytes[CHANGE_LEN], int shape)
{
	const int asked = shape % TEMPLATE_ASKED;

	memset(bytes, 0, CHANGE_LEN);
	memcpy(bytes, asked ? with_change : bare, 4);
	if (shape >= TEMPLATE_ASKED)
		memcpy(bytes + ID, cookie, 4);
	if (asked == 0)
		return BARE_LEN;
	memcpy(bytes + STUN_HEADER_LEN, change_request, 4);
	bytes[CHANGE_LEN - 1] = (uint8_t)((asked - 1) << 1);
	return CHANGE_LEN;
}

static void template_make(struct template *out, struct question *q, int shape)
{
	uint8_t bytes[CHANGE_LEN], buf[ANSWER_TCP_MAX];
	struct answer a;

	q->bytes = bytes;
	q->len = question_write(bytes, shape);
	*out = (struct template){ 0 };
	if (answer_to(q, buf, sizeof(buf), &a) != COUNT_ANSWERED || a.len > TEMPLATE_MAX)
		return;
	memcpy(out->bytes, buf, a.len);
	out->len = (uint8_t)a.len;
	out->address = (uint8_t)a.address;
	out->port = (uint8_t)a.port;
}

void templates_make(struct templates *out, const struct site *site)
{
	for (unsigned i = 0; i < SITE_ADDRESSES * SITE_PORTS; i++) {
		const unsigned address = i / SITE_PORTS, port = i % SITE_PORTS;
		const struct endpoint *here = &site->origin[address][port];
		struct question q = { .site = site, .address = address, .port = port, .from = { .family = here->family } };

		for (int shape = 0; shape < TEMPLATE_SHAPES; shape++)
			if (here->family != ENDPOINT_NONE)
				template_make(&out->of[address][port][shape], &q, shape);
			else
				out->of[address][port][shape].len = 0;
	}
}
