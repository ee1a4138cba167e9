/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/answer.h"

#include <assert.h>

#include "lib/stun.h"

#define SOFTWARE	"stunway " STUNWAY_VERSION
#define FINGERPRINT_LEN 8 /* the whole attribute */

struct change {
	unsigned address, port;
	bool possible;
};

/* A message being answered. */
struct reply {
	const struct question *q;
	struct stun_message m;
	struct change change;
	struct stun_builder b;
	bool fingerprint; /* the question carried one, so the answer does */
};

static bool exists(const struct site *site, unsigned address, unsigned port)
{
	return site->origin[address][port].family != ENDPOINT_NONE;
}

/* RFC 5780 section 6.1: which socket answers. */
static struct change change_of(const struct question *q, const struct stun_message *m)
{
	struct change c = { .address = q->address, .port = q->port, .possible = true };
	struct stun_value v;

	if (stun_get(m, STUN_CHANGE_REQUEST, &v) < 0 || !(v.u32 & (STUN_CHANGE_IP | STUN_CHANGE_PORT)))
		return c;
	c.address ^= (v.u32 & STUN_CHANGE_IP) != 0;
	c.port ^= (v.u32 & STUN_CHANGE_PORT) != 0;
	/*
	 * On TCP a server may not open a connection to the client, so no other socket
	 * can ever answer (section 3: filtering tests are for UDP): no alternate, 420.
	 */
	c.possible = !q->tcp && exists(q->site, c.address, c.port);
	return c;
}

/* RFC 8489 section 6.3.1: required attributes that are not understood, or not to be honoured here. */
static size_t refused(const struct reply *r, uint16_t list[STUN_TYPES_MAX])
{
	const struct {
		uint16_t type;
		bool refused;
	} rows[] = {
		{ STUN_RESPONSE_ADDRESS, true }, /* gone since RFC 5389: it makes a reflector */
		{ STUN_CHANGE_REQUEST, !r->change.possible },
		{ STUN_RESPONSE_PORT, r->q->tcp }, /* for UDP only, RFC 5780 section 3.3 */
		{ STUN_PADDING, r->q->tcp },	   /* section 3.5 */
	};
	size_t n = r->m.unknown_count;

	memcpy(list, r->m.unknown, n * sizeof(*list));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].refused && stun_has(&r->m, rows[i].type))
			list[n++] = rows[i].type;
	if (r->m.classic && n % 2)
		list[n++] = list[0]; /* an even number, by repetition: RFC 3489 section 11.2.10 */
	return n;
}

static_assert(STUN_UNKNOWN_MAX + 4 + 1 <= STUN_TYPES_MAX, "refused() fills its list");

static bool response_port_bad(const struct stun_message *m)
{
	struct stun_value v;

	/* Together with PADDING: RFC 5780 section 6.1. Nothing can be sent to port 0. */
	return stun_get(m, STUN_RESPONSE_PORT, &v) == 0 && (v.u32 == 0 || stun_has(m, STUN_PADDING));
}

size_t answer_bound(enum endpoint_family family, size_t len)
{
	const size_t headers = family == ENDPOINT_IPV6 ? 40 + 8 : 20 + 8;

	return (headers + len) * 5 / 2 - headers;
}

/* Begins the answer; the writer's end is the bound, less the room FINGERPRINT will need. */
static void begin(struct reply *r, enum stun_class class, void *buf, size_t max)
{
	const size_t bound = r->q->tcp ? max : answer_bound(r->q->from.family, r->q->len);

	r->fingerprint = !r->m.classic && stun_has(&r->m, STUN_FINGERPRINT);
	stun_begin(&r->b, buf, bound < max ? bound : max, class, STUN_BINDING, r->m.id);
	if (r->fingerprint)
		r->b.w.max -= FINGERPRINT_LEN;
}

static size_t end(struct reply *r)
{
	if (r->fingerprint) {
		r->b.w.max += FINGERPRINT_LEN;
		stun_put_fingerprint(&r->b);
	}
	return stun_end(&r->b);
}

/* Puts what the answer can do without: left out when it does not fit. */
static void put_optional(struct reply *r, uint16_t type, const struct stun_value *v)
{
	const struct writer before = r->b.w;

	stun_put(&r->b, type, v);
	if (r->b.w.overrun)
		r->b.w = before;
}

static void put_optional_endpoint(struct reply *r, uint16_t type, const struct endpoint *e)
{
	if (e->family != ENDPOINT_NONE)
		put_optional(r, type, &(struct stun_value){ .layout = STUN_LAYOUT_ADDRESS, .endpoint = *e });
}

/*
 * The reason phrase; for RFC 3489 with spaces up to a multiple of 4 bytes, which
 * its section 11.2.9 asks for, knowing no padding behind a value.
 */
static void put_error(struct reply *r, uint16_t code, const char *spaced, size_t len)
{
	const struct stun_value v = { .layout = STUN_LAYOUT_ERROR,
		.error = { .code = code, .reason = (const uint8_t *)spaced, .reason_len = r->m.classic ? strlen(spaced) : len } };

	stun_put(&r->b, STUN_ERROR_CODE, &v);
}

static size_t bad_request(struct reply *r, void *buf, size_t max)
{
	begin(r, STUN_ERROR, buf, max);
	put_error(r, 400, "Bad Request ", 11);
	return end(r);
}

static size_t unknown_attribute(struct reply *r, const uint16_t *list, size_t count, void *buf, size_t max)
{
	begin(r, STUN_ERROR, buf, max);
	put_error(r, 420, "Unknown Attribute   ", 17);
	stun_put_types(&r->b, STUN_UNKNOWN_ATTRIBUTES, list, count);
	return end(r);
}

/* Does the server take part in RFC 5780: could another socket than the one asked ever answer? */
static bool has_alternate(const struct question *q)
{
	return exists(q->site, q->address ^ 1, q->port) || exists(q->site, q->address, q->port ^ 1);
}

/*
 * As long as the question, so that the answer breaks into fragments where the
 * question did: RFC 5780 section 7.6 would have the interface's MTU, but that lets
 * 28 bytes draw 1,500.
 */
static void put_padding(struct reply *r)
{
	const size_t used = r->b.w.used + 4 + (r->fingerprint ? FINGERPRINT_LEN : 0);
	const size_t room = r->q->len > used ? r->q->len - used : 0;
	const struct writer before = r->b.w;
	struct stun_value v;
	uint16_t len;

	if (stun_get(&r->m, STUN_PADDING, &v) < 0)
		return;
	len = (uint16_t)((v.bytes.len < room ? v.bytes.len : room) & ~(size_t)3);
	write_u16(&r->b.w, STUN_PADDING);
	write_u16(&r->b.w, len);
	/* Not the question's bytes: a forged sender's victim gets nothing of the forger's choice. */
	write_zeros(&r->b.w, len);
	if (r->b.w.overrun)
		r->b.w = before;
}

static size_t success(struct reply *r, void *buf, size_t max)
{
	const struct question *q = r->q;
	const struct endpoint *origin = &q->site->origin[r->change.address][r->change.port];
	const struct endpoint *other = &q->site->origin[q->address ^ 1][q->port ^ 1]; /* whatever CHANGE-REQUEST says */
	const struct stun_value software = { .layout = STUN_LAYOUT_BYTES,
		.bytes = { (const uint8_t *)SOFTWARE, sizeof(SOFTWARE) - 1 } };

	begin(r, STUN_SUCCESS, buf, max);
	if (r->m.classic) {
		stun_put_endpoint(&r->b, STUN_MAPPED_ADDRESS, &q->from);
		put_optional_endpoint(r, STUN_SOURCE_ADDRESS, origin);
		put_optional_endpoint(r, STUN_CHANGED_ADDRESS, other);
		put_padding(r);
		return end(r);
	}
	stun_put_endpoint(&r->b, STUN_XOR_MAPPED_ADDRESS, &q->from);
	put_optional_endpoint(r, STUN_MAPPED_ADDRESS, &q->from); /* both: an ALG on the path shows, RFC 5780 section 3.6 */
	if (has_alternate(q))
		put_optional_endpoint(r, STUN_RESPONSE_ORIGIN, origin);
	put_optional_endpoint(r, STUN_OTHER_ADDRESS, other);
	put_padding(r);
	if (!stun_has(&r->m, STUN_PADDING))
		put_optional(r, STUN_SOFTWARE, &software);
	return end(r);
}

static enum count reply(struct reply *r, void *buf, size_t max, struct answer *out)
{
	uint16_t list[STUN_TYPES_MAX];
	struct stun_value v;
	size_t count;

	if (r->m.malformed) {
		out->len = bad_request(r, buf, max);
		return COUNT_BAD_REQUEST;
	}
	r->change = change_of(r->q, &r->m);
	count = refused(r, list);
	if (count > 0) {
		out->len = unknown_attribute(r, list, count, buf, max);
		return COUNT_UNKNOWN_ATTRIBUTE;
	}
	if (response_port_bad(&r->m)) {
		out->len = bad_request(r, buf, max);
		return COUNT_BAD_REQUEST;
	}
	out->len = success(r, buf, max);
	out->address = r->change.address;
	out->port = r->change.port;
	if (stun_get(&r->m, STUN_RESPONSE_PORT, &v) == 0)
		out->to.port = (uint16_t)v.u32;
	return COUNT_ANSWERED;
}

/*
 * Known attributes that mean nothing in a Binding request (MAPPED-ADDRESS, USERNAME
 * and so on) are ignored, RFC 8489 section 6.3. A Shared Secret request (RFC 3489)
 * is dropped like any method unknown to RFC 8489: its answer would be "use TLS", of
 * which there is none, and over UDP it would only serve who forges senders.
 */
enum count answer_to(const struct question *q, void *buf, size_t max, struct answer *out)
{
	struct reply r = { .q = q };

	*out = (struct answer){ .address = q->address, .port = q->port, .to = q->from };
	if (stun_decode(&r.m, q->bytes, q->len) < 0)
		return COUNT_NOT_STUN;
	if (r.m.class != STUN_REQUEST)
		return COUNT_NOT_REQUEST;
	if (r.m.method != STUN_BINDING)
		return COUNT_UNKNOWN_METHOD;
	return reply(&r, buf, max, out);
}
