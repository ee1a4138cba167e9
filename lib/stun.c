/* SPDX-License-Identifier: MIT */
#include "lib/stun.h"

#include <assert.h>
#include <errno.h>

#define ANY 0xffff
#define TEXT 763 /* 127 characters of up to 6 bytes, RFC 8489 section 14.14 and RFC 3629 before it */

/* Sorted by type. */
static const struct stun_row rows[] = {
	{ STUN_MAPPED_ADDRESS, 8, 20, STUN_LAYOUT_ADDRESS, "MAPPED-ADDRESS", "RFC 8489 section 14.1" },
	{ STUN_RESPONSE_ADDRESS, 8, 20, STUN_LAYOUT_ADDRESS, "RESPONSE-ADDRESS", "RFC 3489 section 11.2.2" },
	{ STUN_CHANGE_REQUEST, 4, 4, STUN_LAYOUT_U32, "CHANGE-REQUEST", "RFC 5780 section 7.2" },
	{ STUN_SOURCE_ADDRESS, 8, 20, STUN_LAYOUT_ADDRESS, "SOURCE-ADDRESS", "RFC 3489 section 11.2.5" },
	{ STUN_CHANGED_ADDRESS, 8, 20, STUN_LAYOUT_ADDRESS, "CHANGED-ADDRESS", "RFC 3489 section 11.2.3" },
	{ STUN_USERNAME, 0, 512, STUN_LAYOUT_BYTES, "USERNAME", "RFC 8489 section 14.3" },
	{ STUN_PASSWORD, 0, TEXT, STUN_LAYOUT_BYTES, "PASSWORD", "RFC 3489 section 11.2.7" },
	{ STUN_MESSAGE_INTEGRITY, 20, 20, STUN_LAYOUT_BYTES, "MESSAGE-INTEGRITY", "RFC 8489 section 14.5" },
	{ STUN_ERROR_CODE, 4, 4 + TEXT, STUN_LAYOUT_ERROR, "ERROR-CODE", "RFC 8489 section 14.8" },
	{ STUN_UNKNOWN_ATTRIBUTES, 0, 2 * STUN_TYPES_MAX, STUN_LAYOUT_TYPES, "UNKNOWN-ATTRIBUTES", "RFC 8489 section 14.13" },
	{ STUN_REFLECTED_FROM, 8, 20, STUN_LAYOUT_ADDRESS, "REFLECTED-FROM", "RFC 3489 section 11.2.11" },
	{ STUN_REALM, 0, TEXT, STUN_LAYOUT_BYTES, "REALM", "RFC 8489 section 14.9" },
	{ STUN_NONCE, 0, TEXT, STUN_LAYOUT_BYTES, "NONCE", "RFC 8489 section 14.10" },
	{ STUN_MESSAGE_INTEGRITY_SHA256, 16, 32, STUN_LAYOUT_BYTES, "MESSAGE-INTEGRITY-SHA256", "RFC 8489 section 14.6" },
	{ STUN_PASSWORD_ALGORITHM, 4, ANY, STUN_LAYOUT_BYTES, "PASSWORD-ALGORITHM", "RFC 8489 section 14.12" },
	{ STUN_USERHASH, 32, 32, STUN_LAYOUT_BYTES, "USERHASH", "RFC 8489 section 14.4" },
	{ STUN_XOR_MAPPED_ADDRESS, 8, 20, STUN_LAYOUT_XOR_ADDRESS, "XOR-MAPPED-ADDRESS", "RFC 8489 section 14.2" },
	{ STUN_PADDING, 0, ANY, STUN_LAYOUT_BYTES, "PADDING", "RFC 5780 section 7.6" },
	{ STUN_RESPONSE_PORT, 2, 4, STUN_LAYOUT_PORT, "RESPONSE-PORT", "RFC 5780 section 7.5" },
	{ STUN_PASSWORD_ALGORITHMS, 0, ANY, STUN_LAYOUT_BYTES, "PASSWORD-ALGORITHMS", "RFC 8489 section 14.11" },
	{ STUN_ALTERNATE_DOMAIN, 0, 255, STUN_LAYOUT_BYTES, "ALTERNATE-DOMAIN", "RFC 8489 section 14.16" },
	{ STUN_SOFTWARE, 0, TEXT, STUN_LAYOUT_BYTES, "SOFTWARE", "RFC 8489 section 14.14" },
	{ STUN_ALTERNATE_SERVER, 8, 20, STUN_LAYOUT_ADDRESS, "ALTERNATE-SERVER", "RFC 8489 section 14.15" },
	{ STUN_CACHE_TIMEOUT, 4, 4, STUN_LAYOUT_U32, "CACHE-TIMEOUT", "RFC 5780 section 7.1" },
	{ STUN_FINGERPRINT, 4, 4, STUN_LAYOUT_U32, "FINGERPRINT", "RFC 8489 section 14.7" },
	{ STUN_RESPONSE_ORIGIN, 8, 20, STUN_LAYOUT_ADDRESS, "RESPONSE-ORIGIN", "RFC 5780 section 7.3" },
	{ STUN_OTHER_ADDRESS, 8, 20, STUN_LAYOUT_ADDRESS, "OTHER-ADDRESS", "RFC 5780 section 7.4" },
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))
static_assert(ROW_COUNT <= STUN_ROWS, "stun_message.at needs a place for each row");

const struct stun_row *stun_row_at(size_t i)
{
	return i < ROW_COUNT ? &rows[i] : NULL;
}

const struct stun_row *stun_row(uint16_t type)
{
	for (size_t low = 0, high = ROW_COUNT; low < high;) {
		const size_t mid = (low + high) / 2;

		if (rows[mid].type == type)
			return &rows[mid];
		if (rows[mid].type < type)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* crc_nibbles[k][n]: what nibble n does to a CRC-32 (ITU V.42) when k more follow it. The first row is the usual table. */
static const uint32_t crc_nibbles[8][16] = {
	{ 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c },
	{ 0x00000000, 0x77073096, 0xee0e612c, 0x990951ba, 0x076dc419, 0x706af48f, 0xe963a535, 0x9e6495a3,
		0x0edb8832, 0x79dcb8a4, 0xe0d5e91e, 0x97d2d988, 0x09b64c2b, 0x7eb17cbd, 0xe7b82d07, 0x90bf1d91 },
	{ 0x00000000, 0x4ac21251, 0x958424a2, 0xdf4636f3, 0xf0794f05, 0xbabb5d54, 0x65fd6ba7, 0x2f3f79f6,
		0x3b83984b, 0x71418a1a, 0xae07bce9, 0xe4c5aeb8, 0xcbfad74e, 0x8138c51f, 0x5e7ef3ec, 0x14bce1bd },
	{ 0x00000000, 0x191b3141, 0x32366282, 0x2b2d53c3, 0x646cc504, 0x7d77f445, 0x565aa786, 0x4f4196c7,
		0xc8d98a08, 0xd1c2bb49, 0xfaefe88a, 0xe3f4d9cb, 0xacb54f0c, 0xb5ae7e4d, 0x9e832d8e, 0x87981ccf },
	{ 0x00000000, 0x1c26a370, 0x384d46e0, 0x246be590, 0x709a8dc0, 0x6cbc2eb0, 0x48d7cb20, 0x54f16850,
		0xe1351b80, 0xfd13b8f0, 0xd9785d60, 0xc55efe10, 0x91af9640, 0x8d893530, 0xa9e2d0a0, 0xb5c473d0 },
	{ 0x00000000, 0x01c26a37, 0x0384d46e, 0x0246be59, 0x0709a8dc, 0x06cbc2eb, 0x048d7cb2, 0x054f1685,
		0x0e1351b8, 0x0fd13b8f, 0x0d9785d6, 0x0c55efe1, 0x091af964, 0x08d89353, 0x0a9e2d0a, 0x0b5c473d },
	{ 0x00000000, 0x5019579f, 0xa032af3e, 0xf02bf8a1, 0x9b14583d, 0xcb0d0fa2, 0x3b26f703, 0x6b3fa09c,
		0xed59b63b, 0xbd40e1a4, 0x4d6b1905, 0x1d724e9a, 0x764dee06, 0x2654b999, 0xd67f4138, 0x866616a7 },
	{ 0x00000000, 0xb8bc6765, 0xaa09c88b, 0x12b5afee, 0x8f629757, 0x37def032, 0x256b5fdc, 0x9dd738b9,
		0xc5b428ef, 0x7d084f8a, 0x6fbde064, 0xd7018701, 0x4ad6bfb8, 0xf26ad8dd, 0xe0df7733, 0x58631056 },
};

/* As FINGERPRINT wants it. Eight nibbles at a time, whose lookups do not wait for one another: half a kilobyte of table. */
static uint32_t crc32_of(const uint8_t *at, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (; len >= 4; len -= 4, at += 4) {
		const uint32_t word = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);

		crc = 0;
		for (unsigned k = 0; k < 8; k++)
			crc ^= crc_nibbles[7 - k][word >> 4 * k & 15];
	}
	for (; len > 0; len--, at++) {
		crc = crc >> 4 ^ crc_nibbles[0][(crc ^ *at) & 15];
		crc = crc >> 4 ^ crc_nibbles[0][(crc ^ *at >> 4) & 15];
	}
	return ~crc;
}

/* FINGERPRINT's value for a message of which len bytes stand before that attribute. */
static uint32_t fingerprint(const uint8_t *message, size_t len)
{
	return crc32_of(message, len) ^ 0x5354554eu;
}

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

/* The 14 bits of class and method are interleaved, RFC 8489 section 5 figure 3. */
static enum stun_class type_class(uint16_t type)
{
	return (enum stun_class)((type >> 4 & 1) | (type >> 7 & 2));
}

static uint16_t type_method(uint16_t type)
{
	return (uint16_t)((type & 0xf) | (type >> 1 & 0x70) | (type >> 2 & 0xf80));
}

static uint16_t type_of(enum stun_class class, uint16_t method)
{
	return (uint16_t)((method & 0xf) | (method & 0x70) << 1 | (method & 0xf80) << 2 | ((unsigned)class & 1) << 4 |
		((unsigned)class & 2) << 7);
}

int stun_stream_len(const void *bytes, size_t len)
{
	struct reader r = { .at = bytes, .left = len };
	const uint16_t type = read_u16(&r);
	const uint16_t body = read_u16(&r);

	if (len >= 1 && *(const uint8_t *)bytes & 0xc0)
		return -EBADMSG;
	if (r.overrun)
		return 0;
	if (type & 0xc000 || body % 4 != 0)
		return -EBADMSG;
	return STUN_HEADER_LEN + body;
}

bool stun_next(const struct stun_message *m, size_t *offset, struct stun_attr *out)
{
	const size_t from = *offset ? *offset : STUN_HEADER_LEN;
	struct reader r = { .at = m->bytes + from, .left = m->len - from };
	struct stun_attr a = { .type = read_u16(&r), .len = read_u16(&r) };

	a.value = read_bytes(&r, a.len);
	read_bytes(&r, padded(a.len) - a.len);
	if (r.overrun)
		return false;
	*offset = (size_t)(r.at - m->bytes);
	*out = a;
	return true;
}

static void note_unknown(struct stun_message *m, uint16_t type)
{
	for (size_t i = 0; i < m->unknown_count; i++)
		if (m->unknown[i] == type)
			return;
	if (m->unknown_count < STUN_UNKNOWN_MAX)
		m->unknown[m->unknown_count++] = type;
}

/* Takes note of one attribute that begins at offset. */
static void note_attr(struct stun_message *m, const struct stun_attr *a, size_t offset)
{
	const struct stun_row *row = stun_row(a->type);
	struct stun_value ignored;

	if (!row) {
		if (a->type < 0x8000)
			note_unknown(m, a->type);
		return;
	}
	if (m->at[row - rows])
		return; /* the first of a kind counts, RFC 8489 section 14 */
	m->at[row - rows] = (uint16_t)offset;
	if (!m->malformed && stun_value_decode(&ignored, a, m->id) < 0)
		m->malformed = a->type;
}

static bool counts_after_integrity(uint16_t type)
{
	return type == STUN_FINGERPRINT || type == STUN_MESSAGE_INTEGRITY_SHA256;
}

static bool fingerprint_right(const struct stun_message *m, const struct stun_attr *a, size_t offset, size_t next)
{
	struct reader r = { .at = a->value, .left = a->len };

	return a->len == 4 && next == m->len && read_u32(&r) == fingerprint(m->bytes, offset);
}

static int note_attrs(struct stun_message *m)
{
	size_t offset = STUN_HEADER_LEN;
	bool integrity = false;

	while (offset < m->len) {
		const size_t begin = offset;
		struct stun_attr a;

		if (!stun_next(m, &offset, &a))
			return -EBADMSG;
		if (a.type == STUN_FINGERPRINT && !m->classic && !fingerprint_right(m, &a, begin, offset))
			return -EBADMSG;
		if (!integrity || counts_after_integrity(a.type))
			note_attr(m, &a, begin);
		integrity |= a.type == STUN_MESSAGE_INTEGRITY || a.type == STUN_MESSAGE_INTEGRITY_SHA256;
	}
	return 0;
}

int stun_decode(struct stun_message *out, const void *bytes, size_t len)
{
	struct reader r = { .at = bytes, .left = len };
	const uint16_t type = read_u16(&r);
	const uint16_t body = read_u16(&r);
	const uint8_t *id = read_bytes(&r, STUN_ID_LEN);
	struct stun_message m = { .class = type_class(type), .method = type_method(type), .bytes = bytes, .len = len };
	int err;

	if (r.overrun || type & 0xc000 || body % 4 != 0 || body != r.left || len > STUN_MESSAGE_MAX)
		return -EBADMSG;
	memcpy(m.id, id, STUN_ID_LEN);
	r = (struct reader){ .at = id, .left = 4 };
	m.classic = read_u32(&r) != STUN_COOKIE;
	err = note_attrs(&m);
	if (err < 0)
		return err;
	*out = m;
	return 0;
}

bool stun_has(const struct stun_message *m, uint16_t type)
{
	const struct stun_row *row = stun_row(type);

	return row && m->at[row - rows] != 0;
}

int stun_get(const struct stun_message *m, uint16_t type, struct stun_value *out)
{
	const struct stun_row *row = stun_row(type);
	struct stun_attr a;
	size_t offset;

	if (!row || !m->at[row - rows])
		return -ENOENT;
	offset = m->at[row - rows];
	if (!stun_next(m, &offset, &a))
		return -EBADMSG;
	return stun_value_decode(out, &a, m->id);
}

int stun_mapped(const struct stun_message *m, struct endpoint *out)
{
	struct stun_value v;
	int err = stun_get(m, STUN_XOR_MAPPED_ADDRESS, &v);

	if (err == -ENOENT)
		err = stun_get(m, STUN_MAPPED_ADDRESS, &v);
	if (err == 0)
		*out = v.endpoint;
	return err;
}

/* XOR-MAPPED-ADDRESS hides the address from NATs that rewrite it: its own inverse. */
static void xor_endpoint(struct endpoint *e, const uint8_t id[STUN_ID_LEN])
{
	e->port ^= (uint16_t)(id[0] << 8 | id[1]);
	for (size_t i = 0; i < endpoint_ip_len(e); i++)
		e->ip[i] ^= id[i];
}

static int address_decode(struct endpoint *out, struct reader *r)
{
	struct endpoint e = { 0 };
	const uint8_t *ip;

	read_u8(r); /* ignored */
	switch (read_u8(r)) {
	case 1:
		e.family = ENDPOINT_IPV4;
		break;
	case 2:
		e.family = ENDPOINT_IPV6;
		break;
	default:
		return -EBADMSG;
	}
	e.port = read_u16(r);
	ip = read_bytes(r, endpoint_ip_len(&e));
	if (r->overrun || r->left != 0)
		return -EBADMSG;
	memcpy(e.ip, ip, endpoint_ip_len(&e));
	*out = e;
	return 0;
}

static int error_decode(struct stun_value *v, struct reader *r)
{
	uint8_t class, number;

	read_bytes(r, 2); /* reserved */
	class = read_u8(r) & 7;
	number = read_u8(r);
	if (r->overrun || class < 3 || class > 6 || number > 99)
		return -EBADMSG;
	v->error.code = (uint16_t)(class * 100 + number);
	v->error.reason = r->at;
	v->error.reason_len = r->left;
	return 0;
}

static int types_decode(struct stun_value *v, struct reader *r)
{
	if (r->left % 2 != 0)
		return -EBADMSG;
	for (v->types.count = 0; r->left > 0; v->types.count++)
		v->types.list[v->types.count] = read_u16(r);
	return 0;
}

int stun_value_decode(struct stun_value *out, const struct stun_attr *attr, const uint8_t id[STUN_ID_LEN])
{
	const struct stun_row *row = stun_row(attr->type);
	struct reader r = { .at = attr->value, .left = attr->len };
	struct stun_value v = { .layout = row ? row->layout : STUN_LAYOUT_BYTES };
	int err = 0;

	if (row && (attr->len < row->min || attr->len > row->max))
		return -EBADMSG;
	switch (v.layout) {
	case STUN_LAYOUT_BYTES:
		v.bytes.at = attr->value;
		v.bytes.len = attr->len;
		break;
	case STUN_LAYOUT_ADDRESS:
	case STUN_LAYOUT_XOR_ADDRESS:
		err = address_decode(&v.endpoint, &r);
		if (v.layout == STUN_LAYOUT_XOR_ADDRESS)
			xor_endpoint(&v.endpoint, id);
		break;
	case STUN_LAYOUT_U32:
		v.u32 = read_u32(&r);
		break;
	case STUN_LAYOUT_PORT:
		v.u32 = read_u16(&r);
		err = attr->len == 3 ? -EBADMSG : 0;
		break;
	case STUN_LAYOUT_ERROR:
		err = error_decode(&v, &r);
		break;
	case STUN_LAYOUT_TYPES:
		err = types_decode(&v, &r);
		break;
	}
	if (err == 0)
		*out = v;
	return err;
}

void stun_id(uint8_t out[STUN_ID_LEN], const uint8_t chosen[12])
{
	struct writer w = writer_new(out, STUN_ID_LEN);

	write_u32(&w, STUN_COOKIE);
	write_bytes(&w, chosen, 12);
}

void stun_begin(struct stun_builder *b, void *buf, size_t max, enum stun_class class, uint16_t method,
	const uint8_t id[STUN_ID_LEN])
{
	b->w = writer_new(buf, max);
	write_u16(&b->w, type_of(class, method));
	write_u16(&b->w, 0); /* length: stun_end */
	write_bytes(&b->w, id, STUN_ID_LEN);
}

static void address_encode(struct writer *w, const struct endpoint *e)
{
	write_u8(w, 0);
	write_u8(w, e->family == ENDPOINT_IPV6 ? 2 : 1);
	write_u16(w, e->port);
	write_bytes(w, e->ip, endpoint_ip_len(e));
}

static void error_encode(struct writer *w, const struct stun_value *v)
{
	write_u16(w, 0);
	write_u8(w, (uint8_t)(v->error.code / 100));
	write_u8(w, (uint8_t)(v->error.code % 100));
	write_bytes(w, v->error.reason, v->error.reason_len);
}

static void value_encode(struct writer *w, const struct stun_value *v)
{
	struct endpoint e;

	switch (v->layout) {
	case STUN_LAYOUT_BYTES:
		write_bytes(w, v->bytes.at, v->bytes.len);
		break;
	case STUN_LAYOUT_ADDRESS:
		address_encode(w, &v->endpoint);
		break;
	case STUN_LAYOUT_XOR_ADDRESS:
		e = v->endpoint;
		xor_endpoint(&e, w->start + 4);
		address_encode(w, &e);
		break;
	case STUN_LAYOUT_U32:
		write_u32(w, v->u32);
		break;
	case STUN_LAYOUT_PORT: /* with its 2 bytes of padding counted: what RFC 5780's figure shows */
		write_u16(w, (uint16_t)v->u32);
		write_u16(w, 0);
		break;
	case STUN_LAYOUT_ERROR:
		error_encode(w, v);
		break;
	case STUN_LAYOUT_TYPES:
		for (size_t i = 0; i < v->types.count; i++)
			write_u16(w, v->types.list[i]);
		break;
	}
}

void stun_put(struct stun_builder *b, uint16_t type, const struct stun_value *value)
{
	struct writer *w = &b->w;
	const size_t begin = w->used;
	size_t len;

	write_u16(w, type);
	write_u16(w, 0);
	value_encode(w, value);
	if (w->overrun)
		return;
	len = w->used - begin - 4;
	if (len > 0xffff) {
		w->overrun = true;
		return;
	}
	w->start[begin + 2] = (uint8_t)(len >> 8);
	w->start[begin + 3] = (uint8_t)len;
	write_zeros(w, padded(len) - len);
}

static enum stun_layout layout_of(uint16_t type)
{
	const struct stun_row *row = stun_row(type);

	return row ? row->layout : STUN_LAYOUT_BYTES;
}

void stun_put_endpoint(struct stun_builder *b, uint16_t type, const struct endpoint *e)
{
	stun_put(b, type, &(struct stun_value){ .layout = layout_of(type), .endpoint = *e });
}

void stun_put_u32(struct stun_builder *b, uint16_t type, uint32_t v)
{
	stun_put(b, type, &(struct stun_value){ .layout = layout_of(type), .u32 = v });
}

void stun_put_bytes(struct stun_builder *b, uint16_t type, const void *bytes, size_t len)
{
	stun_put(b, type, &(struct stun_value){ .layout = STUN_LAYOUT_BYTES, .bytes = { bytes, len } });
}

void stun_put_error(struct stun_builder *b, uint16_t code, const char *reason)
{
	const struct stun_value v = { .layout = STUN_LAYOUT_ERROR,
		.error = { .code = code, .reason = (const uint8_t *)reason, .reason_len = strlen(reason) } };

	stun_put(b, STUN_ERROR_CODE, &v);
}

void stun_put_types(struct stun_builder *b, uint16_t type, const uint16_t *list, size_t count)
{
	struct stun_value v = { .layout = STUN_LAYOUT_TYPES, .types.count = count < STUN_TYPES_MAX ? count : STUN_TYPES_MAX };

	memcpy(v.types.list, list, v.types.count * sizeof(*list));
	stun_put(b, type, &v);
}

/* The length field counts the bytes behind the header. */
static void write_len(struct writer *w, size_t used)
{
	const size_t body = used - STUN_HEADER_LEN;

	w->start[2] = (uint8_t)(body >> 8);
	w->start[3] = (uint8_t)body;
}

void stun_put_fingerprint(struct stun_builder *b)
{
	struct writer *w = &b->w;

	if (w->overrun)
		return;
	write_len(w, w->used + 8); /* the CRC covers a length that counts FINGERPRINT itself */
	stun_put_u32(b, STUN_FINGERPRINT, fingerprint(w->start, w->used));
}

size_t stun_end(struct stun_builder *b)
{
	struct writer *w = &b->w;

	if (w->overrun || w->used - STUN_HEADER_LEN > 0xffff)
		return 0;
	write_len(w, w->used);
	return w->used;
}
