/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "lib/stun.h"
#include "server/answer.h"

/*
 *		port 3478		port 3479
 *	198.51.100.1	[0][0]			[0][1]
 *	198.51.100.2	[1][0]			[1][1]
 */
#define A1     0xc6336401u
#define A2     0xc6336402u
#define CLIENT 0xc0000209u /* 192.0.2.9 */

static const uint8_t id[STUN_ID_LEN] = { 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
static const uint8_t classic_id[STUN_ID_LEN] = { 0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static struct site site_of(unsigned addresses, unsigned ports)
{
	struct site s = { 0 };

	for (unsigned a = 0; a < addresses; a++)
		for (unsigned p = 0; p < ports; p++)
			s.origin[a][p] = endpoint_ipv4(a ? A2 : A1, (uint16_t)(3478 + p));
	return s;
}

static struct endpoint v6(const char *text, uint16_t port)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse_ip(&e, text, port), 0);
	return e;
}

static struct site site_v6(void)
{
	struct site s = { 0 };

	for (unsigned i = 0; i < 4; i++)
		s.origin[i / 2][i % 2] = v6(i / 2 ? "2001:db8::2" : "2001:db8::1", (uint16_t)(3478 + i % 2));
	return s;
}

/* One question being put together and its answer, decoded. */
struct talk {
	struct site site;
	struct stun_builder b;
	uint8_t asked[70000], said[ANSWER_MAX];
	struct question q;
	struct answer a;
	struct stun_message m;
};

static struct talk talk; /* too large for a stack; begin() makes it new */

static struct stun_builder *begin_as(struct site site, const uint8_t *with_id, enum stun_class class, uint16_t method)
{
	talk.site = site;
	talk.q = (struct question){ .bytes = talk.asked, .site = &talk.site, .from = endpoint_ipv4(CLIENT, 40000) };
	stun_begin(&talk.b, talk.asked, sizeof(talk.asked), class, method, with_id);
	return &talk.b;
}

static struct stun_builder *begin(struct site site)
{
	return begin_as(site, id, STUN_REQUEST, STUN_BINDING);
}

static struct stun_builder *begin_classic(struct site site)
{
	return begin_as(site, classic_id, STUN_REQUEST, STUN_BINDING);
}

static enum count ask_bytes(size_t len)
{
	enum count c;

	talk.q.len = len;
	c = answer_to(&talk.q, talk.said, talk.q.tcp ? ANSWER_TCP_MAX : sizeof(talk.said), &talk.a);
	if (talk.a.len > 0) {
		assert_int_equal(stun_decode(&talk.m, talk.said, talk.a.len), 0);
		assert_int_equal(talk.m.malformed, 0);
		assert_memory_equal(talk.m.id, talk.asked + 4, STUN_ID_LEN);
		if (!talk.q.tcp)
			assert_true(talk.a.len <= answer_bound(talk.q.from.family, len));
	}
	return c;
}

static enum count ask(void)
{
	const size_t len = stun_end(&talk.b);

	assert_true(len > 0);
	return ask_bytes(len);
}

static void assert_endpoint(uint16_t type, struct endpoint want)
{
	struct stun_value v;

	assert_int_equal(stun_get(&talk.m, type, &v), 0);
	assert_true(endpoint_equal(&v.endpoint, &want));
}

static void assert_error(uint16_t code)
{
	struct stun_value v;

	assert_int_equal(talk.m.class, STUN_ERROR);
	assert_int_equal(stun_get(&talk.m, STUN_ERROR_CODE, &v), 0);
	assert_int_equal(v.error.code, code);
}

/* 420 that lists exactly this type. */
static void assert_refuses(uint16_t type)
{
	struct stun_value v;

	assert_error(420);
	assert_int_equal(stun_get(&talk.m, STUN_UNKNOWN_ATTRIBUTES, &v), 0);
	assert_int_equal(v.types.count, talk.m.classic ? 2 : 1);
	for (size_t i = 0; i < v.types.count; i++)
		assert_int_equal(v.types.list[i], type);
}

static void a_binding_is_answered_with_both_addresses_rfc5780_section_6_1(void **state)
{
	(void)state;
	begin(site_of(2, 2));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.m.class, STUN_SUCCESS);
	assert_endpoint(STUN_XOR_MAPPED_ADDRESS, endpoint_ipv4(CLIENT, 40000));
	assert_endpoint(STUN_MAPPED_ADDRESS, endpoint_ipv4(CLIENT, 40000));
	assert_endpoint(STUN_RESPONSE_ORIGIN, endpoint_ipv4(A1, 3478));
	assert_endpoint(STUN_OTHER_ADDRESS, endpoint_ipv4(A2, 3479));
	assert_true(stun_has(&talk.m, STUN_SOFTWARE));
	assert_false(stun_has(&talk.m, STUN_FINGERPRINT));
	assert_int_equal(talk.a.address, 0);
	assert_int_equal(talk.a.port, 0);
	assert_true(endpoint_equal(&talk.a.to, &talk.q.from));
}

/* RFC 5780 section 6.1, table 1, asked at each of the four sockets. */
static void change_request_picks_the_socket_rfc5780_table_1(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		for (uint32_t flags = 0; flags <= 6; flags += 2) {
			const unsigned a = i / 2, p = i % 2, ip = (flags & STUN_CHANGE_IP) != 0, port = (flags & STUN_CHANGE_PORT) != 0;

			stun_put_u32(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, flags);
			talk.q.address = a;
			talk.q.port = p;
			assert_int_equal(ask(), COUNT_ANSWERED);
			assert_int_equal(talk.a.address, a ^ ip);
			assert_int_equal(talk.a.port, p ^ port);
			assert_endpoint(STUN_RESPONSE_ORIGIN, talk.site.origin[a ^ ip][p ^ port]);
			assert_endpoint(STUN_OTHER_ADDRESS, talk.site.origin[!a][!p]);
		}
	}
}

static void change_request_without_alternate_is_420_rfc5780_section_6_1(void **state)
{
	const struct {
		unsigned addresses, ports;
		uint32_t flags;
		bool possible;
	} rows[] = { { 1, 1, 2, false }, { 1, 1, 4, false }, { 1, 1, 6, false }, { 1, 2, 2, true }, { 1, 2, 4, false },
		{ 1, 2, 6, false }, { 2, 1, 2, false }, { 2, 1, 4, true }, { 2, 1, 6, false } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		stun_put_u32(begin(site_of(rows[i].addresses, rows[i].ports)), STUN_CHANGE_REQUEST, rows[i].flags);
		assert_int_equal(ask(), rows[i].possible ? COUNT_ANSWERED : COUNT_UNKNOWN_ATTRIBUTE);
		assert_false(stun_has(&talk.m, STUN_OTHER_ADDRESS));
		if (rows[i].possible)
			continue;
		assert_refuses(STUN_CHANGE_REQUEST);
		assert_int_equal(talk.a.address, 0); /* from the socket asked */
		assert_int_equal(talk.a.port, 0);
	}
}

static void change_request_0_is_answered_like_none_rfc5780_section_7_2(void **state)
{
	(void)state;
	stun_put_u32(begin(site_of(1, 1)), STUN_CHANGE_REQUEST, 0);
	assert_int_equal(ask(), COUNT_ANSWERED);
	stun_put_u32(begin_classic(site_of(1, 1)), STUN_CHANGE_REQUEST, 0);
	assert_int_equal(ask(), COUNT_ANSWERED);
	stun_put_u32(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, 0xfffffff9u); /* bits that mean nothing */
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.a.address + talk.a.port, 0);
}

static void a_lone_socket_has_no_other_address_rfc5780_section_7_4(void **state)
{
	(void)state;
	begin(site_of(1, 1));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_true(stun_has(&talk.m, STUN_XOR_MAPPED_ADDRESS));
	assert_false(stun_has(&talk.m, STUN_OTHER_ADDRESS));
	assert_false(stun_has(&talk.m, STUN_RESPONSE_ORIGIN));
	begin_classic(site_of(1, 1));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_endpoint(STUN_SOURCE_ADDRESS, endpoint_ipv4(A1, 3478));
	assert_false(stun_has(&talk.m, STUN_CHANGED_ADDRESS));
}

static void a_message_without_cookie_is_answered_as_rfc3489_knows_it_rfc8489_section_6_3(void **state)
{
	struct stun_attr a;
	size_t count = 0;

	(void)state;
	stun_put_u32(begin_classic(site_of(2, 2)), STUN_CHANGE_REQUEST, STUN_CHANGE_IP | STUN_CHANGE_PORT);
	stun_put_bytes(&talk.b, STUN_FINGERPRINT, "abcd", 4); /* means nothing without the cookie */
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.a.address, 1);
	assert_int_equal(talk.a.port, 1);
	assert_endpoint(STUN_MAPPED_ADDRESS, endpoint_ipv4(CLIENT, 40000));
	assert_endpoint(STUN_SOURCE_ADDRESS, endpoint_ipv4(A2, 3479));
	assert_endpoint(STUN_CHANGED_ADDRESS, endpoint_ipv4(A2, 3479));
	for (size_t offset = 0; stun_next(&talk.m, &offset, &a); count++)
		assert_true(a.type <= STUN_REFLECTED_FROM);
	assert_int_equal(count, 3);
}

static void rfc3489_errors_are_aligned_rfc3489_sections_11_2_9_and_11_2_10(void **state)
{
	struct stun_attr a;

	(void)state;
	stun_put_bytes(begin_classic(site_of(2, 2)), 0x7777, "", 0);
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_refuses(0x7777); /* twice, to be even */
	for (size_t offset = 0; stun_next(&talk.m, &offset, &a);)
		assert_int_equal(a.len % 4, 0);
	stun_put_bytes(begin_classic(site_of(2, 2)), STUN_CHANGE_REQUEST, "", 0);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
	for (size_t offset = 0; stun_next(&talk.m, &offset, &a);)
		assert_int_equal(a.len % 4, 0);
}

static void response_address_is_never_followed_rfc3489_section_8_1(void **state)
{
	const struct endpoint victim = endpoint_ipv4(0x08080808, 53);

	(void)state;
	for (int classic = 0; classic < 2; classic++) {
		stun_put_endpoint(classic ? begin_classic(site_of(2, 2)) : begin(site_of(2, 2)), STUN_RESPONSE_ADDRESS, &victim);
		assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
		assert_refuses(STUN_RESPONSE_ADDRESS);
		assert_true(endpoint_equal(&talk.a.to, &talk.q.from));
	}
}

static void response_port_of_2_and_4_bytes_is_answered_there_rfc5780_section_7_5(void **state)
{
	(void)state;
	for (size_t len = 2; len <= 4; len += 2) {
		stun_put_bytes(begin(site_of(2, 2)), STUN_RESPONSE_PORT, "\xc3\x50\0\0", len);
		assert_int_equal(ask(), COUNT_ANSWERED);
		const struct endpoint want = endpoint_ipv4(CLIENT, 50000);

		assert_true(endpoint_equal(&talk.a.to, &want));
		assert_endpoint(STUN_XOR_MAPPED_ADDRESS, endpoint_ipv4(CLIENT, 40000)); /* whence it came */
	}
}

static void response_port_with_padding_or_0_is_400_rfc5780_section_6_1(void **state)
{
	(void)state;
	stun_put_u32(begin(site_of(2, 2)), STUN_RESPONSE_PORT, 50000);
	stun_put_bytes(&talk.b, STUN_PADDING, "12345678", 8);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
	assert_error(400);
	assert_int_equal(talk.a.to.port, 40000); /* the error goes to who asked */
	stun_put_u32(begin(site_of(2, 2)), STUN_RESPONSE_PORT, 0);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
}

static void padding_is_answered_up_to_the_question_s_length_rfc5780_section_7_6(void **state)
{
	static const uint8_t bytes[65000];
	static const size_t sizes[] = { 0, 3, 8, 88, 1452, 64000 };
	struct stun_value v;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		stun_put_bytes(begin(site_of(2, 2)), STUN_PADDING, bytes, sizes[i]);
		stun_put_fingerprint(&talk.b);
		assert_int_equal(ask(), COUNT_ANSWERED);
		assert_true(stun_has(&talk.m, STUN_OTHER_ADDRESS));
		assert_int_equal(stun_get(&talk.m, STUN_PADDING, &v), 0);
		assert_true(v.bytes.len <= sizes[i]);
		if (sizes[i] >= 88)
			assert_int_equal(talk.a.len, talk.q.len);
	}
}

static void unknown_required_attributes_are_listed_rfc8489_section_6_3_1(void **state)
{
	struct stun_value v;

	(void)state;
	begin(site_of(2, 2));
	for (uint16_t i = 0; i < 30; i++)
		stun_put_bytes(&talk.b, (uint16_t)(0x7000 + i), "", 0);
	stun_put_fingerprint(&talk.b);
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_error(420);
	assert_int_equal(stun_get(&talk.m, STUN_UNKNOWN_ATTRIBUTES, &v), 0);
	assert_int_equal(v.types.count, STUN_UNKNOWN_MAX);
	assert_int_equal(v.types.list[15], 0x700f);
	assert_true(stun_has(&talk.m, STUN_FINGERPRINT));
}

static void optional_and_unexpected_attributes_are_ignored_rfc8489_section_6_3(void **state)
{
	(void)state;
	stun_put_bytes(begin(site_of(2, 2)), 0xc001, "whatever", 8);
	stun_put_endpoint(&talk.b, STUN_MAPPED_ADDRESS, &talk.q.from);
	stun_put_bytes(&talk.b, STUN_USERNAME, "user", 4);
	stun_put_bytes(&talk.b, STUN_MESSAGE_INTEGRITY, "01234567890123456789", 20);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.m.class, STUN_SUCCESS);
}

static void a_bad_value_is_400_rfc8489_section_14_8(void **state)
{
	(void)state;
	stun_put_bytes(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, "\0\0", 2);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
	assert_error(400);
	stun_put_bytes(begin(site_of(2, 2)), STUN_RESPONSE_PORT, "\1\1\1", 3);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
	assert_error(400);
}

static void fingerprint_answers_fingerprint_and_a_wrong_one_is_dropped_rfc8489_section_14_7(void **state)
{
	size_t len;

	(void)state;
	stun_put_fingerprint(begin(site_of(2, 2)));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_true(stun_has(&talk.m, STUN_FINGERPRINT)); /* and right, else it would not decode */
	stun_put_fingerprint(begin(site_of(2, 2)));
	len = stun_end(&talk.b);
	talk.asked[len - 1] ^= 1;
	assert_int_equal(ask_bytes(len), COUNT_NOT_STUN);
	assert_int_equal(talk.a.len, 0);
}

static void only_binding_requests_are_answered_rfc8489_section_6_3(void **state)
{
	(void)state;
	for (enum stun_class class = STUN_INDICATION; class <= STUN_ERROR; class ++) {
		begin_as(site_of(2, 2), id, class, STUN_BINDING);
		assert_int_equal(ask(), COUNT_NOT_REQUEST);
		assert_int_equal(talk.a.len, 0);
	}
	for (uint16_t method = 0; method < 0x1000; method++) {
		if (method == STUN_BINDING)
			continue;
		begin_as(site_of(2, 2), id, STUN_REQUEST, method);
		assert_int_equal(ask(), COUNT_UNKNOWN_METHOD);
		assert_int_equal(talk.a.len, 0);
	}
	begin_as(site_of(2, 2), classic_id, STUN_REQUEST, STUN_SHARED_SECRET);
	assert_int_equal(ask(), COUNT_UNKNOWN_METHOD);
	assert_int_equal(talk.a.len, 0);
}

static void what_only_udp_can_do_is_420_on_tcp_rfc5780_section_3(void **state)
{
	const struct {
		uint16_t type;
		const char *value;
		size_t len;
	} rows[] = { { STUN_CHANGE_REQUEST, "\0\0\0\6", 4 }, { STUN_CHANGE_REQUEST, "\0\0\0\2", 4 },
		{ STUN_RESPONSE_PORT, "\x10\0\0\0", 4 }, { STUN_PADDING, "1234", 4 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		stun_put_bytes(begin(site_of(2, 2)), rows[i].type, rows[i].value, rows[i].len);
		talk.q.tcp = true;
		assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
		assert_refuses(rows[i].type);
	}
	stun_put_u32(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, 0);
	talk.q.tcp = true;
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_endpoint(STUN_OTHER_ADDRESS, endpoint_ipv4(A2, 3479)); /* mapping tests are for TCP too, section 3.1 */
}

static void every_tcp_answer_fits_its_room(void **state)
{
	(void)state;
	begin(site_v6());
	for (uint16_t i = 0; i < 40; i++)
		stun_put_bytes(&talk.b, (uint16_t)(0x7000 + i), "", 0);
	stun_put_endpoint(&talk.b, STUN_RESPONSE_ADDRESS, &talk.site.origin[0][0]);
	stun_put_u32(&talk.b, STUN_CHANGE_REQUEST, 6);
	stun_put_u32(&talk.b, STUN_RESPONSE_PORT, 6);
	stun_put_bytes(&talk.b, STUN_PADDING, "", 0);
	stun_put_fingerprint(&talk.b);
	talk.q.tcp = true;
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_true(talk.a.len > 0);
	stun_put_fingerprint(begin(site_v6()));
	talk.q.tcp = true;
	talk.q.from = v6("2001:db8::9", 40000);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_true(stun_has(&talk.m, STUN_SOFTWARE));
}

/* The bound itself is asserted for every answer, in ask_bytes(). */
static void the_smallest_question_gets_what_fits_in_2_5_times_its_datagram(void **state)
{
	(void)state;
	assert_int_equal(answer_bound(ENDPOINT_IPV4, 20), 120 - 28);
	assert_int_equal(answer_bound(ENDPOINT_IPV6, 20), 170 - 48);
	begin(site_v6());
	talk.q.from = v6("2001:db8::9", 40000);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_endpoint(STUN_XOR_MAPPED_ADDRESS, talk.q.from);
	assert_endpoint(STUN_MAPPED_ADDRESS, talk.q.from);
	assert_endpoint(STUN_RESPONSE_ORIGIN, v6("2001:db8::1", 3478));
	assert_endpoint(STUN_OTHER_ADDRESS, v6("2001:db8::2", 3479));
	assert_false(stun_has(&talk.m, STUN_SOFTWARE)); /* 20 + 4 x 24 + 20 = 136 bytes, of 122 */
}

static void every_cut_of_a_question_is_dropped_rfc8489_section_6_3(void **state)
{
	size_t len;

	(void)state;
	stun_put_u32(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, 6);
	stun_put_fingerprint(&talk.b);
	len = stun_end(&talk.b);
	for (size_t cut = 0; cut < len; cut++) {
		assert_int_equal(ask_bytes(cut), COUNT_NOT_STUN);
		assert_int_equal(talk.a.len, 0);
	}
	assert_int_equal(ask_bytes(len), COUNT_ANSWERED);
}

static void the_first_of_a_kind_counts_rfc8489_section_14(void **state)
{
	(void)state;
	begin(site_of(2, 2));
	stun_put_u32(&talk.b, STUN_CHANGE_REQUEST, STUN_CHANGE_PORT);
	for (int i = 0; i < 199; i++)
		stun_put_u32(&talk.b, STUN_CHANGE_REQUEST, STUN_CHANGE_IP);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.a.address, 0); /* the first counts, RFC 8489 section 14 */
	assert_int_equal(talk.a.port, 1);
}

/* --- The rows of docs/conformance.md that the tests above leave open --- */

static void change_request_picks_the_socket_and_is_told_rfc3489_section_8_1(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		const unsigned a = i / 8, p = i / 4 % 2, ip = i / 2 % 2, port = i % 2;

		stun_put_u32(begin_classic(site_of(2, 2)), STUN_CHANGE_REQUEST, (ip ? STUN_CHANGE_IP : 0) | (port ? STUN_CHANGE_PORT : 0));
		talk.q.address = a;
		talk.q.port = p;
		assert_int_equal(ask(), COUNT_ANSWERED);
		assert_int_equal(talk.a.address, a ^ ip);
		assert_int_equal(talk.a.port, p ^ port);
		assert_endpoint(STUN_SOURCE_ADDRESS, talk.site.origin[a ^ ip][p ^ port]);
		assert_endpoint(STUN_CHANGED_ADDRESS, talk.site.origin[!a][!p]); /* whatever the flags */
	}
}

static void one_response_bears_id_length_and_type_rfc3489_section_8_1(void **state)
{
	(void)state;
	begin_classic(site_of(2, 2));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_memory_equal(talk.said, "\x01\x01", 2);
	assert_int_equal(talk.said[2] << 8 | talk.said[3], talk.a.len - 20);
	assert_memory_equal(talk.said + 4, classic_id, sizeof(classic_id));
}

static void mapped_address_and_destination_are_the_source_rfc3489_section_8_1(void **state)
{
	(void)state;
	begin_classic(site_of(2, 2));
	talk.q.from = endpoint_ipv4(0xcb007107, 61234);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_endpoint(STUN_MAPPED_ADDRESS, talk.q.from);
	assert_true(endpoint_equal(&talk.a.to, &talk.q.from));
}

static void unknown_attributes_are_listed_from_the_socket_asked_rfc3489_section_8_1(void **state)
{
	struct stun_value v;

	(void)state;
	stun_put_u32(begin_classic(site_of(2, 2)), STUN_CHANGE_REQUEST, 6);
	stun_put_bytes(&talk.b, 0x7fff, "abcd", 4);
	stun_put_bytes(&talk.b, 0x0030, "abcd", 4);
	stun_put_bytes(&talk.b, 0x8000, "abcd", 4); /* above: none of the server's business */
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_error(420);
	assert_int_equal(stun_get(&talk.m, STUN_UNKNOWN_ATTRIBUTES, &v), 0);
	assert_int_equal(v.types.count, 2);
	assert_int_equal(v.types.list[0], 0x7fff);
	assert_int_equal(v.types.list[1], 0x0030);
	assert_int_equal(talk.a.address + talk.a.port, 0);
	assert_true(endpoint_equal(&talk.a.to, &talk.q.from));
}

/* There are no shared secrets, so no key to check by or to answer with. */
static void integrity_is_neither_checked_nor_answered_rfc3489_section_8_1(void **state)
{
	(void)state;
	stun_put_bytes(begin_classic(site_of(2, 2)), STUN_MESSAGE_INTEGRITY, "01234567890123456789", 20);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_false(stun_has(&talk.m, STUN_MESSAGE_INTEGRITY));
	stun_put_bytes(begin_classic(site_of(2, 2)), STUN_USERNAME, "user", 4);
	stun_put_bytes(&talk.b, STUN_MESSAGE_INTEGRITY, "01234567890123456789", 20);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_false(stun_has(&talk.m, STUN_MESSAGE_INTEGRITY));
}

static void a_lone_socket_names_no_changed_address_rfc3489_section_8_1(void **state)
{
	(void)state;
	begin_classic(site_of(1, 2));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_true(stun_has(&talk.m, STUN_SOURCE_ADDRESS));
	assert_false(stun_has(&talk.m, STUN_CHANGED_ADDRESS));
	stun_put_u32(begin_classic(site_of(1, 2)), STUN_CHANGE_REQUEST, STUN_CHANGE_IP);
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_refuses(STUN_CHANGE_REQUEST);
}

static void a_shared_secret_request_is_dropped_rfc3489_section_8_2(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		begin_as(site_of(2, 2), classic_id, STUN_REQUEST, STUN_SHARED_SECRET);
		talk.q.tcp = tcp;
		assert_int_equal(ask(), COUNT_UNKNOWN_METHOD);
		assert_int_equal(talk.a.len, 0);
	}
}

static void what_is_not_stun_is_dropped_rfc8489_section_6_3(void **state)
{
	size_t len;

	(void)state;
	for (int bit = 0x40; bit <= 0x80; bit <<= 1) { /* the first two bits */
		begin(site_of(2, 2));
		len = stun_end(&talk.b);
		talk.asked[0] |= (uint8_t)bit;
		assert_int_equal(ask_bytes(len), COUNT_NOT_STUN);
		assert_int_equal(talk.a.len, 0);
	}
	for (int body = 1; body < 12; body++) { /* a length that is not the datagram's */
		begin(site_of(2, 2));
		len = stun_end(&talk.b);
		talk.asked[3] = (uint8_t)body;
		assert_int_equal(ask_bytes(len), COUNT_NOT_STUN);
		assert_int_equal(talk.a.len, 0);
	}
}

static void a_retransmission_gets_the_same_answer_rfc8489_section_6_3_1(void **state)
{
	static uint8_t first[ANSWER_MAX];
	size_t len;

	(void)state;
	stun_put_u32(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, STUN_CHANGE_PORT);
	stun_put_fingerprint(&talk.b);
	assert_int_equal(ask(), COUNT_ANSWERED);
	len = talk.a.len;
	memcpy(first, talk.said, len);
	assert_int_equal(ask_bytes(talk.q.len), COUNT_ANSWERED);
	assert_int_equal(talk.a.len, len);
	assert_memory_equal(first, talk.said, len);
}

static void success_and_error_bear_method_and_code_rfc8489_section_6_3_1_1(void **state)
{
	(void)state;
	begin(site_of(2, 2));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_memory_equal(talk.said, "\x01\x01", 2);
	assert_true(stun_has(&talk.m, STUN_XOR_MAPPED_ADDRESS));
	assert_false(stun_has(&talk.m, STUN_ERROR_CODE));
	stun_put_bytes(begin(site_of(2, 2)), 0x7000, "", 0);
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_memory_equal(talk.said, "\x01\x11", 2);
	assert_error(420);
	stun_put_bytes(begin(site_of(2, 2)), STUN_CHANGE_REQUEST, "", 0);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
	assert_memory_equal(talk.said, "\x01\x11", 2);
	assert_error(400);
}

static void the_answer_leaves_from_the_socket_asked_rfc8489_section_6_3_1_2(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		stun_put_bytes(begin(site_of(2, 2)), i / 4 ? 0x7000 : 0xc000, "", 0); /* an error, a success */
		talk.q.address = i / 2 % 2;
		talk.q.port = i % 2;
		ask();
		assert_int_equal(talk.a.address, i / 2 % 2);
		assert_int_equal(talk.a.port, i % 2);
		assert_true(endpoint_equal(&talk.a.to, &talk.q.from));
	}
}

static void an_indication_draws_nothing_whatever_it_holds_rfc8489_section_6_3_2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		begin_as(site_of(2, 2), id, STUN_INDICATION, STUN_BINDING);
		stun_put_bytes(&talk.b, i ? 0xf000 : 0x7000, "abcd", 4);
		assert_int_equal(ask(), COUNT_NOT_REQUEST);
		assert_int_equal(talk.a.len, 0);
	}
}

static void what_is_no_use_to_a_client_is_never_sent_rfc8489_section_14(void **state)
{
	static const uint16_t sent[] = { STUN_MAPPED_ADDRESS, STUN_SOURCE_ADDRESS, STUN_CHANGED_ADDRESS, STUN_ERROR_CODE,
		STUN_UNKNOWN_ATTRIBUTES, STUN_XOR_MAPPED_ADDRESS, STUN_PADDING, STUN_SOFTWARE, STUN_FINGERPRINT, STUN_RESPONSE_ORIGIN,
		STUN_OTHER_ADDRESS };
	static const uint16_t asked[] = { 0, STUN_CHANGE_REQUEST, STUN_RESPONSE_PORT, STUN_PADDING, STUN_RESPONSE_ADDRESS,
		STUN_USERNAME, STUN_MESSAGE_INTEGRITY, STUN_REALM, STUN_NONCE, STUN_ALTERNATE_SERVER, 0x7000 };
	struct stun_attr a;

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(asked) / sizeof(asked[0]); i++) {
		if (i % 2)
			begin(site_of(2, 2));
		else
			begin_classic(site_of(2, 2));
		if (asked[i / 2])
			stun_put_bytes(&talk.b, asked[i / 2], "\x10\x20\0\6\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1", asked[i / 2] == STUN_MESSAGE_INTEGRITY ? 20 : 4);
		ask();
		assert_true(talk.a.len > 0);
		for (size_t offset = 0; stun_next(&talk.m, &offset, &a);) {
			size_t k = 0;

			while (k < sizeof(sent) / sizeof(sent[0]) && sent[k] != a.type)
				k++;
			assert_true(k < sizeof(sent) / sizeof(sent[0]));
		}
	}
}

static void padding_bytes_are_zero_and_ignored_rfc8489_section_14(void **state)
{
	struct stun_attr a;
	size_t len;

	(void)state;
	begin(site_of(2, 2));
	stun_put_bytes(&talk.b, 0xc001, "x", 1);
	stun_put_u32(&talk.b, STUN_CHANGE_REQUEST, STUN_CHANGE_PORT);
	len = stun_end(&talk.b);
	memcpy(talk.asked + 25, "\xff\xff\xff", 3); /* behind the x */
	assert_int_equal(ask_bytes(len), COUNT_ANSWERED);
	assert_int_equal(talk.a.port, 1);
	stun_put_bytes(begin(site_of(2, 2)), 0x7000, "", 0);
	memset(talk.said, 0xff, sizeof(talk.said));
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	for (size_t offset = 0; stun_next(&talk.m, &offset, &a);)
		for (size_t i = a.len; i % 4; i++)
			assert_int_equal(a.value[i], 0);
}

static void an_address_begins_with_0_and_has_its_family_s_length_rfc8489_section_14_1(void **state)
{
	struct stun_attr a;
	size_t addresses = 0;

	(void)state;
	for (int six = 0; six < 2; six++) {
		begin(six ? site_v6() : site_of(2, 2));
		if (six)
			talk.q.from = v6("2001:db8::9", 40000);
		assert_int_equal(ask(), COUNT_ANSWERED);
		for (size_t offset = 0; stun_next(&talk.m, &offset, &a);) {
			if (a.type == STUN_SOFTWARE)
				continue;
			assert_int_equal(a.len, six ? 20 : 8);
			assert_int_equal(a.value[0], 0);
			assert_int_equal(a.value[1], six ? 2 : 1);
			addresses++;
		}
	}
	assert_int_equal(addresses, 8);
}

static void xor_mapped_address_is_xored_with_cookie_and_id_rfc8489_section_14_2(void **state)
{
	static const uint8_t ipv4[] = { 0, 1, 0x9c ^ 0x21, 0x40 ^ 0x12, 0xc0 ^ 0x21, 0x00 ^ 0x12, 0x02 ^ 0xa4, 0x09 ^ 0x42 };
	static const uint8_t ipv6[] = { 0, 2, 0x9c ^ 0x21, 0x40 ^ 0x12, 0x20 ^ 0x21, 0x01 ^ 0x12, 0x0d ^ 0xa4, 0xb8 ^ 0x42,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 9 ^ 12 };
	struct stun_attr a;

	(void)state;
	for (int six = 0; six < 2; six++) {
		size_t offset = 0;

		begin(six ? site_v6() : site_of(2, 2));
		if (six)
			talk.q.from = v6("2001:db8::9", 40000);
		assert_int_equal(ask(), COUNT_ANSWERED);
		while (stun_next(&talk.m, &offset, &a) && a.type != STUN_XOR_MAPPED_ADDRESS)
			;
		assert_int_equal(a.type, STUN_XOR_MAPPED_ADDRESS);
		assert_memory_equal(a.value, six ? ipv6 : ipv4, six ? sizeof(ipv6) : sizeof(ipv4));
	}
}

static void assert_ignored_behind(uint16_t integrity, size_t len)
{
	static const uint8_t hash[32];

	stun_put_bytes(begin(site_of(2, 2)), integrity, hash, len);
	stun_put_u32(&talk.b, STUN_CHANGE_REQUEST, 6);
	stun_put_bytes(&talk.b, 0x7000, "", 0);
	stun_put_fingerprint(&talk.b);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.a.address + talk.a.port, 0);
	assert_true(stun_has(&talk.m, STUN_FINGERPRINT));
}

static void what_follows_message_integrity_is_ignored_rfc8489_section_14_5(void **state)
{
	(void)state;
	assert_ignored_behind(STUN_MESSAGE_INTEGRITY, 20);
}

static void what_follows_message_integrity_sha256_is_ignored_rfc8489_section_14_6(void **state)
{
	(void)state;
	assert_ignored_behind(STUN_MESSAGE_INTEGRITY_SHA256, 32);
}

static void fingerprint_is_the_last_attribute_rfc8489_section_14_7(void **state)
{
	size_t len;

	(void)state;
	stun_put_fingerprint(begin(site_of(2, 2)));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_memory_equal(talk.said + talk.a.len - 8, "\x80\x28\0\4", 4);
	begin(site_of(2, 2)); /* asked with one that is right where it stands, but not last */
	stun_put_fingerprint(&talk.b);
	stun_put_bytes(&talk.b, STUN_SOFTWARE, "late", 4);
	len = stun_end(&talk.b);
	assert_int_equal(ask_bytes(len), COUNT_NOT_STUN);
	assert_int_equal(talk.a.len, 0);
}

static void an_error_code_is_class_number_and_a_short_reason_rfc8489_section_14_8(void **state)
{
	struct stun_attr a;
	size_t offset = 0;

	(void)state;
	stun_put_bytes(begin(site_of(2, 2)), 0x7000, "", 0);
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_true(stun_next(&talk.m, &offset, &a));
	assert_int_equal(a.type, STUN_ERROR_CODE);
	assert_memory_equal(a.value, "\0\0\4\x14", 4);
	assert_in_range(a.len, 4 + 1, 4 + 127);
	for (size_t i = 4; i < a.len; i++)
		assert_in_range(a.value[i], ' ', '~');
}

/* 16 unknown ones and four of ours: the list is bounded, so that the answer is. */
static void a_longer_list_of_unknown_attributes_is_cut_rfc8489_section_14_13(void **state)
{
	struct stun_value v;

	(void)state;
	begin(site_of(1, 1));
	for (uint16_t i = 0; i < 30; i++)
		stun_put_bytes(&talk.b, (uint16_t)(0x7000 + i), "", 0);
	stun_put_u32(&talk.b, STUN_CHANGE_REQUEST, 6);
	assert_int_equal(ask(), COUNT_UNKNOWN_ATTRIBUTE);
	assert_int_equal(stun_get(&talk.m, STUN_UNKNOWN_ATTRIBUTES, &v), 0);
	assert_int_equal(v.types.count, STUN_UNKNOWN_MAX + 1);
}

static void software_is_short_text_rfc8489_section_14_14(void **state)
{
	struct stun_value v;

	(void)state;
	begin(site_of(2, 2));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(stun_get(&talk.m, STUN_SOFTWARE, &v), 0);
	assert_in_range(v.bytes.len, 1, 127);
	for (size_t i = 0; i < v.bytes.len; i++)
		assert_in_range(v.bytes.at[i], ' ', '~');
}

/* The letter wants 420 for every CHANGE-REQUEST where there is one address: a port that is there may be asked for. */
static void one_address_with_two_ports_changes_the_port_rfc5780_section_6(void **state)
{
	(void)state;
	stun_put_u32(begin(site_of(1, 2)), STUN_CHANGE_REQUEST, STUN_CHANGE_PORT);
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_int_equal(talk.a.port, 1);
	assert_endpoint(STUN_RESPONSE_ORIGIN, endpoint_ipv4(A1, 3479));
	assert_false(stun_has(&talk.m, STUN_OTHER_ADDRESS));
}

static void mapped_and_xor_mapped_always_fit_rfc5780_section_6_1(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		begin(i % 2 ? site_v6() : site_of(2, 2));
		if (i % 2)
			talk.q.from = v6("2001:db8::9", 40000);
		if (i / 2)
			stun_put_fingerprint(&talk.b);
		assert_int_equal(ask(), COUNT_ANSWERED);
		assert_endpoint(STUN_XOR_MAPPED_ADDRESS, talk.q.from);
		assert_endpoint(STUN_MAPPED_ADDRESS, talk.q.from);
		assert_true(stun_has(&talk.m, STUN_RESPONSE_ORIGIN));
		assert_true(stun_has(&talk.m, STUN_OTHER_ADDRESS));
	}
}

static void a_plain_question_gets_no_padding_rfc5780_section_7_6(void **state)
{
	(void)state;
	begin(site_of(2, 2));
	assert_int_equal(ask(), COUNT_ANSWERED);
	assert_false(stun_has(&talk.m, STUN_PADDING));
}

/* Nothing can be sent there; the letter allows it. */
static void response_port_0_is_400_rfc5780_section_7_5(void **state)
{
	(void)state;
	stun_put_u32(begin(site_of(2, 2)), STUN_RESPONSE_PORT, 0);
	assert_int_equal(ask(), COUNT_BAD_REQUEST);
	assert_error(400);
	assert_int_equal(talk.a.to.port, 40000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_binding_is_answered_with_both_addresses_rfc5780_section_6_1),
		T(change_request_picks_the_socket_rfc5780_table_1),
		T(change_request_without_alternate_is_420_rfc5780_section_6_1),
		T(change_request_0_is_answered_like_none_rfc5780_section_7_2),
		T(a_lone_socket_has_no_other_address_rfc5780_section_7_4),
		T(a_message_without_cookie_is_answered_as_rfc3489_knows_it_rfc8489_section_6_3),
		T(rfc3489_errors_are_aligned_rfc3489_sections_11_2_9_and_11_2_10),
		T(response_address_is_never_followed_rfc3489_section_8_1),
		T(response_port_of_2_and_4_bytes_is_answered_there_rfc5780_section_7_5),
		T(response_port_with_padding_or_0_is_400_rfc5780_section_6_1),
		T(padding_is_answered_up_to_the_question_s_length_rfc5780_section_7_6),
		T(unknown_required_attributes_are_listed_rfc8489_section_6_3_1),
		T(optional_and_unexpected_attributes_are_ignored_rfc8489_section_6_3),
		T(a_bad_value_is_400_rfc8489_section_14_8),
		T(fingerprint_answers_fingerprint_and_a_wrong_one_is_dropped_rfc8489_section_14_7),
		T(only_binding_requests_are_answered_rfc8489_section_6_3),
		T(what_only_udp_can_do_is_420_on_tcp_rfc5780_section_3),
		T(every_tcp_answer_fits_its_room),
		T(the_smallest_question_gets_what_fits_in_2_5_times_its_datagram),
		T(every_cut_of_a_question_is_dropped_rfc8489_section_6_3),
		T(the_first_of_a_kind_counts_rfc8489_section_14),
		T(change_request_picks_the_socket_and_is_told_rfc3489_section_8_1),
		T(one_response_bears_id_length_and_type_rfc3489_section_8_1),
		T(mapped_address_and_destination_are_the_source_rfc3489_section_8_1),
		T(unknown_attributes_are_listed_from_the_socket_asked_rfc3489_section_8_1),
		T(integrity_is_neither_checked_nor_answered_rfc3489_section_8_1),
		T(a_lone_socket_names_no_changed_address_rfc3489_section_8_1),
		T(a_shared_secret_request_is_dropped_rfc3489_section_8_2),
		T(what_is_not_stun_is_dropped_rfc8489_section_6_3),
		T(a_retransmission_gets_the_same_answer_rfc8489_section_6_3_1),
		T(success_and_error_bear_method_and_code_rfc8489_section_6_3_1_1),
		T(the_answer_leaves_from_the_socket_asked_rfc8489_section_6_3_1_2),
		T(an_indication_draws_nothing_whatever_it_holds_rfc8489_section_6_3_2),
		T(what_is_no_use_to_a_client_is_never_sent_rfc8489_section_14),
		T(padding_bytes_are_zero_and_ignored_rfc8489_section_14),
		T(an_address_begins_with_0_and_has_its_family_s_length_rfc8489_section_14_1),
		T(xor_mapped_address_is_xored_with_cookie_and_id_rfc8489_section_14_2),
		T(what_follows_message_integrity_is_ignored_rfc8489_section_14_5),
		T(what_follows_message_integrity_sha256_is_ignored_rfc8489_section_14_6),
		T(fingerprint_is_the_last_attribute_rfc8489_section_14_7),
		T(an_error_code_is_class_number_and_a_short_reason_rfc8489_section_14_8),
		T(a_longer_list_of_unknown_attributes_is_cut_rfc8489_section_14_13),
		T(software_is_short_text_rfc8489_section_14_14),
		T(one_address_with_two_ports_changes_the_port_rfc5780_section_6),
		T(mapped_and_xor_mapped_always_fit_rfc5780_section_6_1),
		T(a_plain_question_gets_no_padding_rfc5780_section_7_6),
		T(response_port_0_is_400_rfc5780_section_7_5),
	};

	return RUN(tests);
}
