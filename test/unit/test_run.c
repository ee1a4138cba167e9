/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/run.h"
#include "test/unit/test.h"

#define SHORTLY(...) run_program((const char *const[]){ __VA_ARGS__, NULL }, input, output, sizeof(output), 5000)

static void input_output_and_status_pass(void **state)
{
	const char *input = "one\ntwo\n";
	char output[64];

	(void)state;
	assert_int_equal(SHORTLY("sh", "-c", "cat; echo said >&2; exit 3"), 3);
	assert_string_equal(output, "one\ntwo\nsaid\n");
	assert_int_equal(SHORTLY("sh", "-c", "kill -9 $$"), 128 + SIGKILL);
	assert_int_equal(SHORTLY("no-such-program"), RUN_NOT_FOUND);
	assert_string_equal(output, "");
}

static void the_environment_is_clean_and_no_signal_ignored(void **state)
{
	const char *input = NULL;
	char output[512];

	(void)state;
	setenv("LD_LIBRARY_PATH", "/nowhere", 1);
	setenv("PATH", "/nowhere", 1);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(SHORTLY("env"), 0);
	assert_string_equal(output, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n");
	assert_int_equal(SHORTLY("sh", "-c", "kill -PIPE $$"), 128 + SIGPIPE);
}

static void long_texts_pass_and_a_long_answer_is_cut(void **state)
{
	static char input[1 << 20], output[1 << 20];
	char small[8];

	(void)state;
	memset(input, 'x', sizeof(input) - 1);
	assert_int_equal(SHORTLY("cat"), 0);
	assert_string_equal(output, input);
	assert_int_equal(run_program((const char *const[]){ "cat", NULL }, input, small, sizeof(small), 5000), 0);
	assert_string_equal(small, "xxxxxxx");
	assert_int_equal(SHORTLY("true"), 0); /* reads nothing of it */
}

static void whoever_takes_too_long_is_killed(void **state)
{
	const char *const silent[] = { "sleep", "60", NULL }, *const closed[] = { "sh", "-c", "exec >&- 2>&-; sleep 60", NULL };
	const uint64_t began_ms = clock_ms();
	char output[8];

	(void)state;
	assert_int_equal(run_program(silent, NULL, output, sizeof(output), 50), -ETIMEDOUT);
	assert_int_equal(run_program(closed, NULL, output, sizeof(output), 50), -ETIMEDOUT);
	assert_in_range(clock_ms() - began_ms, 100, 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(input_output_and_status_pass),
		T(the_environment_is_clean_and_no_signal_ignored),
		T(long_texts_pass_and_a_long_answer_is_cut),
		T(whoever_takes_too_long_is_killed),
	};

	return RUN(tests);
}
