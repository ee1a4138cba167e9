/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "lib/cursor.h"

static void numbers_are_in_network_byte_order(void **state)
{
	static const uint8_t bytes[] = { 0x01, 0x02, 0x03, 0xff, 0x04, 0x05, 0x06 };
	struct reader r = { .at = bytes, .left = sizeof(bytes) };
	uint8_t written[sizeof(bytes)];
	struct writer w = writer_new(written, sizeof(written));

	(void)state;
	assert_int_equal(read_u8(&r), 0x01);
	assert_int_equal(read_u16(&r), 0x0203);
	assert_int_equal(read_u32(&r), 0xff040506);
	assert_false(r.overrun);
	assert_int_equal(r.left, 0);

	write_u8(&w, 0x01);
	write_u16(&w, 0x0203);
	write_u32(&w, 0xff040506);
	assert_false(w.overrun);
	assert_memory_equal(written, bytes, sizeof(bytes));
}

static void an_overrun_gives_zeros_and_is_never_forgotten(void **state)
{
	static const uint8_t bytes[] = { 0xaa, 0xbb, 0xcc };
	struct reader r = { .at = bytes, .left = sizeof(bytes) };

	(void)state;
	assert_int_equal(read_u32(&r), 0);
	assert_true(r.overrun);
	assert_int_equal(read_u8(&r), 0); /* though three bytes are left */
	assert_int_equal(read_u16(&r), 0);
	assert_null(read_bytes(&r, 0));
	assert_true(r.overrun);
}

static void a_huge_length_does_not_wrap(void **state)
{
	uint8_t bytes[4] = { 0 };
	struct reader r = { .at = bytes, .left = sizeof(bytes) };
	struct writer w = writer_new(bytes, sizeof(bytes));

	(void)state;
	read_u8(&r);
	assert_null(read_bytes(&r, SIZE_MAX));
	write_u8(&w, 1);
	assert_null(write_room(&w, SIZE_MAX));
	assert_int_equal(w.used, 1);
}

static void a_part_cannot_read_its_neighbour(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5 };
	struct reader r = { .at = bytes, .left = sizeof(bytes) };
	struct reader part = read_part(&r, 2);

	(void)state;
	assert_int_equal(read_u8(&part), 1);
	assert_int_equal(read_u16(&part), 0);
	assert_true(part.overrun);
	assert_false(r.overrun);
	assert_int_equal(read_u8(&r), 3); /* the whole goes on behind the part */

	part = read_part(&r, 3);
	assert_true(part.overrun);
	assert_true(r.overrun);
	assert_int_equal(part.left, 0);
}

static void a_part_of_nothing_is_no_overrun(void **state)
{
	static const uint8_t bytes[] = { 1 };
	struct reader r = { .at = bytes, .left = sizeof(bytes) };
	struct reader part = read_part(&r, 0);

	(void)state;
	assert_false(part.overrun);
	assert_int_equal(part.left, 0);
	assert_int_equal(read_u8(&r), 1);
}

static void a_writer_never_writes_beyond_its_end(void **state)
{
	uint8_t buf[8];

	(void)state;
	for (size_t max = 0; max <= 7; max++) {
		struct writer w = writer_new(buf, max);

		memset(buf, 0xee, sizeof(buf));
		write_u32(&w, 0x01020304);
		write_bytes(&w, "abc", 3);
		write_zeros(&w, 1);
		assert_true(w.overrun); /* 8 bytes in at most 7 */
		assert_true(w.used <= max);
		for (size_t i = max; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xee);
	}
}

static void a_writer_that_ran_over_stays_so(void **state)
{
	uint8_t buf[2] = { 0 };
	struct writer w = writer_new(buf, sizeof(buf));

	(void)state;
	write_bytes(&w, "abc", 3);
	write_u8(&w, 1);
	assert_true(w.overrun);
	assert_int_equal(w.used, 0);
	assert_int_equal(buf[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(numbers_are_in_network_byte_order),
		T(an_overrun_gives_zeros_and_is_never_forgotten),
		T(a_huge_length_does_not_wrap),
		T(a_part_cannot_read_its_neighbour),
		T(a_part_of_nothing_is_no_overrun),
		T(a_writer_never_writes_beyond_its_end),
		T(a_writer_that_ran_over_stays_so),
	};

	return RUN(tests);
}
