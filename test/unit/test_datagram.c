/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/datagram.h"

/* 198.51.100.2:3479 → 100.64.0.2:40000, "hello", with 4 bytes of IP options and 3 of Ethernet's padding */
static const uint8_t packet[] = { 0x46, 0, 0, 37, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 2, 100, 64, 0, 2, 1, 1, 1, 1,
	0x0d, 0x97, 0x9c, 0x40, 0, 13, 0xbe, 0xef, 'h', 'e', 'l', 'l', 'o', 0, 0, 0 };
#define WHOLE 37

static void a_datagram_is_found_behind_options_and_before_padding(void **state)
{
	char text[ENDPOINT_TEXT_MAX];
	struct datagram d;

	(void)state;
	assert_int_equal(datagram_decode(&d, packet, sizeof(packet)), 0);
	assert_string_equal(endpoint_text(&d.from, text), "198.51.100.2:3479");
	assert_string_equal(endpoint_text(&d.to, text), "100.64.0.2:40000");
	assert_int_equal(d.len, 5);
	assert_memory_equal(d.bytes, "hello", 5);
}

static void every_cut_is_refused(void **state)
{
	struct datagram d;

	(void)state;
	for (size_t len = 0; len < WHOLE; len++) {
		uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees one byte too many */

		memcpy(exact, packet, len);
		assert_int_equal(datagram_decode(&d, exact, len), -EBADMSG);
		free(exact);
	}
}

static void what_is_not_one_whole_udp_datagram_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} bends[] = {
		{ 0, 0x66 },  /* IPv6 */
		{ 0, 0x44 },  /* a header of 16 bytes */
		{ 0, 0x4f },  /* one of 60, longer than the packet */
		{ 2, 0x01 },  /* longer than what came */
		{ 6, 0x20 },  /* a first fragment */
		{ 7, 0x01 },  /* a later one */
		{ 9, 6 },     /* TCP */
		{ 29, 7 },    /* shorter than its own header */
		{ 29, 14 },   /* into the padding */
		{ 28, 0xff }, /* beyond everything */
	};
	struct datagram d;

	(void)state;
	for (size_t i = 0; i < sizeof(bends) / sizeof(bends[0]); i++) {
		uint8_t bent[sizeof(packet)];

		memcpy(bent, packet, sizeof(packet));
		bent[bends[i].at] = bends[i].value;
		assert_int_equal(datagram_decode(&d, bent, sizeof(bent)), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_datagram_is_found_behind_options_and_before_padding),
		T(every_cut_is_refused),
		T(what_is_not_one_whole_udp_datagram_is_refused),
	};

	return RUN(tests);
}
