/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/helper.h"

#define WAIT_MS 10000

enum { ECHO_BACK, STATUS, HANGS, NO_PROGRAM, VARIABLES, WHO };

static const char *const files[] = { "/etc/passwd", "/no/such/file", NULL };
static const char *const *const commands[] = {
	[ECHO_BACK] = (const char *const[]){ "cat", NULL },
	[STATUS] = (const char *const[]){ "sh", "-c", "echo out; echo err >&2; exit 3", NULL },
	[HANGS] = (const char *const[]){ "sh", "-c", "echo $$; sleep 60 & wait", NULL },
	[NO_PROGRAM] = (const char *const[]){ "no-such-program", NULL },
	[VARIABLES] = (const char *const[]){ "LOCK=/dev/null", "env", NULL },
	[WHO] = (const char *const[]){ "grep", "-E", "Uid|CapEff|NoNewPrivs", "/proc/self/status", NULL },
	NULL,
};

/* What the helper finds when it looks for its hook again; written to before it starts, for it is another process. */
static struct another_hook {
	const char *path;
	int err;
} *another;

static int hook_again(void *owner, char **out)
{
	const struct another_hook *a = owner;

	if (a->err == 0 && a->path)
		*out = strdup(a->path);
	return a->err;
}

/* A hook in a directory of its own. */
static char hook_path[] = "/tmp/test-helper-XXXXXX";

static struct helper *start(const char *hook_text)
{
	static struct helper_config config;
	struct helper *h = NULL;

	config = (struct helper_config){ .files = files, .commands = commands, .hook = hook_text ? hook_path : NULL,
		.hook_again = hook_again, .owner = another };
	if (getuid() == 0)
		config.user = "nobody", config.uid = config.gid = 65534;
	if (hook_text) {
		strcpy(hook_path, "/tmp/test-helper-XXXXXX");
		FILE *file = fdopen(mkstemp(hook_path), "w");

		assert_non_null(file);
		fprintf(file, "#!/bin/sh\n%s\n", hook_text);
		fchmod(fileno(file), 0755);
		fclose(file);
	}
	assert_int_equal(helper_start(&h, &config), 0);
	return h;
}

static void stop(struct helper *h)
{
	helper_stop(h);
	unlink(hook_path);
}

/* All that a hook writes, until its end: its status. */
static int hook_end(int fd, char *output, size_t max)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct helper_event e = { .kind = HELPER_OUTPUT };
	size_t used = 0;

	assert_true(fd >= 0);
	output[0] = '\0';
	while (e.kind != HELPER_END) {
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_int_equal(helper_read(fd, &e), 0);
		if (e.kind == HELPER_OUTPUT)
			used += (size_t)snprintf(output + used, max - used, "%s", e.text);
		assert_true(used < max);
	}
	close(fd);
	return e.status;
}

static bool gone(pid_t pid)
{
	for (int i = 0; i < WAIT_MS / 10; i++) {
		char path[64], line[256] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		file = fopen(path, "r");
		if (!file)
			return true;
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		fclose(file);
		if (strstr(line, ") Z "))
			return true; /* dead; its new parent may be slow to bury it */
		usleep(10000);
	}
	return false;
}

static void files_of_the_table_are_opened_and_no_others(void **state)
{
	struct helper *h = start(NULL);
	const int fd = helper_open(h, 0);
	char c;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &c, 1), 1);
	close(fd);
	assert_int_equal(helper_open(h, 1), -ENOENT);
	assert_int_equal(helper_open(h, 2), -EINVAL);
	stop(h);
}

static void a_command_gets_its_text_and_its_output_comes_back_whole(void **state)
{
	struct helper *h = start(NULL);
	const size_t size = 1 << 20;
	char *text = malloc(size), *output = malloc(size);

	(void)state;
	for (size_t i = 0; i < size; i++)
		text[i] = (char)('a' + i % 23);
	text[size - 1] = '\0';
	assert_int_equal(helper_run(h, ECHO_BACK, text, output, size), 0);
	assert_string_equal(output, text);
	assert_int_equal(helper_run(h, ECHO_BACK, text, output, 4), 0);
	assert_string_equal(output, "abc");
	assert_int_equal(helper_run(h, ECHO_BACK, NULL, NULL, 0), 0);
	free(text);
	free(output);
	stop(h);
}

static void a_status_comes_back_and_commands_of_no_table_do_not_run(void **state)
{
	struct helper *h = start(NULL);
	char output[256];

	(void)state;
	assert_int_equal(helper_run(h, STATUS, "text that it does not read", output, sizeof(output)), 3);
	assert_string_equal(output, "out\nerr\n");
	assert_int_equal(helper_run(h, NO_PROGRAM, NULL, output, sizeof(output)), 127);
	assert_non_null(strstr(output, "cannot run no-such-program"));
	assert_int_equal(helper_run(h, WHO + 1, NULL, output, sizeof(output)), -EINVAL);
	assert_int_equal(hook_end(helper_hook(h, (const char *const[]){ NULL }, (const char *const[]){ NULL }, 1000), output, 256), -EINVAL);
	stop(h);
}

static void a_command_that_hangs_is_ended_with_its_children(void **state)
{
	struct helper *h = start(NULL);
	const uint64_t began_ms = clock_ms();
	char output[64];

	(void)state;
	assert_int_equal(helper_run(h, HANGS, NULL, output, sizeof(output)), -ETIMEDOUT);
	assert_in_range(clock_ms() - began_ms, HELPER_RUN_MS, HELPER_RUN_MS + WAIT_MS);
	assert_true(gone(atoi(output)));
	stop(h);
}

static void a_command_waits_for_its_lock(void **state)
{
	char path[] = "/tmp/test-helper-lock-XXXXXX", output[64];
	const int fd = mkstemp(path);
	const struct helper_config config = { .files = files, .commands = commands, .lock = path };
	struct helper *h;

	(void)state;
	assert_int_equal(helper_start(&h, &config), 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(helper_run(h, STATUS, NULL, output, sizeof(output)), -ETIMEDOUT);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(helper_run(h, STATUS, NULL, output, sizeof(output)), 3);
	close(fd);
	unlink(path);
	stop(h);
}

static void a_command_has_a_clean_environment_and_the_network_s_rights_alone(void **state)
{
	struct helper *h = start(NULL);
	char output[512];

	(void)state;
	setenv("SECRET", "1", 1);
	assert_int_equal(helper_run(h, VARIABLES, NULL, output, sizeof(output)), 0);
	assert_string_equal(output, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nLOCK=/dev/null\n");
	if (getuid() == 0) {
		assert_int_equal(helper_run(h, WHO, NULL, output, sizeof(output)), 0);
		assert_string_equal(output, "Uid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000003000\nNoNewPrivs:\t1\n");
	}
	stop(h);
}

static void a_hook_has_its_words_and_no_rights(void **state)
{
	struct helper *h = start("echo \"$#|$1|$2|$3\"; env | sort | grep -v -e PWD -e SHLVL -e ^_; grep -E 'CapEff|CapBnd' /proc/self/status; cat; exit 7");
	char output[1024];

	(void)state;
	assert_int_equal(hook_end(helper_hook(h, (const char *const[]){ "203.0.113.1", "", "a b;$(id)", NULL },
					  (const char *const[]){ "STUNWAY_EVENT=open", NULL }, 10000), output, sizeof(output)), 7);
	if (getuid() == 0)
		assert_string_equal(output, "3|203.0.113.1||a b;$(id)\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nSTUNWAY_EVENT=open\n"
					    "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n");
	else
		assert_non_null(strstr(output, "3|203.0.113.1||a b;$(id)\n"));
	stop(h);
}

static void the_helper_looks_itself_which_hook_there_is(void **state)
{
	const char *const none[] = { NULL };
	char output[256];

	(void)state;
	another = mmap(NULL, sizeof(*another), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(another, MAP_FAILED);
	*another = (struct another_hook){ .path = "/bin/echo" };
	struct helper *h = start("echo first");
	assert_int_equal(hook_end(helper_hook(h, none, none, 10000), output, sizeof(output)), 0);
	assert_string_equal(output, "first\n"); /* it has not been told to look */
	assert_int_equal(helper_hook_again(h), 0);
	assert_int_equal(hook_end(helper_hook(h, (const char *const[]){ "second", NULL }, none, 10000), output, sizeof(output)), 0);
	assert_string_equal(output, "second\n");
	another->err = -EACCES;
	assert_int_equal(helper_hook_again(h), -EACCES);
	assert_int_equal(hook_end(helper_hook(h, (const char *const[]){ "third", NULL }, none, 10000), output, sizeof(output)), 0);
	assert_string_equal(output, "third\n");
	*another = (struct another_hook){ .path = NULL };
	assert_int_equal(helper_hook_again(h), 0);
	assert_int_equal(hook_end(helper_hook(h, none, none, 10000), output, sizeof(output)), -EINVAL);
	stop(h);
	munmap(another, sizeof(*another));
	another = NULL;
}

static void a_hook_that_hangs_may_end_itself_and_is_killed_otherwise(void **state)
{
	struct helper *h = start("trap 'echo told' TERM; echo $$; while :; do sleep 0.1; done");
	const char *const none[] = { NULL };
	char output[256];

	(void)state;
	assert_int_equal(hook_end(helper_hook(h, none, none, 2000), output, sizeof(output)), -ETIMEDOUT);
	assert_non_null(strstr(output, "told\n"));
	assert_true(gone(atoi(output)));
	stop(h);
}

static int hanging_hook(struct helper *h, pid_t *pid)
{
	const char *const none[] = { NULL };
	const int fd = helper_hook(h, none, none, 60000);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct helper_event e;

	assert_true(fd >= 0);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(helper_read(fd, &e), 0);
	*pid = atoi(e.text);
	assert_true(*pid > 0);
	return fd;
}

/* With some of these the socket's room ends just before the last word. */
static void who_reads_late_hears_of_the_end(void **state)
{
	struct helper *h = start("exec dd if=/dev/zero bs=1024 count=$1 2>/dev/null");
	const char *const none[] = { NULL };
	int fds[HELPER_JOBS_MAX];
	char output[256];

	(void)state;
	for (int first = 32; first < 32 + 6 * HELPER_JOBS_MAX; first += HELPER_JOBS_MAX) {
		for (int i = 0; i < HELPER_JOBS_MAX; i++) {
			char count[8];

			snprintf(count, sizeof(count), "%d", first + i);
			fds[i] = helper_hook(h, (const char *const[]){ count, NULL }, none, 10000);
		}
		usleep(200000);
		for (int i = 0; i < HELPER_JOBS_MAX; i++)
			assert_int_equal(hook_end(fds[i], output, sizeof(output)), 0);
		usleep(200000); /* until the helper has counted them out */
	}
	stop(h);
}

static void closing_its_descriptor_ends_a_hook(void **state)
{
	struct helper *h = start("echo $$; sleep 60");
	pid_t pid;

	(void)state;
	close(hanging_hook(h, &pid));
	assert_true(gone(pid));
	stop(h);
}

static void too_many_jobs_are_refused_and_room_comes_back(void **state)
{
	struct helper *h = start("echo $$; sleep 60");
	const char *const none[] = { NULL };
	int fds[HELPER_JOBS_MAX];
	struct helper_event e;
	pid_t pid;

	(void)state;
	for (int i = 0; i < HELPER_JOBS_MAX; i++)
		fds[i] = hanging_hook(h, &pid);
	const int beyond = helper_hook(h, none, none, 1000);

	assert_int_equal(poll(&(struct pollfd){ .fd = beyond, .events = POLLIN }, 1, WAIT_MS), 1);
	assert_int_equal(helper_read(beyond, &e), -EPIPE);
	close(beyond);
	for (int i = 0; i < HELPER_JOBS_MAX; i++)
		close(fds[i]);
	assert_true(gone(pid));
	for (int i = 0; i < WAIT_MS / 10 && helper_run(h, STATUS, NULL, NULL, 0) == -EPIPE; i++)
		usleep(10000);
	assert_int_equal(helper_run(h, STATUS, NULL, NULL, 0), 3);
	stop(h);
}

static void helper_and_hooks_die_with_the_program(void **state)
{
	struct { pid_t helper, hook; } pids;
	int pipes[2], status;
	pid_t program;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	program = fork();
	if (program == 0) {
		struct helper *h = start("echo $$; sleep 60");

		hanging_hook(h, &pids.hook);
		memcpy(&pids.helper, (char *)h + sizeof(pid_t), sizeof(pid_t)); /* struct helper: fd, pid */
		if (write(pipes[1], &pids, sizeof(pids)) != sizeof(pids))
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(read(pipes[0], &pids, sizeof(pids)), sizeof(pids));
	waitpid(program, &status, 0);
	assert_true(gone(pids.helper));
	assert_true(gone(pids.hook));
	close(pipes[0]);
	close(pipes[1]);
}

static void without_a_helper_every_call_says_so(void **state)
{
	struct helper *h = start(NULL);
	pid_t pid;

	(void)state;
	memcpy(&pid, (char *)h + sizeof(pid_t), sizeof(pid));
	kill(pid, SIGKILL);
	assert_true(gone(pid));
	assert_int_equal(helper_open(h, 0), -EPIPE);
	assert_int_equal(helper_run(h, STATUS, NULL, NULL, 0), -EPIPE);
	stop(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(files_of_the_table_are_opened_and_no_others),
		T(a_command_gets_its_text_and_its_output_comes_back_whole),
		T(a_status_comes_back_and_commands_of_no_table_do_not_run),
		T(a_command_that_hangs_is_ended_with_its_children),
		T(a_command_waits_for_its_lock),
		T(a_command_has_a_clean_environment_and_the_network_s_rights_alone),
		T(a_hook_has_its_words_and_no_rights),
		T(the_helper_looks_itself_which_hook_there_is),
		T(a_hook_that_hangs_may_end_itself_and_is_killed_otherwise),
		T(who_reads_late_hears_of_the_end),
		T(closing_its_descriptor_ends_a_hook),
		T(too_many_jobs_are_refused_and_room_comes_back),
		T(helper_and_hooks_die_with_the_program),
		T(without_a_helper_every_call_says_so),
	};

	return RUN(tests);
}
