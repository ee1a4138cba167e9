/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <stdlib.h>

#include "lib/json.h"

static char text[512];

static const char *string(const char *value)
{
	struct json j;
	size_t len;

	json_begin(&j, text, sizeof(text));
	json_text(&j, "k", value);
	len = json_end(&j);
	assert_int_equal(len, strlen(text));
	return text;
}

static const char *number(double value)
{
	struct json j;
	size_t len;

	json_begin(&j, text, sizeof(text));
	json_number(&j, "k", value);
	len = json_end(&j);
	assert_int_equal(len, strlen(text));
	return text;
}

static void members_stand_between_commas_at_every_depth(void **state)
{
	const struct endpoint none = { 0 }, e = endpoint_ipv4(0xcb007109, 40001);
	struct json j;

	(void)state;
	json_begin(&j, text, sizeof(text));
	json_endpoint(&j, "external", &e);
	json_endpoint(&j, "local", &none);
	json_open(&j, "empty");
	json_close(&j);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	assert_true(json_end(&j) > 0);
	assert_string_equal(text, "{\"external\":{\"address\":\"203.0.113.9\",\"port\":40001},\"local\":null,\"empty\":{},\"yes\":true,\"no\":false}");
}

static void an_array_holds_numbers_texts_and_objects(void **state)
{
	struct json j;

	(void)state;
	json_begin(&j, text, sizeof(text));
	json_list(&j, "list");
	json_count(&j, NULL, 18446744073709551615u);
	json_text(&j, NULL, "a");
	json_open(&j, NULL);
	json_count(&j, "n", 0);
	json_close(&j);
	json_list_end(&j);
	json_list(&j, "empty");
	json_list_end(&j);
	assert_true(json_end(&j) > 0);
	assert_string_equal(text, "{\"list\":[18446744073709551615,\"a\",{\"n\":0}],\"empty\":[]}");
}

static void objects_follow_each_other_in_a_text_that_grows(void **state)
{
	struct text t = TEXT_GROWING;
	struct json j;
	size_t len;
	char *whole;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		json_append(&j, &t);
		json_count(&j, "n", i);
		len = json_end(&j);
		assert_int_equal(len, t.len);
	}
	whole = text_take(&t, &len);
	assert_int_equal(len, strlen(whole));
	assert_int_equal(len, 10 * 7 + 90 * 8 + 900 * 9);
	assert_memory_equal(whole, "{\"n\":0}{\"n\":1}", 14);
	free(whole);
	whole = text_take(&t, &len); /* nothing was written */
	assert_string_equal(whole, "");
	free(whole);
}

static void what_json_forbids_in_a_string_is_escaped(void **state)
{
	(void)state;
	assert_string_equal(string("a\"b\\c\n\x01\x7f"), "{\"k\":\"a\\u0022b\\u005cc\\u000a\\u0001\\u007f\"}");
}

static void utf_8_stays_and_what_is_none_becomes_u_fffd(void **state)
{
	(void)state;
	assert_string_equal(string("Zürich 東京 😀"), "{\"k\":\"Zürich 東京 😀\"}");
	assert_string_equal(string("\xff" "a\xc3"), "{\"k\":\"\\ufffda\\ufffd\"}");
	assert_string_equal(string("\xc0\xaf"), "{\"k\":\"\\ufffd\\ufffd\"}");			 /* overlong */
	assert_string_equal(string("\xed\xa0\x80"), "{\"k\":\"\\ufffd\\ufffd\\ufffd\"}");		 /* a surrogate */
	assert_string_equal(string("\xf4\x90\x80\x80"), "{\"k\":\"\\ufffd\\ufffd\\ufffd\\ufffd\"}"); /* beyond U+10FFFF */
}

static void numbers_have_up_to_six_decimals_and_a_point(void **state)
{
	(void)state;
	assert_string_equal(number(0), "{\"k\":0}");
	assert_string_equal(number(65535), "{\"k\":65535}");
	assert_string_equal(number(0.999), "{\"k\":0.999}");
	assert_string_equal(number(0.00000049), "{\"k\":0}");
	assert_string_equal(number(0.1234567), "{\"k\":0.123457}");
	assert_string_equal(number(-1), "{\"k\":0}");
	assert_string_equal(number(0.0 / 0.0), "{\"k\":0}");
}

static void an_object_that_does_not_fit_is_none(void **state)
{
	struct json j;

	(void)state;
	for (size_t size = 1; size < 8; size++) {
		json_begin(&j, text, size);
		json_none(&j, "");
		assert_int_equal(json_end(&j), 0);
	}
	json_begin(&j, text, 10);
	json_none(&j, "");
	assert_int_equal(json_end(&j), 9);
	assert_string_equal(text, "{\"\":null}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(members_stand_between_commas_at_every_depth),
		T(an_array_holds_numbers_texts_and_objects),
		T(objects_follow_each_other_in_a_text_that_grows),
		T(what_json_forbids_in_a_string_is_escaped),
		T(utf_8_stays_and_what_is_none_becomes_u_fffd),
		T(numbers_have_up_to_six_decimals_and_a_point),
		T(an_object_that_does_not_fit_is_none),
	};

	return RUN(tests);
}
