/* SPDX-License-Identifier: GPL-2.0-or-later */
/* natbox's packets (lab/packet.c): checksums stay right whatever is rewritten, and nothing is read past the end. */
#include "test/unit/test.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lab/packet.h"

#define OLD_SRC  0x0a010203u /* 10.1.2.3 */
#define OLD_DST  0xc6336401u /* 198.51.100.1 */
#define NEW_ADDR 0xcb007107u /* 203.0.113.7 */

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* The transport's sum with the pseudo header where it has one; 0xffff when the checksum is right. */
static uint16_t l4_sum(const uint8_t *ip, size_t len)
{
	const size_t l4 = len - 20;
	const uint32_t pseudo = ip[9] == IPPROTO_ICMP ? 0 : packet_sum(0, ip + 12, 8) + (uint32_t)ip[9] + (uint32_t)l4;

	return packet_sum(pseudo, ip + 20, l4);
}

static size_t ip_header(uint8_t *at, uint8_t proto, uint32_t src, uint32_t dst, size_t l4_len)
{
	memset(at, 0, 20);
	at[0] = 0x45;
	put16(at + 2, (uint32_t)(20 + l4_len));
	at[8] = 64;
	at[9] = proto;
	put32(at + 12, src);
	put32(at + 16, dst);
	put16(at + 10, (uint16_t)~packet_sum(0, at, 20));
	return 20 + l4_len;
}

static void set_l4_checksum(uint8_t *ip, size_t len, size_t offset)
{
	put16(ip + 20 + offset, 0);
	put16(ip + 20 + offset, (uint16_t)~l4_sum(ip, len));
}

/* A datagram 10.1.2.3:1111 -> 198.51.100.1:2222 with payload bytes 1, 2, 3... */
static size_t make_udp(uint8_t *at, size_t payload)
{
	const size_t len = ip_header(at, IPPROTO_UDP, OLD_SRC, OLD_DST, 8 + payload);

	put16(at + 20, 1111);
	put16(at + 22, 2222);
	put16(at + 24, (uint32_t)(8 + payload));
	for (size_t i = 0; i < payload; i++)
		at[28 + i] = (uint8_t)(i + 1);
	set_l4_checksum(at, len, 6);
	return len;
}

static size_t make_tcp(uint8_t *at, size_t payload)
{
	const size_t len = ip_header(at, IPPROTO_TCP, OLD_SRC, OLD_DST, 20 + payload);

	memset(at + 20, 0, 20 + payload);
	put16(at + 20, 1111);
	put16(at + 22, 2222);
	put32(at + 24, 1000);
	at[32] = 0x50;
	at[33] = TCP_SYN;
	for (size_t i = 0; i < payload; i++)
		at[40 + i] = (uint8_t)(i + 1);
	set_l4_checksum(at, len, 16);
	return len;
}

static size_t make_echo(uint8_t *at, uint8_t type, size_t payload)
{
	const size_t len = ip_header(at, IPPROTO_ICMP, OLD_SRC, OLD_DST, 8 + payload);

	memset(at + 20, 0, 8 + payload);
	at[20] = type;
	put16(at + 24, 1111);
	for (size_t i = 0; i < payload; i++)
		at[28 + i] = (uint8_t)(i + 1);
	set_l4_checksum(at, len, 2);
	return len;
}

/* An ICMP error from 192.0.2.9 about the packet at `quoted`, `len` bytes of it. */
static size_t make_error(uint8_t *at, const uint8_t *quoted, size_t len)
{
	const size_t total = ip_header(at, IPPROTO_ICMP, 0xc0000209u, OLD_SRC, 8 + len);

	memset(at + 20, 0, 8);
	at[20] = 3;
	at[21] = 3;
	memcpy(at + 28, quoted, len);
	set_l4_checksum(at, total, 2);
	return total;
}

static void assert_sums(const uint8_t *ip, size_t len)
{
	assert_int_equal(packet_sum(0, ip, 20), 0xffff);
	assert_int_equal(l4_sum(ip, len), 0xffff);
}

static struct endpoint new_endpoint(uint16_t port)
{
	return endpoint_ipv4(NEW_ADDR, port);
}

static void a_datagram_rewritten_keeps_its_checksums_at_every_length(void **state)
{
	uint8_t bytes[1500];
	struct packet p;

	(void)state;
	for (size_t payload = 0; payload < 300; payload++) {
		const size_t len = make_udp(bytes, payload);
		const struct endpoint src = new_endpoint((uint16_t)(payload * 211)), dst = new_endpoint(9);

		assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
		assert_int_equal(p.kind, PACKET_UDP);
		assert_int_equal(p.src.port, 1111);
		packet_set_src(&p, &src);
		assert_sums(bytes, len);
		packet_set_dst(&p, &dst);
		assert_sums(bytes, len);
		assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
		assert_true(endpoint_equal(&p.src, &src) && endpoint_equal(&p.dst, &dst));
	}
}

static void an_address_in_a_payload_is_replaced_at_every_offset_and_the_checksum_follows(void **state)
{
	const struct endpoint old = endpoint_ipv4(OLD_DST, 0), now = new_endpoint(0);
	uint8_t bytes[100];
	struct packet p;

	(void)state;
	for (size_t payload = 0; payload < 24; payload++)
		for (size_t at = 0; at <= payload; at++) {
			size_t len = make_udp(bytes, payload);
			const bool there = at + 4 <= payload;

			if (there)
				put32(bytes + 28 + at, OLD_DST);
			set_l4_checksum(bytes, len, 6);
			assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
			packet_replace_in_payload(&p, &old, &now);
			assert_sums(bytes, len);
			for (size_t i = 0; i < payload; i++) {
				const bool in = there && i >= at && i < at + 4;

				assert_int_equal(bytes[28 + i], in ? now.ip[i - at] : i + 1);
			}
		}
}

static void a_segment_rewritten_keeps_its_checksums_at_every_length(void **state)
{
	uint8_t bytes[1500];
	struct packet p;

	(void)state;
	for (size_t payload = 0; payload < 300; payload++) {
		const size_t len = make_tcp(bytes, payload);
		const struct endpoint src = new_endpoint((uint16_t)(payload * 211)), dst = new_endpoint(9);

		assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
		assert_int_equal(p.tcp_flags, TCP_SYN);
		packet_set_src(&p, &src);
		packet_set_dst(&p, &dst);
		assert_sums(bytes, len);
	}
}

static void an_echo_is_rewritten_by_its_identifier_on_the_asking_side_only(void **state)
{
	uint8_t bytes[100];
	struct packet p;
	const struct endpoint to = new_endpoint(4444), bare = new_endpoint(0);

	(void)state;
	for (size_t payload = 0; payload < 60; payload++) {
		size_t len = make_echo(bytes, 8, payload);
		assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
		assert_int_equal(p.src.port, 1111);
		assert_int_equal(p.dst.port, 0);
		packet_set_src(&p, &to);
		assert_int_equal(get16(bytes + 24), 4444);
		packet_set_dst(&p, &bare);
		assert_int_equal(get16(bytes + 24), 4444);
		assert_sums(bytes, len);

		len = make_echo(bytes, 0, payload);
		assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
		assert_int_equal(p.dst.port, 1111);
		packet_set_dst(&p, &to);
		assert_int_equal(get16(bytes + 24), 4444);
		assert_sums(bytes, len);
	}
}

static void every_port_gives_a_right_checksum_and_never_zero(void **state)
{
	uint8_t bytes[100];
	struct packet p;

	(void)state;
	const size_t len = make_udp(bytes, 3);
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	bool top = false;
	for (uint32_t port = 0; port <= 65535; port++) {
		const struct endpoint to = new_endpoint((uint16_t)port);

		packet_set_src(&p, &to);
		assert_int_not_equal(get16(bytes + 26), 0); /* RFC 768: 0 means none; a sum of 0 is sent as 0xffff */
		assert_int_equal(l4_sum(bytes, len), 0xffff);
		top = top || get16(bytes + 26) == 0xffff;
	}
	assert_true(top); /* one of the ports is the one that sums up to zero */
}

static void a_datagram_without_a_checksum_stays_without(void **state)
{
	uint8_t bytes[100], quoting[200];
	struct packet p, quote;
	const struct endpoint to = new_endpoint(4444);

	(void)state;
	const size_t len = make_udp(bytes, 5);
	put16(bytes + 26, 0);
	const size_t error_len = make_error(quoting, bytes, len);
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	packet_set_src(&p, &to);
	assert_int_equal(get16(bytes + 26), 0);
	assert_int_equal(packet_sum(0, bytes, 20), 0xffff);

	assert_int_equal(packet_parse(&p, quoting, error_len), REASON_NONE);
	assert_int_equal(packet_parse_quote(&quote, &p), REASON_NONE);
	packet_quote_set_src(&p, &quote, &to);
	assert_int_equal(get16(quoting + 28 + 26), 0);
	assert_sums(quoting, error_len);
}

static void a_wrong_checksum_stays_wrong(void **state)
{
	uint8_t bytes[100];
	struct packet p;
	const struct endpoint to = new_endpoint(4444);

	(void)state;
	const size_t len = make_udp(bytes, 5);
	bytes[30] ^= 1;
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	packet_set_src(&p, &to);
	assert_int_not_equal(l4_sum(bytes, len), 0xffff);
	assert_int_equal(packet_sum(0, bytes, 20), 0xffff);
}

static void nothing_changes_when_the_endpoint_is_the_same(void **state)
{
	uint8_t bytes[100], before[100];
	struct packet p;

	(void)state;
	const size_t len = make_udp(bytes, 5);
	memcpy(before, bytes, len);
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	const struct endpoint src = p.src, dst = p.dst;
	packet_set_src(&p, &src);
	packet_set_dst(&p, &dst);
	assert_memory_equal(bytes, before, len);
}

/* Rewrites what an error quotes, so many bytes; checksum_end: where the quoted packet's own checksum ends. */
static void check_quote(const uint8_t *inner, size_t inner_len, size_t quoted, bool source, size_t checksum_end)
{
	uint8_t bytes[400];
	struct packet p, quote;
	const struct endpoint to = new_endpoint(4444);
	const size_t len = make_error(bytes, inner, quoted);

	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	assert_int_equal(p.kind, PACKET_ICMP_ERROR);
	assert_int_equal(packet_parse_quote(&quote, &p), REASON_NONE);
	if (source)
		packet_quote_set_src(&p, &quote, &to);
	else
		packet_quote_set_dst(&p, &quote, &to);
	assert_sums(bytes, len);
	assert_int_equal(packet_sum(0, bytes + 28, 20), 0xffff);

	struct packet direct; /* the same change to the packet itself gives the same bytes */
	uint8_t copy[400];
	memcpy(copy, inner, inner_len);
	assert_int_equal(packet_parse(&direct, copy, inner_len), REASON_NONE);
	if (source)
		packet_set_src(&direct, &to);
	else
		packet_set_dst(&direct, &to);
	const bool has_checksum = quoted >= checksum_end;
	const size_t same = has_checksum || quoted < checksum_end - 2 ? quoted : checksum_end - 2;
	assert_memory_equal(copy, bytes + 28, same);
}

static void quotes_are_rewritten_at_every_length_quoted(void **state)
{
	uint8_t inner[200];

	(void)state;
	for (size_t payload = 0; payload < 40; payload++) {
		for (int source = 0; source < 2; source++) {
			size_t len = make_udp(inner, payload);
			for (size_t quoted = 28; quoted <= len; quoted++)
				check_quote(inner, len, quoted, source, 28);
			len = make_tcp(inner, payload);
			for (size_t quoted = 28; quoted <= len; quoted++)
				check_quote(inner, len, quoted, source, 38);
		}
		const size_t len = make_echo(inner, 8, payload);
		for (size_t quoted = 28; quoted <= len; quoted++)
			check_quote(inner, len, quoted, true, 24);
	}
}

static void a_quote_too_short_or_of_an_error_is_refused(void **state)
{
	uint8_t inner[200], bytes[300], outer[400];
	struct packet p, quote;

	(void)state;
	const size_t len = make_udp(inner, 5);
	for (size_t quoted = 0; quoted < 28; quoted++) {
		const size_t total = make_error(bytes, inner, quoted);

		assert_int_equal(packet_parse(&p, bytes, total), REASON_NONE);
		assert_int_equal(packet_parse_quote(&quote, &p), REASON_MALFORMED);
	}
	const size_t total = make_error(bytes, inner, len);
	const size_t twice = make_error(outer, bytes, total);
	assert_int_equal(packet_parse(&p, outer, twice), REASON_NONE);
	assert_int_equal(packet_parse_quote(&quote, &p), REASON_PROTOCOL);
	make_udp(inner, 5);
	put16(inner + 6, 0x00b9); /* a later fragment has no ports */
	const size_t late = make_error(bytes, inner, len);
	assert_int_equal(packet_parse(&p, bytes, late), REASON_NONE);
	assert_int_equal(packet_parse_quote(&quote, &p), REASON_FRAGMENT);
}

static void a_quote_whose_header_lies_about_its_length_is_refused(void **state)
{
	uint8_t inner[200], bytes[300];
	struct packet p, quote;

	(void)state;
	for (size_t words = 0; words < 16; words++) {
		for (size_t quoted = 28; quoted < 80; quoted++) {
			make_udp(inner, 100);
			inner[0] = (uint8_t)(0x40 | words);
			const size_t total = make_error(bytes, inner, quoted);
			const bool fits = words >= 5 && words * 4 + 8 <= quoted;

			assert_int_equal(packet_parse(&p, bytes, total), REASON_NONE);
			assert_int_equal(packet_parse_quote(&quote, &p), fits ? REASON_NONE : REASON_MALFORMED);
		}
	}
}

/* Parses a copy that ends where its memory ends, so that a sanitizer sees a read past it. */
static enum reason parse_exactly(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct packet p, quote;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	const enum reason reason = packet_parse(&p, copy, len);
	if (reason == REASON_NONE && p.kind == PACKET_ICMP_ERROR && packet_parse_quote(&quote, &p) == REASON_NONE) {
		const struct endpoint to = new_endpoint(1);

		packet_quote_set_src(&p, &quote, &to);
		packet_quote_set_dst(&p, &quote, &to);
	}
	free(copy);
	return reason;
}

static void packets_cut_at_every_length_are_malformed(void **state)
{
	uint8_t bytes[300], inner[100];
	size_t (*const make[])(uint8_t *, size_t) = { make_udp, make_tcp };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const size_t len = make[i](bytes, 9);

		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(parse_exactly(bytes, cut), REASON_MALFORMED);
		assert_int_equal(parse_exactly(bytes, len), REASON_NONE);
		for (size_t cut = 20; cut < len; cut++) { /* with a total length that agrees */
			put16(bytes + 2, (uint32_t)cut);
			const bool fits = i == 1 && cut >= 40; /* of TCP only the header must be there */
			assert_int_equal(parse_exactly(bytes, cut), fits ? REASON_NONE : REASON_MALFORMED);
		}
	}
	const size_t len = make_error(bytes, inner, make_tcp(inner, 9));
	for (size_t cut = 28; cut <= len; cut++) {
		put16(bytes + 2, (uint32_t)cut);
		assert_int_equal(parse_exactly(bytes, cut), REASON_NONE);
	}
}

static void ipv6_packets_cut_at_every_length_are_malformed(void **state)
{
	uint8_t bytes[60] = { 0x60 };

	(void)state;
	bytes[6] = IPPROTO_UDP;
	put16(bytes + 4, 12);
	put16(bytes + 44, 12);
	for (size_t cut = 0; cut < 52; cut++)
		assert_int_equal(parse_exactly(bytes, cut), REASON_MALFORMED);
	assert_int_equal(parse_exactly(bytes, 52), REASON_NONE);
	assert_int_equal(parse_exactly(bytes, 60), REASON_NONE); /* what follows is not of it */
	bytes[6] = IPPROTO_FRAGMENT;
	assert_int_equal(parse_exactly(bytes, 52), REASON_FRAGMENT);
	bytes[6] = 0; /* hop-by-hop */
	assert_int_equal(parse_exactly(bytes, 52), REASON_PROTOCOL);
}

static void random_bytes_do_no_harm(void **state)
{
	uint8_t bytes[128];
	uint32_t seed = 1;
	size_t passed = 0;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		seed = seed * 1664525 + 1013904223;
		const size_t len = seed >> 16 & 127;
		for (size_t i = 0; i < len; i++) {
			seed = seed * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(seed >> 24);
		}
		if (len > 20 && round % 4) { /* most with a header that leads further in */
			bytes[0] = round % 3 ? 0x45 : 0x60;
			put16(bytes + 2, (uint32_t)len);
			put16(bytes + 6, 0);
			bytes[round % 3 ? 9 : 6] = (uint8_t[]){ 1, 6, 17, 58 }[round >> 4 & 3];
		}
		passed += parse_exactly(bytes, len) == REASON_NONE;
	}
	assert_true(passed > 1000);
}

static void a_reset_answers_as_rfc_9293_says(void **state)
{
	uint8_t bytes[100], out[PACKET_ANSWER_MAX];
	struct packet p;

	(void)state;
	size_t len = make_tcp(bytes, 7); /* a SYN, sequence number 1000, 7 bytes */
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	assert_int_equal(packet_make_rst(out, &p), 40);
	assert_sums(out, 40);
	assert_memory_equal(out + 12, bytes + 16, 4);
	assert_memory_equal(out + 16, bytes + 12, 4);
	assert_int_equal(get16(out + 20), 2222);
	assert_int_equal(get16(out + 22), 1111);
	assert_int_equal(get16(out + 30), 1008); /* it acknowledges the SYN and the 7 bytes */
	assert_int_equal(out[33], TCP_RST | TCP_ACK);

	bytes[33] = TCP_ACK;
	put32(bytes + 28, 4711);
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	assert_int_equal(packet_make_rst(out, &p), 40);
	assert_sums(out, 40);
	assert_int_equal(get16(out + 26), 4711);
	assert_int_equal(out[33], TCP_RST);

	bytes[33] = TCP_RST;
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	assert_int_equal(packet_make_rst(out, &p), 0);
}

static void an_unreachable_quotes_header_and_8_bytes(void **state)
{
	uint8_t bytes[100], out[PACKET_ANSWER_MAX];
	struct packet p, error, quote;

	(void)state;
	const size_t len = make_udp(bytes, 0);
	assert_int_equal(packet_parse(&p, bytes, len), REASON_NONE);
	assert_int_equal(packet_make_unreachable(out, &p, true), 56);
	assert_sums(out, 56);
	assert_int_equal(out[20], 3);
	assert_int_equal(out[21], 3);
	assert_memory_equal(out + 28, bytes, 28);
	assert_int_equal(packet_parse(&error, out, 56), REASON_NONE);
	assert_int_equal(packet_parse_quote(&quote, &error), REASON_NONE);
	assert_true(endpoint_equal(&quote.src, &p.src) && endpoint_equal(&quote.dst, &p.dst));
	assert_int_equal(packet_make_unreachable(out, &p, false), 56);
	assert_int_equal(out[21], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_datagram_rewritten_keeps_its_checksums_at_every_length),
		T(an_address_in_a_payload_is_replaced_at_every_offset_and_the_checksum_follows),
		T(a_segment_rewritten_keeps_its_checksums_at_every_length),
		T(an_echo_is_rewritten_by_its_identifier_on_the_asking_side_only),
		T(every_port_gives_a_right_checksum_and_never_zero),
		T(a_datagram_without_a_checksum_stays_without),
		T(a_wrong_checksum_stays_wrong),
		T(nothing_changes_when_the_endpoint_is_the_same),
		T(quotes_are_rewritten_at_every_length_quoted),
		T(a_quote_too_short_or_of_an_error_is_refused),
		T(a_quote_whose_header_lies_about_its_length_is_refused),
		T(packets_cut_at_every_length_are_malformed),
		T(ipv6_packets_cut_at_every_length_are_malformed),
		T(random_bytes_do_no_harm),
		T(a_reset_answers_as_rfc_9293_says),
		T(an_unreachable_quotes_header_and_8_bytes),
	};

	return RUN(tests);
}
