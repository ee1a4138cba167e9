/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/packet.h"

#include <netinet/in.h>
#include <string.h>

enum { IPV4_HEADER = 20, IPV6_HEADER = 40, UDP_HEADER = 8, TCP_HEADER = 20, ICMP_HEADER = 8 };

static const char *const reason_names[REASON_COUNT] = {
	[REASON_NONE] = "none",
	[REASON_MALFORMED] = "malformed",
	[REASON_FRAGMENT] = "fragment",
	[REASON_PROTOCOL] = "protocol",
	[REASON_NOT_OURS] = "not-ours",
	[REASON_NO_MAPPING] = "no-mapping",
	[REASON_FILTERED] = "filtered",
	[REASON_NO_SESSION] = "no-session",
	[REASON_HAIRPIN] = "hairpin",
	[REASON_NO_PORT] = "no-port",
	[REASON_TABLE_FULL] = "table-full",
	[REASON_BLOCKED] = "blocked",
	[REASON_RULE] = "rule",
	[REASON_LOSS] = "loss",
	[REASON_QUEUE_FULL] = "queue-full",
	[REASON_DEVICE] = "device",
};

const char *reason_name(enum reason reason)
{
	return reason_names[reason];
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, (uint16_t)(value >> 16));
	put16(at + 2, (uint16_t)value);
}

uint16_t packet_sum(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (; len > 1; bytes += 2, len -= 2)
		sum += get16(bytes);
	if (len)
		sum += (uint32_t)bytes[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The checksum at `at` after a part it covers went from sum old to sum now (RFC 1624, equation 3). */
static void checksum_adjust(uint8_t *at, uint16_t old, uint16_t now)
{
	uint32_t sum = (uint16_t)~get16(at);

	sum += (uint16_t)~old;
	sum += now;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(at, (uint16_t)~sum);
}

static enum packet_kind icmp_kind(uint8_t proto, uint8_t type, bool *known)
{
	*known = true;
	if (proto == IPPROTO_ICMP) {
		if (type == 8 || type == 0)
			return type == 8 ? PACKET_ECHO_REQUEST : PACKET_ECHO_REPLY;
		*known = type == 3 || type == 11 || type == 12; /* unreachable, time exceeded, parameter problem */
		return PACKET_ICMP_ERROR;
	}
	if (type == 128 || type == 129)
		return type == 128 ? PACKET_ECHO_REQUEST : PACKET_ECHO_REPLY;
	*known = type >= 1 && type <= 4;
	return PACKET_ICMP_ERROR;
}

static enum reason parse_icmp(struct packet *p)
{
	const uint8_t *at = p->bytes + p->l4;
	bool known;

	if (p->len - p->l4 < ICMP_HEADER)
		return REASON_MALFORMED;
	p->kind = icmp_kind(p->proto, at[0], &known);
	if (!known)
		return REASON_PROTOCOL;
	if (p->kind == PACKET_ECHO_REQUEST)
		p->src.port = get16(at + 4);
	if (p->kind == PACKET_ECHO_REPLY)
		p->dst.port = get16(at + 4);
	return REASON_NONE;
}

static void read_ports(struct packet *p)
{
	p->src.port = get16(p->bytes + p->l4);
	p->dst.port = get16(p->bytes + p->l4 + 2);
}

static enum reason parse_udp(struct packet *p, bool quoted)
{
	const size_t left = p->len - p->l4;

	if (left < UDP_HEADER)
		return REASON_MALFORMED;
	const size_t length = get16(p->bytes + p->l4 + 4);
	if (!quoted && (length < UDP_HEADER || length > left))
		return REASON_MALFORMED;
	p->kind = PACKET_UDP;
	read_ports(p);
	return REASON_NONE;
}

static enum reason parse_tcp(struct packet *p, bool quoted)
{
	const uint8_t *at = p->bytes + p->l4;
	const size_t left = p->len - p->l4;

	p->kind = PACKET_TCP;
	if (left < (quoted ? 8 : TCP_HEADER))
		return REASON_MALFORMED;
	read_ports(p);
	if (quoted)
		return REASON_NONE;
	const size_t header = (size_t)(at[12] >> 4) * 4;
	if (header < TCP_HEADER || header > left)
		return REASON_MALFORMED;
	p->tcp_flags = at[13];
	return REASON_NONE;
}

static enum reason parse_ipv4(struct packet *p, size_t len, bool quoted)
{
	if (len < IPV4_HEADER)
		return REASON_MALFORMED;
	const size_t header = (size_t)(p->bytes[0] & 15) * 4;
	const size_t total = get16(p->bytes + 2);
	if (header < IPV4_HEADER || header > total || header > len || (!quoted && total > len))
		return REASON_MALFORMED;
	/* Offset or more fragments; of a quote it is the first fragment that has the ports. */
	if (get16(p->bytes + 6) & (quoted ? 0x1fff : 0x3fff))
		return REASON_FRAGMENT;
	p->len = total < len ? total : len;
	p->l4 = header;
	p->proto = p->bytes[9];
	p->src = endpoint_ipv4(get32(p->bytes + 12), 0);
	p->dst = endpoint_ipv4(get32(p->bytes + 16), 0);
	return REASON_NONE;
}

static enum reason parse_ipv6(struct packet *p, size_t len, bool quoted)
{
	if (len < IPV6_HEADER)
		return REASON_MALFORMED;
	const size_t total = IPV6_HEADER + (size_t)get16(p->bytes + 4);
	if (!quoted && total > len)
		return REASON_MALFORMED;
	if (p->bytes[6] == IPPROTO_FRAGMENT)
		return REASON_FRAGMENT;
	p->len = total < len ? total : len;
	p->l4 = IPV6_HEADER;
	p->proto = p->bytes[6];
	p->src.family = p->dst.family = ENDPOINT_IPV6;
	memcpy(p->src.ip, p->bytes + 8, 16);
	memcpy(p->dst.ip, p->bytes + 24, 16);
	return REASON_NONE;
}

static enum reason parse(struct packet *out, uint8_t *bytes, size_t len, bool quoted)
{
	struct packet p = { .bytes = bytes };
	enum reason reason = REASON_MALFORMED;

	if (len && bytes[0] >> 4 == 4)
		reason = parse_ipv4(&p, len, quoted);
	else if (len && bytes[0] >> 4 == 6)
		reason = parse_ipv6(&p, len, quoted);
	if (reason != REASON_NONE)
		return reason;

	if (p.proto == IPPROTO_UDP)
		reason = parse_udp(&p, quoted);
	else if (p.proto == IPPROTO_TCP)
		reason = parse_tcp(&p, quoted);
	else if (p.proto == (p.src.family == ENDPOINT_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		reason = parse_icmp(&p);
	else
		reason = REASON_PROTOCOL;
	if (reason == REASON_NONE)
		*out = p;
	return reason;
}

enum reason packet_parse(struct packet *out, void *bytes, size_t len)
{
	return parse(out, bytes, len, false);
}

enum reason packet_parse_quote(struct packet *out, const struct packet *error)
{
	const size_t at = error->l4 + ICMP_HEADER;
	struct packet quote;
	const enum reason reason = parse(&quote, error->bytes + at, error->len - at, true);

	if (reason != REASON_NONE)
		return reason;
	if (quote.kind == PACKET_ICMP_ERROR || quote.src.family != error->src.family)
		return REASON_PROTOCOL;
	*out = quote;
	return REASON_NONE;
}

/* Where the transport checksum is; NULL when a quote ends before it, or a UDP sender made none. */
static uint8_t *l4_checksum(const struct packet *p)
{
	const size_t offset = p->proto == IPPROTO_UDP ? 6 : p->proto == IPPROTO_TCP ? 16 : 2;
	uint8_t *at = p->bytes + p->l4 + offset;

	if (p->l4 + offset + 2 > p->len)
		return NULL;
	return p->proto == IPPROTO_UDP && get16(at) == 0 ? NULL : at;
}

/* Where the port is, or the identifier; NULL when this side has none. */
static uint8_t *port_field(const struct packet *p, bool source)
{
	if (p->kind == PACKET_UDP || p->kind == PACKET_TCP)
		return p->bytes + p->l4 + (source ? 0 : 2);
	if (p->kind == (source ? PACKET_ECHO_REQUEST : PACKET_ECHO_REPLY))
		return p->bytes + p->l4 + 4;
	return NULL;
}

static void set_address(struct packet *p, bool source, const struct endpoint *to, uint8_t *l4_sum)
{
	uint8_t *at = p->bytes + (source ? 12 : 16);
	const uint16_t old = packet_sum(0, at, 4);
	const uint16_t now = packet_sum(0, to->ip, 4);

	memcpy(at, to->ip, 4);
	checksum_adjust(p->bytes + 10, old, now);
	if (l4_sum && p->proto != IPPROTO_ICMP) /* the pseudo header; ICMP has none */
		checksum_adjust(l4_sum, old, now);
}

static void set_endpoint(struct packet *p, bool source, const struct endpoint *to)
{
	struct endpoint *mine = source ? &p->src : &p->dst;
	uint8_t *sum = l4_checksum(p);
	uint8_t *port = port_field(p, source);

	if (endpoint_equal(mine, to) || mine->family != ENDPOINT_IPV4 || to->family != ENDPOINT_IPV4)
		return;
	set_address(p, source, to, sum);
	if (port) {
		const uint16_t old = get16(port);

		put16(port, to->port);
		if (sum)
			checksum_adjust(sum, old, to->port);
	}
	if (sum && p->proto == IPPROTO_UDP && get16(sum) == 0)
		put16(sum, 0xffff); /* 0 would say "no checksum", RFC 768 */
	*mine = *to;
}

void packet_set_src(struct packet *p, const struct endpoint *to)
{
	set_endpoint(p, true, to);
}

void packet_set_dst(struct packet *p, const struct endpoint *to)
{
	set_endpoint(p, false, to);
}

static void quote_set(struct packet *error, struct packet *quote, bool source, const struct endpoint *to)
{
	const uint16_t old = packet_sum(0, quote->bytes, quote->len);

	set_endpoint(quote, source, to);
	checksum_adjust(error->bytes + error->l4 + 2, old, packet_sum(0, quote->bytes, quote->len));
}

void packet_quote_set_src(struct packet *error, struct packet *quote, const struct endpoint *to)
{
	quote_set(error, quote, true, to);
}

void packet_quote_set_dst(struct packet *error, struct packet *quote, const struct endpoint *to)
{
	quote_set(error, quote, false, to);
}

void packet_replace_in_payload(struct packet *p, const struct endpoint *old, const struct endpoint *now)
{
	const size_t size = endpoint_ip_len(old);
	uint8_t *payload = p->bytes + p->l4 + UDP_HEADER;
	const size_t len = get16(p->bytes + p->l4 + 4) - (size_t)UDP_HEADER;
	uint8_t *sum = l4_checksum(p);
	const uint16_t before = packet_sum(0, payload, len);

	for (size_t at = 0; at + size <= len; at++)
		if (memcmp(payload + at, old->ip, size) == 0)
			memcpy(payload + at, now->ip, size);
	if (!sum)
		return;
	checksum_adjust(sum, before, packet_sum(0, payload, len));
	if (get16(sum) == 0)
		put16(sum, 0xffff); /* as in set_endpoint() */
}

/* An IP header for len bytes of proto, back to where p came from; returns its own length. */
static size_t make_ip(uint8_t *out, const struct packet *p, uint8_t proto, size_t len)
{
	const size_t ip = endpoint_ip_len(&p->src);

	if (p->src.family == ENDPOINT_IPV4) {
		memset(out, 0, IPV4_HEADER);
		out[0] = 0x45;
		put16(out + 2, (uint16_t)(IPV4_HEADER + len));
		out[8] = 64;
		out[9] = proto;
		memcpy(out + 12, p->dst.ip, ip);
		memcpy(out + 16, p->src.ip, ip);
		put16(out + 10, (uint16_t)~packet_sum(0, out, IPV4_HEADER));
		return IPV4_HEADER;
	}
	memset(out, 0, IPV6_HEADER);
	out[0] = 0x60;
	put16(out + 4, (uint16_t)len);
	out[6] = proto;
	out[7] = 64;
	memcpy(out + 8, p->dst.ip, ip);
	memcpy(out + 24, p->src.ip, ip);
	return IPV6_HEADER;
}

static uint32_t pseudo_sum(const struct packet *p, uint8_t proto, size_t len)
{
	const uint32_t sum = packet_sum(0, p->src.ip, 16);

	return packet_sum(sum, p->dst.ip, 16) + proto + (uint32_t)len;
}

size_t packet_make_rst(uint8_t out[PACKET_ANSWER_MAX], const struct packet *p)
{
	const uint8_t *in = p->bytes + p->l4;
	const size_t payload = p->len - p->l4 - (size_t)(in[12] >> 4) * 4;

	if (p->tcp_flags & TCP_RST)
		return 0;
	const size_t ip = make_ip(out, p, IPPROTO_TCP, TCP_HEADER);
	uint8_t *tcp = out + ip;
	memset(tcp, 0, TCP_HEADER);
	put16(tcp, p->dst.port);
	put16(tcp + 2, p->src.port);
	tcp[12] = TCP_HEADER / 4 << 4;
	if (p->tcp_flags & TCP_ACK) {
		memcpy(tcp + 4, in + 8, 4); /* its acknowledgment is our sequence number */
		tcp[13] = TCP_RST;
	} else {
		const uint32_t control = !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);

		put32(tcp + 8, get32(in + 4) + (uint32_t)payload + control);
		tcp[13] = TCP_RST | TCP_ACK;
	}
	put16(tcp + 16, (uint16_t)~packet_sum(pseudo_sum(p, IPPROTO_TCP, TCP_HEADER), tcp, TCP_HEADER));
	return ip + TCP_HEADER;
}

size_t packet_make_unreachable(uint8_t out[PACKET_ANSWER_MAX], const struct packet *p, bool port)
{
	const bool v4 = p->src.family == ENDPOINT_IPV4;
	const uint8_t proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	const size_t quote = p->l4 + 8; /* RFC 792: the header and 8 bytes, enough for the sender to know it */
	const size_t ip = make_ip(out, p, proto, ICMP_HEADER + quote);
	uint8_t *icmp = out + ip;

	memset(icmp, 0, ICMP_HEADER);
	icmp[0] = v4 ? 3 : 1;
	icmp[1] = v4 ? (port ? 3 : 1) : (port ? 4 : 3);
	memcpy(icmp + ICMP_HEADER, p->bytes, quote);
	const uint32_t sum = v4 ? 0 : pseudo_sum(p, proto, ICMP_HEADER + quote);
	put16(icmp + 2, (uint16_t)~packet_sum(sum, icmp, ICMP_HEADER + quote));
	return ip + ICMP_HEADER + quote;
}
