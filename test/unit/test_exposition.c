/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "sys/exposition.h"

static void a_family_has_help_and_type_before_its_values(void **state)
{
	char buf[256];
	struct text t;

	(void)state;
	text_begin(&t, buf, sizeof(buf));
	exposition_family(&t, "a_total", "counter", "What a is.");
	exposition_count(&t, "a_total", (struct exposition_label[]){ { "x", "1" }, { "y", "two" } }, 2, UINT64_MAX);
	exposition_single(&t, "b", "gauge", NULL, 0.0125);
	exposition_value(&t, "b", NULL, 0, -1.5);
	exposition_value(&t, "b", NULL, 0, 4294967296.0);
	assert_string_equal(buf, "# HELP a_total What a is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"two\"} 18446744073709551615\n"
				 "# TYPE b gauge\nb 0.0125\nb -1.5\nb 4294967296\n");
}

static void a_label_may_hold_anything(void **state)
{
	char buf[64];
	struct text t;

	(void)state;
	text_begin(&t, buf, sizeof(buf));
	exposition_count(&t, "a", &(struct exposition_label){ "x", "q\"b\\n\nend" }, 1, 0);
	assert_string_equal(buf, "a{x=\"q\\\"b\\\\n\\nend\"} 0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_family_has_help_and_type_before_its_values),
		T(a_label_may_hold_anything),
	};

	return RUN(tests);
}
