/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/confine.h"

enum { FINE = 0, WRONG = 1, NOT_HERE = 2 };

/* What a confined child makes of body: its exit status, or 128 and the signal that ended it. */
static int confined(enum confine_work work, int (*body)(void))
{
	const pid_t pid = fork();
	int status, err;

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		if (confine_privileges(0) < 0)
			_exit(WRONG);
		err = confine_calls(work);
		_exit(err == -ENOTSUP ? NOT_HERE : err < 0 ? WRONG : body());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void assert_work(enum confine_work work, int (*body)(void), int want)
{
	const int got = confined(work, body);

	if (got != NOT_HERE) /* no seccomp, or a build with sanitizers */
		assert_int_equal(got, want);
}

static void assert_confined(int (*body)(void), int want)
{
	assert_work(CONFINE_SERVER, body, want);
}

static int unknown_calls(void)
{
	if (syscall(SYS_mkdirat, AT_FDCWD, "/tmp/x", 0700) == 0 || errno != ENOSYS)
		return WRONG;
	if (fork() >= 0 || errno != ENOSYS)
		return WRONG;
	return syscall(SYS_setuid, 0) == 0 || errno != ENOSYS ? WRONG : FINE;
}

static int known_calls_used_otherwise(void)
{
	if (open("/dev/null", O_WRONLY) >= 0 || errno != EPERM)
		return WRONG;
	if (socket(AF_INET, SOCK_DGRAM, 0) >= 0 || errno != EPERM)
		return WRONG;
	return mprotect(sbrk(0), 4096, 7) == 0 ? WRONG : FINE;
}

static int what_a_server_does(void)
{
	const int fd = open("/proc/self/status", O_RDONLY);
	char buf[64];
	void *block = malloc(1 << 20);

	if (fd < 0 || read(fd, buf, sizeof(buf)) <= 0 || close(fd) < 0 || !block)
		return WRONG;
	free(block);
	return fprintf(stderr, "%s", "") < 0 || isatty(2) < 0 ? WRONG : FINE;
}

static int runs_a_program(void)
{
	char *argv[] = { "true", NULL };

	execv("/bin/true", argv);
	return WRONG;
}

static int looks_into_another(void)
{
	ptrace(PTRACE_ATTACH, getppid(), 0, 0);
	return WRONG;
}

static void *nothing(void *unused)
{
	return unused;
}

static int what_a_gateway_does(void)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	char path[] = "/tmp/test-confine-XXXXXX", renamed[sizeof(path) + 1];
	pthread_t thread;
	int fd;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if ((fd = socket(families[i], families[i] == AF_NETLINK ? SOCK_RAW : SOCK_DGRAM, 0)) < 0 || close(fd) < 0)
			return WRONG;
	if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
		return WRONG;
	if (if_nametoindex("lo") == 0)
		return WRONG;
	fd = mkstemp(path);
	snprintf(renamed, sizeof(renamed), "%s~", path);
	if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0 || rename(path, renamed) < 0 || unlink(renamed) < 0)
		return WRONG;
	return FINE;
}

static int what_a_gateway_does_not(void)
{
	if (socket(AF_PACKET, SOCK_DGRAM, 0) >= 0 || errno != EPERM)
		return WRONG;
	if (fork() >= 0 || errno != ENOSYS)
		return WRONG;
	return syscall(SYS_mount, "a", "b", "c", 0, 0) == 0 ? WRONG : FINE;
}

static void unknown_calls_answer_enosys(void **state)
{
	(void)state;
	assert_confined(unknown_calls, FINE);
}

static void known_calls_are_refused_what_no_server_wants(void **state)
{
	(void)state;
	assert_confined(known_calls_used_otherwise, FINE);
}

static void a_server_can_do_its_work(void **state)
{
	(void)state;
	assert_confined(what_a_server_does, FINE);
}

static void what_an_intruder_begins_with_ends_the_process(void **state)
{
	(void)state;
	assert_confined(runs_a_program, 128 + SIGSYS);
	assert_confined(looks_into_another, 128 + SIGSYS);
}

static void a_gateway_opens_sockets_threads_and_its_state_file(void **state)
{
	(void)state;
	assert_work(CONFINE_GATEWAY, what_a_gateway_does, FINE);
}

static void a_gateway_taps_no_packets_and_runs_nothing(void **state)
{
	(void)state;
	assert_work(CONFINE_GATEWAY, what_a_gateway_does_not, 128 + SIGSYS);
	assert_work(CONFINE_GATEWAY, runs_a_program, 128 + SIGSYS);
}

static int keeps_what_it_names(void)
{
	const uint64_t admin = CONFINE_CAP(12);

	if (confine_user("nobody", 65534, 65534, admin) < 0 || confine_privileges(admin) < 0 || getuid() != 65534)
		return WRONG;
	return confine_capabilities() == admin ? FINE : WRONG;
}

static void a_user_keeps_the_capabilities_that_are_named(void **state)
{
	const pid_t pid = getuid() == 0 ? fork() : -1;
	int status;

	(void)state;
	if (pid < 0)
		return; /* who is not root has none to keep */
	if (pid == 0)
		_exit(keeps_what_it_names());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static uid_t owner(const char *directory, const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_uid;
}

static void a_directory_is_handed_over_with_root_s_files_but_no_links(void **state)
{
	char directory[] = "/tmp/test-confine-XXXXXX", inner[64], file[80], hard[80], soft[80];

	(void)state;
	if (getuid() != 0)
		return;
	assert_non_null(mkdtemp(directory));
	snprintf(inner, sizeof(inner), "%s/state", directory);
	assert_int_equal(confine_directory(inner, 65534, 65534), 0);
	snprintf(file, sizeof(file), "%s/file", inner);
	snprintf(hard, sizeof(hard), "%s/hard", inner);
	snprintf(soft, sizeof(soft), "%s/soft", inner);
	close(creat(file, 0600));
	assert_int_equal(confine_directory(inner, 65534, 65534), 0);
	assert_int_equal(owner(inner, "."), 65534);
	assert_int_equal(owner(inner, "file"), 65534);
	assert_int_equal(chown(file, 0, 0), 0);
	assert_int_equal(link(file, hard), 0);
	assert_int_equal(symlink(file, soft), 0);
	assert_int_equal(confine_directory(inner, 65534, 65534), 0);
	assert_int_equal(owner(inner, "file"), 0);
	assert_int_equal(owner(inner, "soft"), 0);
	unlink(hard);
	unlink(file);
	assert_true(confine_directory(soft, 65534, 65534) < 0);
	unlink(soft);
	rmdir(inner);
	rmdir(directory);
}

static int go_on;

static void *late_exec(void *unused)
{
	char *argv[] = { "true", NULL };

	while (!__atomic_load_n(&go_on, __ATOMIC_ACQUIRE))
		;
	execv("/bin/true", argv);
	return unused;
}

static void threads_that_run_already_are_confined_too(void **state)
{
	const pid_t pid = fork();
	pthread_t thread;
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		if (confine_privileges(0) < 0 || pthread_create(&thread, NULL, late_exec, NULL) != 0)
			_exit(WRONG);
		if (confine_calls(CONFINE_SERVER) < 0)
			_exit(NOT_HERE);
		__atomic_store_n(&go_on, 1, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		_exit(WRONG);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE)
		return;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(unknown_calls_answer_enosys),
		T(known_calls_are_refused_what_no_server_wants),
		T(a_server_can_do_its_work),
		T(what_an_intruder_begins_with_ends_the_process),
		T(a_gateway_opens_sockets_threads_and_its_state_file),
		T(a_gateway_taps_no_packets_and_runs_nothing),
		T(a_user_keeps_the_capabilities_that_are_named),
		T(a_directory_is_handed_over_with_root_s_files_but_no_links),
		T(threads_that_run_already_are_confined_too),
	};

	return RUN(tests);
}
