/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/stun.h"

static const uint8_t id[STUN_ID_LEN] = { 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

/* RFC 5769 section 2.1: sample request. Its padding bytes are spaces. */
static const char request_2_1[] = "\x00\x01\x00\x58"
				  "\x21\x12\xa4\x42"
				  "\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae"
				  "\x80\x22\x00\x10"
				  "STUN test client"
				  "\x00\x24\x00\x04" /* PRIORITY, of ICE */
				  "\x6e\x00\x01\xff"
				  "\x80\x29\x00\x08" /* ICE-CONTROLLED */
				  "\x93\x2f\xf9\xb1\x51\x26\x3b\x36"
				  "\x00\x06\x00\x09"
				  "evtj:h6vY\x20\x20\x20"
				  "\x00\x08\x00\x14"
				  "\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5"
				  "\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2"
				  "\x80\x28\x00\x04"
				  "\xe5\x7a\x3b\xcf";

/* Section 2.2: sample IPv4 response, 192.0.2.1 port 32853. */
static const char response_2_2[] = "\x01\x01\x00\x3c"
				   "\x21\x12\xa4\x42"
				   "\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae"
				   "\x80\x22\x00\x0b"
				   "test vector\x20"
				   "\x00\x20\x00\x08"
				   "\x00\x01\xa1\x47\xe1\x12\xa6\x43"
				   "\x00\x08\x00\x14"
				   "\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9"
				   "\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7"
				   "\x80\x28\x00\x04"
				   "\xc0\x7d\x4c\x96";

/* Section 2.3: sample IPv6 response, 2001:db8:1234:5678:11:2233:4455:6677 port 32853. */
static const char response_2_3[] = "\x01\x01\x00\x48"
				   "\x21\x12\xa4\x42"
				   "\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae"
				   "\x80\x22\x00\x0b"
				   "test vector\x20"
				   "\x00\x20\x00\x14"
				   "\x00\x02\xa1\x47"
				   "\x01\x13\xa9\xfa\xa5\xd3\xf1\x79"
				   "\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"
				   "\x00\x08\x00\x14"
				   "\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c"
				   "\x82\x92\xc2\x75\xbf\xe3\xed\x41"
				   "\x80\x28\x00\x04"
				   "\xc8\xfb\x0b\x4c";

/* Section 2.4: sample request with long-term authentication; no FINGERPRINT, zero padding. */
static const char request_2_4[] = "\x00\x01\x00\x60"
				  "\x21\x12\xa4\x42"
				  "\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e"
				  "\x00\x06\x00\x12"
				  "\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83"
				  "\xe3\x82\xaf\xe3\x82\xb9\x00\x00"
				  "\x00\x15\x00\x1c"
				  "f//499k954d6OL34oL9FSTvy64sA"
				  "\x00\x14\x00\x0b"
				  "example.org\x00"
				  "\x00\x08\x00\x14"
				  "\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71"
				  "\x2e\x85\xc9\xa2\x8c\xa8\x96\x66";

static const struct {
	const char *bytes;
	size_t len;
	bool fingerprint, zero_padded;
} vectors[] = {
	{ request_2_1, sizeof(request_2_1) - 1, true, false },
	{ response_2_2, sizeof(response_2_2) - 1, true, false },
	{ response_2_3, sizeof(response_2_3) - 1, true, false },
	{ request_2_4, sizeof(request_2_4) - 1, false, true },
};

/* Decodes every attribute by its row and puts the message together again. */
static size_t re_encode(const struct stun_message *m, uint8_t *buf, size_t max)
{
	struct stun_builder b;
	struct stun_attr a;
	struct stun_value v;

	stun_begin(&b, buf, max, m->class, m->method, m->id);
	for (size_t offset = 0; stun_next(m, &offset, &a);) {
		assert_int_equal(stun_value_decode(&v, &a, m->id), 0);
		if (a.type == STUN_FINGERPRINT)
			stun_put_fingerprint(&b);
		else
			stun_put(&b, a.type, &v);
	}
	return stun_end(&b);
}

static void rfc5769_vectors_decode_and_their_fingerprint_is_right(void **state)
{
	struct stun_message m;
	uint8_t bent[128];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(stun_decode(&m, vectors[i].bytes, vectors[i].len), 0);
		assert_int_equal(m.malformed, 0);
		assert_int_equal(stun_has(&m, STUN_FINGERPRINT), vectors[i].fingerprint);
		assert_true(stun_has(&m, STUN_MESSAGE_INTEGRITY));
		if (!vectors[i].fingerprint)
			continue;
		for (size_t at = STUN_HEADER_LEN + 4; at < STUN_HEADER_LEN + 12; at++) { /* inside SOFTWARE */
			memcpy(bent, vectors[i].bytes, vectors[i].len);
			bent[at] ^= 1;
			assert_int_equal(stun_decode(&m, bent, vectors[i].len), -EBADMSG);
		}
	}
}

static void rfc5769_vectors_say_what_the_rfc_says(void **state)
{
	struct stun_message m;
	struct stun_value v;
	struct endpoint e, want;

	(void)state;
	assert_int_equal(stun_decode(&m, request_2_1, sizeof(request_2_1) - 1), 0);
	assert_int_equal(m.class, STUN_REQUEST);
	assert_int_equal(m.method, STUN_BINDING);
	assert_false(m.classic);
	assert_int_equal(m.unknown_count, 1);
	assert_int_equal(m.unknown[0], 0x0024);
	assert_int_equal(stun_get(&m, STUN_USERNAME, &v), 0);
	assert_int_equal(v.bytes.len, 9);
	assert_memory_equal(v.bytes.at, "evtj:h6vY", 9);
	assert_int_equal(stun_get(&m, STUN_SOFTWARE, &v), 0);
	assert_memory_equal(v.bytes.at, "STUN test client", 16);

	assert_int_equal(stun_decode(&m, response_2_2, sizeof(response_2_2) - 1), 0);
	assert_int_equal(m.class, STUN_SUCCESS);
	assert_int_equal(stun_mapped(&m, &e), 0);
	assert_int_equal(endpoint_parse_ip(&want, "192.0.2.1", 32853), 0);
	assert_true(endpoint_equal(&e, &want));

	assert_int_equal(stun_decode(&m, response_2_3, sizeof(response_2_3) - 1), 0);
	assert_int_equal(stun_mapped(&m, &e), 0);
	assert_int_equal(endpoint_parse_ip(&want, "2001:db8:1234:5678:11:2233:4455:6677", 32853), 0);
	assert_true(endpoint_equal(&e, &want));

	assert_int_equal(stun_decode(&m, request_2_4, sizeof(request_2_4) - 1), 0);
	assert_int_equal(stun_get(&m, STUN_REALM, &v), 0);
	assert_int_equal(v.bytes.len, 11);
	assert_memory_equal(v.bytes.at, "example.org", 11);
	assert_int_equal(stun_get(&m, STUN_NONCE, &v), 0);
	assert_int_equal(v.bytes.len, 28);
}

/* RFC 8489 section 14: padding is sent as zero, so the vectors' spaces come back as zeros and with them the CRC. */
static void rfc5769_vectors_re_encode(void **state)
{
	struct stun_message m, again;
	uint8_t buf[256];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(stun_decode(&m, vectors[i].bytes, vectors[i].len), 0);
		assert_int_equal(re_encode(&m, buf, sizeof(buf)), vectors[i].len);
		if (vectors[i].zero_padded)
			assert_memory_equal(buf, vectors[i].bytes, vectors[i].len);
		assert_int_equal(stun_decode(&again, buf, vectors[i].len), 0); /* FINGERPRINT right again */
		size_t a = 0, b = 0;
		struct stun_attr was, is;
		while (stun_next(&m, &a, &was)) {
			assert_true(stun_next(&again, &b, &is));
			assert_int_equal(was.type, is.type);
			assert_int_equal(was.len, is.len);
			if (was.type != STUN_FINGERPRINT)
				assert_memory_equal(was.value, is.value, was.len);
		}
	}
	/* With the padding made spaces again, FINGERPRINT computed by us is the RFC's, byte for byte. */
	uint8_t spaces[sizeof(response_2_2) - 1];
	struct stun_builder b = { .w = writer_new(spaces, sizeof(spaces)) };
	write_bytes(&b.w, response_2_2, sizeof(spaces) - 8);
	stun_put_fingerprint(&b);
	assert_int_equal(stun_end(&b), sizeof(spaces));
	assert_memory_equal(spaces, response_2_2, sizeof(spaces));
}

static void every_row_round_trips(void **state)
{
	const struct endpoint v4 = endpoint_ipv4(0xc0000201, 65535);
	struct endpoint v6;
	uint8_t buf[1024];
	size_t rows = 0;

	(void)state;
	assert_int_equal(endpoint_parse_ip(&v6, "2001:db8::9", 1), 0);
	for (const struct stun_row *row; (row = stun_row_at(rows)); rows++) {
		struct stun_value in[2], out;
		struct stun_message m;
		struct stun_builder b;

		assert_ptr_equal(stun_row(row->type), row); /* the table is sorted */
		for (size_t i = 0; i < 2; i++) {
			in[i] = (struct stun_value){ .layout = row->layout };
			switch (row->layout) {
			case STUN_LAYOUT_ADDRESS:
			case STUN_LAYOUT_XOR_ADDRESS:
				in[i].endpoint = i ? v6 : v4;
				break;
			case STUN_LAYOUT_U32:
				in[i].u32 = 0xdeadbeef;
				break;
			case STUN_LAYOUT_PORT:
				in[i].u32 = 0xbeef;
				break;
			case STUN_LAYOUT_ERROR:
				in[i].error.code = 420;
				in[i].error.reason = (const uint8_t *)"Unknown";
				in[i].error.reason_len = 7;
				break;
			case STUN_LAYOUT_TYPES:
				in[i].types.count = 3;
				in[i].types.list[0] = 0x7fff;
				break;
			case STUN_LAYOUT_BYTES:
				in[i].bytes.at = (const uint8_t *)"0123456789abcdef0123456789abcdef";
				in[i].bytes.len = row->min == 0 ? i : row->min;
				break;
			}
			stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
			if (row->type == STUN_FINGERPRINT)
				stun_put_fingerprint(&b);
			else
				stun_put(&b, row->type, &in[i]);
			assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
			assert_int_equal(m.malformed, 0);
			assert_true(stun_has(&m, row->type));
			assert_int_equal(stun_get(&m, row->type, &out), 0);
			if (row->layout == STUN_LAYOUT_BYTES) {
				assert_int_equal(out.bytes.len, in[i].bytes.len);
				assert_memory_equal(out.bytes.at, in[i].bytes.at, out.bytes.len);
			} else if (row->layout == STUN_LAYOUT_ERROR) {
				assert_int_equal(out.error.code, 420);
				assert_memory_equal(out.error.reason, "Unknown", 7);
			} else if (row->layout == STUN_LAYOUT_TYPES) {
				assert_int_equal(out.types.count, 3);
				assert_int_equal(out.types.list[0], 0x7fff);
			} else if (row->layout == STUN_LAYOUT_ADDRESS || row->layout == STUN_LAYOUT_XOR_ADDRESS) {
				assert_true(endpoint_equal(&out.endpoint, &in[i].endpoint));
			} else if (row->type != STUN_FINGERPRINT) {
				assert_int_equal(out.u32, in[i].u32);
			}
		}
	}
	assert_true(rows >= 27);
}

static void class_and_method_are_interleaved_rfc8489_section_5(void **state)
{
	struct stun_message m;
	struct stun_builder b;
	uint8_t buf[STUN_HEADER_LEN];

	(void)state;
	for (unsigned class = 0; class < 4; class ++) {
		for (unsigned method = 0; method < 0x1000; method++) {
			stun_begin(&b, buf, sizeof(buf), (enum stun_class)class, (uint16_t)method, id);
			assert_int_equal(stun_end(&b), STUN_HEADER_LEN);
			assert_int_equal(stun_decode(&m, buf, sizeof(buf)), 0);
			assert_int_equal(m.class, class);
			assert_int_equal(m.method, method);
		}
	}
	stun_begin(&b, buf, sizeof(buf), STUN_ERROR, STUN_BINDING, id);
	assert_int_equal(buf[0] << 8 | buf[1], 0x0111);
	stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_SHARED_SECRET, id);
	assert_int_equal(buf[0] << 8 | buf[1], 0x0102);
}

static void a_message_without_the_cookie_is_classic_rfc3489(void **state)
{
	/* Binding Request, all 128 bits of id, CHANGE-REQUEST 0, as old clients send it */
	static const uint8_t old[] = { 0x00, 0x01, 0x00, 0x08, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x00, 0x03, 0x00,
		0x04, 0, 0, 0, 0 };
	struct stun_message m;
	struct stun_value v;

	(void)state;
	assert_int_equal(stun_decode(&m, old, sizeof(old)), 0);
	assert_true(m.classic);
	assert_memory_equal(m.id, old + 4, 16);
	assert_int_equal(stun_get(&m, STUN_CHANGE_REQUEST, &v), 0);
	assert_int_equal(v.u32, 0);
	assert_int_equal(stun_get(&m, STUN_PADDING, &v), -ENOENT);
}

static void the_first_attribute_of_a_kind_counts_rfc8489_section_14(void **state)
{
	struct stun_message m;
	struct stun_value v;
	struct stun_builder b;
	uint8_t buf[64];

	(void)state;
	stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
	stun_put_u32(&b, STUN_CHANGE_REQUEST, STUN_CHANGE_IP);
	stun_put_u32(&b, STUN_CHANGE_REQUEST, STUN_CHANGE_PORT);
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
	assert_int_equal(stun_get(&m, STUN_CHANGE_REQUEST, &v), 0);
	assert_int_equal(v.u32, STUN_CHANGE_IP);
}

static void what_stands_behind_message_integrity_is_ignored_rfc8489_section_14_5(void **state)
{
	struct stun_message m;
	struct stun_builder b;
	uint8_t buf[128];

	(void)state;
	stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
	stun_put_bytes(&b, STUN_MESSAGE_INTEGRITY, "01234567890123456789", 20);
	stun_put_u32(&b, STUN_CHANGE_REQUEST, 6);
	stun_put_bytes(&b, 0x7000, "?", 1);
	stun_put_fingerprint(&b);
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
	assert_false(stun_has(&m, STUN_CHANGE_REQUEST));
	assert_int_equal(m.unknown_count, 0);
	assert_true(stun_has(&m, STUN_FINGERPRINT));
}

static void unknown_comprehension_required_types_are_listed_once_and_bounded(void **state)
{
	struct stun_message m;
	struct stun_builder b;
	uint8_t buf[512];

	(void)state;
	stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
	for (uint16_t i = 0; i < 40; i++)
		stun_put_bytes(&b, (uint16_t)(0x7000 + i / 2), "", 0);
	stun_put_bytes(&b, 0xf000, "optional", 8);
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
	assert_int_equal(m.unknown_count, STUN_UNKNOWN_MAX);
	assert_int_equal(m.unknown[0], 0x7000);
	assert_int_equal(m.unknown[15], 0x700f);
}

static void a_bad_value_is_named_and_the_message_still_decodes(void **state)
{
	struct stun_message m;
	struct stun_value v;
	struct stun_builder b;
	uint8_t buf[64];

	(void)state;
	stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
	stun_put_bytes(&b, STUN_CHANGE_REQUEST, "\0\0", 2);
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
	assert_int_equal(m.malformed, STUN_CHANGE_REQUEST);
	assert_int_equal(stun_get(&m, STUN_CHANGE_REQUEST, &v), -EBADMSG);

	stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_BINDING, id);
	stun_put_bytes(&b, STUN_XOR_MAPPED_ADDRESS, "\0\3\0\1\1\2\3\4", 8); /* family 3 */
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
	assert_int_equal(m.malformed, STUN_XOR_MAPPED_ADDRESS);
	assert_int_equal(stun_mapped(&m, &v.endpoint), -EBADMSG);

	stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_BINDING, id);
	stun_put_bytes(&b, STUN_MAPPED_ADDRESS, "\0\2\0\1\1\2\3\4", 8); /* IPv6 of 4 bytes */
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
	assert_int_equal(m.malformed, STUN_MAPPED_ADDRESS);
}

static void response_port_is_read_with_2_and_4_bytes(void **state)
{
	struct stun_message m;
	struct stun_value v;
	struct stun_builder b;
	uint8_t buf[64];

	(void)state;
	for (size_t len = 2; len <= 4; len++) {
		stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
		stun_put_bytes(&b, STUN_RESPONSE_PORT, "\x12\x34\xff\xff", len);
		assert_int_equal(stun_decode(&m, buf, stun_end(&b)), 0);
		assert_int_equal(stun_get(&m, STUN_RESPONSE_PORT, &v), len == 3 ? -EBADMSG : 0);
		if (len != 3)
			assert_int_equal(v.u32, 0x1234);
	}
}

static void every_cut_of_a_message_is_refused(void **state)
{
	struct stun_message m;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		for (size_t len = 0; len < vectors[i].len; len++) {
			uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees one byte too many */

			memcpy(exact, vectors[i].bytes, len);
			assert_int_equal(stun_decode(&m, exact, len), -EBADMSG);
			free(exact);
		}
	}
}

static void whatever_is_not_stun_is_refused(void **state)
{
	uint8_t buf[128] = { 0 };
	struct stun_message m;
	struct stun_builder b;

	(void)state;
	memcpy(buf, response_2_2, sizeof(response_2_2) - 1);
	buf[0] |= 0x80; /* RTP looks so */
	assert_int_equal(stun_decode(&m, buf, sizeof(response_2_2) - 1), -EBADMSG);
	memcpy(buf, response_2_2, sizeof(response_2_2) - 1);
	assert_int_equal(stun_decode(&m, buf, sizeof(response_2_2) + 3), -EBADMSG); /* bytes behind it */
	stun_begin(&b, buf, sizeof(buf), STUN_REQUEST, STUN_BINDING, id);
	stun_put_fingerprint(&b);
	stun_put_bytes(&b, STUN_SOFTWARE, "x", 1); /* FINGERPRINT not last */
	assert_int_equal(stun_decode(&m, buf, stun_end(&b)), -EBADMSG);
}

static void a_stream_tells_a_message_s_length_from_4_bytes(void **state)
{
	(void)state;
	assert_int_equal(stun_stream_len(response_2_2, 0), 0);
	assert_int_equal(stun_stream_len(response_2_2, 3), 0);
	assert_int_equal(stun_stream_len(response_2_2, 4), sizeof(response_2_2) - 1);
	assert_int_equal(stun_stream_len("G", 1), -EBADMSG); /* HTTP */
	assert_int_equal(stun_stream_len("\x01\x01\x00\x03", 4), -EBADMSG);
}

static void a_builder_that_runs_over_says_so(void **state)
{
	struct stun_builder b;
	uint8_t buf[30];

	(void)state;
	stun_begin(&b, buf, sizeof(buf), STUN_SUCCESS, STUN_BINDING, id);
	stun_put_endpoint(&b, STUN_XOR_MAPPED_ADDRESS, &(struct endpoint){ .family = ENDPOINT_IPV4 });
	stun_put_fingerprint(&b);
	assert_int_equal(stun_end(&b), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rfc5769_vectors_decode_and_their_fingerprint_is_right),
		T(rfc5769_vectors_say_what_the_rfc_says),
		T(rfc5769_vectors_re_encode),
		T(every_row_round_trips),
		T(class_and_method_are_interleaved_rfc8489_section_5),
		T(a_message_without_the_cookie_is_classic_rfc3489),
		T(the_first_attribute_of_a_kind_counts_rfc8489_section_14),
		T(what_stands_behind_message_integrity_is_ignored_rfc8489_section_14_5),
		T(unknown_comprehension_required_types_are_listed_once_and_bounded),
		T(a_bad_value_is_named_and_the_message_still_decodes),
		T(response_port_is_read_with_2_and_4_bytes),
		T(every_cut_of_a_message_is_refused),
		T(whatever_is_not_stun_is_refused),
		T(a_stream_tells_a_message_s_length_from_4_bytes),
		T(a_builder_that_runs_over_says_so),
	};

	return RUN(tests);
}
