/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/confine.h"

#define GRACE_MS   2000 /* between SIGTERM and SIGKILL */
#define MARGIN_MS  500	/* the job ends a command at its limit; this long after, a job that does not is given up */
#define LOCK_MS	   10	/* between two tries for the commands' lock */
#define INHERITED  256	/* descriptors below this that whoever started us forgot to close */
#define WORDS_MAX  40	/* of a hook, words and variables alike */
#define PATH	   "/usr/sbin:/usr/bin:/sbin:/bin"

/* What iptables needs; and what the helper needs to become others, to end them, and to read what is theirs. */
#define NETWORK (CONFINE_CAP(CAP_NET_ADMIN) | CONFINE_CAP(CAP_NET_RAW))
#define KEPT                                                                                                       \
	(NETWORK | CONFINE_CAP(CAP_SETUID) | CONFINE_CAP(CAP_SETGID) | CONFINE_CAP(CAP_SETPCAP) | CONFINE_CAP(CAP_KILL) | \
		CONFINE_CAP(CAP_DAC_READ_SEARCH))

struct helper {
	int fd;
	pid_t pid;
};

/* From the program, with the socket to answer on and, for a command, its stdin. */
struct request {
	enum { REQUEST_OPEN, REQUEST_RUN, REQUEST_HOOK, REQUEST_HOOK_AGAIN } kind;
	uint32_t number, limit_ms, word_count, variable_count;
	uint32_t len; /* of words, each with its NUL; the hook's words, then its variables */
	char words[HELPER_REQUEST_MAX];
};

/* To the program: a chunk of output, or how it ended; with a file its descriptor. */
struct message {
	enum { MESSAGE_OUTPUT, MESSAGE_END } kind;
	int status;
	char text[HELPER_CHUNK_MAX];
};

#define HEAD offsetof(struct message, text)

#define FDS_MAX 2

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static int send_with(int to, const void *bytes, size_t len, const int *fds, size_t count, int flags)
{
	union control control = { .room = { 0 } };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count > 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, count * sizeof(int));
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL | flags) < 0 ? -errno : 0;
}

/* One message, and the descriptors with it (-1 where there is none). Its length, 0 at the end, or a negative errno. */
static ssize_t receive_with(int from, void *buf, size_t max, int fds[FDS_MAX])
{
	union control control;
	struct iovec iov = { buf, max };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control) };
	const ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);

	for (size_t i = 0; i < FDS_MAX; i++)
		fds[i] = -1;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len <= CMSG_LEN(FDS_MAX * sizeof(int)))
			memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return n;
}

/* ---- The job: one request, in a process of its own, so that it may wait. */

struct job {
	const struct helper_config *config;
	const struct request *request;
	int reply, input;
};

static void tell_end(const struct job *j, int status, const int *fd)
{
	const struct message m = { .kind = MESSAGE_END, .status = status };

	fcntl(j->reply, F_SETFL, 0); /* this one must arrive */
	send_with(j->reply, &m, HEAD, fd, fd ? 1 : 0, 0);
}

static size_t count_of(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static void job_open(const struct job *j)
{
	CLEANUP(close_fd) int fd = -1;

	if (j->request->number >= count_of(j->config->files)) {
		tell_end(j, -EINVAL, NULL);
		return;
	}
	fd = open(j->config->files[j->request->number], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	tell_end(j, fd < 0 ? -errno : 0, fd < 0 ? NULL : &fd);
}

/* The NUL-terminated strings of a request as a vector; -EINVAL when there are not as many. */
static int vector(const struct request *r, size_t *at, uint32_t count, const char **out)
{
	for (uint32_t i = 0; i < count; i++) {
		const char *end = memchr(r->words + *at, '\0', r->len - *at);

		if (!end)
			return -EINVAL;
		out[i] = r->words + *at;
		*at = (size_t)(end + 1 - r->words);
	}
	out[count] = NULL;
	return 0;
}

struct program {
	const char *argv[WORDS_MAX + 2], *env[WORDS_MAX + 2];
	uint64_t capabilities;
};

static int hook_program(const struct job *j, struct program *p)
{
	const struct request *r = j->request;
	size_t at = 0;

	if (!j->config->hook || r->word_count > WORDS_MAX || r->variable_count > WORDS_MAX)
		return -EINVAL;
	p->argv[0] = j->config->hook;
	p->env[0] = "PATH=" PATH;
	return vector(r, &at, r->word_count, p->argv + 1) < 0 || vector(r, &at, r->variable_count, p->env + 1) < 0 ? -EINVAL : 0;
}

static int command_program(const struct job *j, struct program *p)
{
	const char *const *words;
	size_t count = 0, variables = 0;

	while (j->config->commands && j->config->commands[count])
		count++;
	if (j->request->number >= count)
		return -EINVAL;
	words = j->config->commands[j->request->number];
	p->env[variables++] = "PATH=" PATH;
	for (; *words && strchr(*words, '=') && variables <= WORDS_MAX; words++)
		p->env[variables++] = *words;
	if (count_of(words) > WORDS_MAX)
		return -E2BIG;
	memcpy(p->argv, words, (count_of(words) + 1) * sizeof(*words));
	p->capabilities = NETWORK;
	return 0;
}

static _Noreturn void program_exec(const struct job *j, const struct program *p, int input, int output)
{
	const struct helper_config *c = j->config;
	sigset_t none;

	setpgid(0, 0);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(input, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	if ((c->user && confine_user(c->user, c->uid, c->gid, p->capabilities) < 0) || confine_privileges(p->capabilities) < 0 ||
		confine_inherit(p->capabilities) < 0) {
		dprintf(STDERR_FILENO, "cannot become user %s: %s\n", c->user ? c->user : "", strerror(errno));
		_exit(126);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* what became of the user would forget it */
	setenv("PATH", PATH, 1); /* where execvpe looks */
	execvpe(p->argv[0], (char *const *)p->argv, (char *const *)p->env);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", p->argv[0], strerror(errno));
	_exit(127);
}

static pid_t program_start(const struct job *j, const struct program *p, int *out_output)
{
	CLEANUP(close_fd) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int pipes[2];
	pid_t pid;

	if (null < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		program_exec(j, p, j->input >= 0 ? j->input : null, pipes[1]);
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return -errno;
	}
	setpgid(pid, pid); /* whoever of both comes first */
	*out_output = pipes[0];
	return pid;
}

static int left_ms(uint64_t deadline_ms)
{
	const uint64_t now_ms = clock_ms();

	return deadline_ms > now_ms ? (int)(deadline_ms - now_ms) : 0;
}

/* One chunk to the program, waiting for its room. false: there is no more to come, or nobody who wants it. */
static bool pass_on(const struct job *j, int output, uint64_t deadline_ms)
{
	struct pollfd room = { .fd = j->reply, .events = POLLOUT };
	struct message m = { .kind = MESSAGE_OUTPUT };
	const ssize_t n = read(output, m.text, sizeof(m.text));
	int err = -EAGAIN;

	if (n <= 0)
		return false;
	for (;;) {
		err = send_with(j->reply, &m, HEAD + (size_t)n, NULL, 0, MSG_DONTWAIT);
		if (err != -EAGAIN)
			return err == 0;
		if (poll(&room, 1, left_ms(deadline_ms)) <= 0)
			return true; /* time is up: the caller sees that */
	}
}

/* Waits for the program's end, passing on what it writes. Its status, -ETIMEDOUT, or -ECANCELED when nobody waits for it. */
static int program_watch(const struct job *j, pid_t pid, int output, int children)
{
	uint64_t deadline_ms = clock_ms() + j->request->limit_ms;
	struct pollfd polls[] = { { .fd = children, .events = POLLIN }, { .fd = output, .events = POLLIN }, { .fd = j->reply } };
	bool late = false;
	int status;

	for (;;) {
		const int ready = poll(polls, 3, left_ms(deadline_ms));

		if (polls[2].revents & (POLLHUP | POLLERR))
			return -ECANCELED;
		if (ready > 0 && polls[1].revents && !pass_on(j, output, deadline_ms))
			polls[1].fd = -1;
		else if (ready > 0 && polls[0].revents && waitpid(pid, &status, WNOHANG) == pid)
			return late ? -ETIMEDOUT : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		if (left_ms(deadline_ms) > 0)
			continue;
		if (late || j->request->kind == REQUEST_RUN)
			return -ETIMEDOUT;
		late = true;
		kill(-pid, SIGTERM);
		deadline_ms += GRACE_MS;
	}
}

/* Takes the commands' lock, which ends with the job; waits for others as long as the command may take. */
static int lock_take(const struct job *j)
{
	const uint64_t deadline_ms = clock_ms() + j->request->limit_ms;
	int fd;

	if (!j->config->lock || j->request->kind != REQUEST_RUN)
		return 0;
	fd = open(j->config->lock, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || left_ms(deadline_ms) == 0)
			return errno == EWOULDBLOCK ? -ETIMEDOUT : -errno;
		poll(NULL, 0, LOCK_MS);
	}
	return 0;
}

static void job_run(const struct job *j)
{
	struct program p = { .argv = { NULL }, .env = { NULL } };
	int output = -1, children, status;
	sigset_t child;
	pid_t pid;

	status = j->request->kind == REQUEST_HOOK ? hook_program(j, &p) : command_program(j, &p);
	if (status == 0)
		status = lock_take(j);
	if (status < 0) {
		tell_end(j, status, NULL);
		return;
	}
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	pid = program_start(j, &p, &output);
	if (pid < 0) {
		tell_end(j, pid, NULL);
		return;
	}
	children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	status = program_watch(j, pid, output, children);
	fcntl(output, F_SETFL, O_NONBLOCK); /* what it wrote last; a process it left behind may keep the pipe open */
	while (status >= 0 && pass_on(j, output, clock_ms() + GRACE_MS))
		;
	kill(-pid, SIGKILL); /* whatever it left behind */
	if (status < 0 && waitpid(pid, NULL, WNOHANG) == 0) /* the next begins when this one is dead; one that the kernel holds fast is left */
		poll(&(struct pollfd){ .fd = children, .events = POLLIN }, 1, GRACE_MS);
	tell_end(j, status, NULL);
}

/* ---- The helper: takes requests, a job for each, but for what is to last. */

static bool request_valid(const struct request *r, ssize_t n)
{
	return n >= (ssize_t)offsetof(struct request, words) && r->len <= HELPER_REQUEST_MAX &&
		n == (ssize_t)(offsetof(struct request, words) + r->len);
}

static _Atomic int jobs; /* that run */

static void job_ended(int number)
{
	const int saved = errno;

	(void)number;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		jobs--;
	errno = saved;
}

static bool job_begin(void)
{
	pid_t pid = -1;

	if (++jobs <= HELPER_JOBS_MAX)
		pid = fork();
	if (pid < 0)
		jobs--;
	return pid == 0;
}

static int look_again(struct helper_config *config, char **hook)
{
	char *again = NULL;
	const int err = config->hook_again ? config->hook_again(config->owner, &again) : -EINVAL;

	if (err < 0)
		return err;
	free(*hook);
	*hook = again;
	config->hook = again;
	return 0;
}

static _Noreturn void helper_serve(int fd, const struct helper_config *started_with)
{
	struct helper_config config = *started_with;
	char *hook = NULL; /* ours, when it was looked for again */
	struct request r;
	int fds[FDS_MAX];
	ssize_t n;

	while ((n = receive_with(fd, &r, sizeof(r), fds)) > 0 || n == -EINTR) {
		const struct job j = { .config = &config, .request = &r, .reply = fds[0], .input = fds[1] };
		const bool valid = n > 0 && request_valid(&r, n) && j.reply >= 0;

		if (valid && r.kind == REQUEST_HOOK_AGAIN) {
			tell_end(&j, look_again(&config, &hook), NULL);
		} else if (valid && job_begin()) {
			close(fd);
			if (r.kind == REQUEST_OPEN)
				job_open(&j);
			else
				job_run(&j);
			_exit(0);
		}
		close_fd(&fds[0]); /* unanswered, when there is no job: the program sees that at once */
		close_fd(&fds[1]);
	}
	_exit(0);
}

static _Noreturn void helper_main(int fd, const struct helper_config *config, pid_t parent)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	prctl(PR_SET_NAME, "stunway-helper");
	setsid();
	/* Told to stop is the program; when it is gone so is the socket. */
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, job_ended);
	for (int i = 3; i < INHERITED; i++)
		if (i != fd)
			close(i);
	if (confine_privileges(KEPT) < 0)
		_exit(1);
	helper_serve(fd, config);
}

int helper_start(struct helper **out, const struct helper_config *config)
{
	struct helper *h = calloc(1, sizeof(*h));
	const pid_t parent = getpid();
	int fds[2];

	if (!h || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		free(h);
		return h ? -errno : -ENOMEM;
	}
	h->pid = fork();
	if (h->pid == 0)
		helper_main(fds[1], config, parent);
	h->fd = fds[0];
	close(fds[1]);
	if (h->pid < 0) {
		const int err = -errno;

		close(h->fd);
		free(h);
		return err;
	}
	*out = h;
	return 0;
}

void helper_stop(struct helper *h)
{
	if (!h)
		return;
	close(h->fd);
	waitpid(h->pid, NULL, 0);
	free(h);
}

/* ---- The program's side. */

/* Sends a request, with input as its stdin if any: the descriptor of its answers, or a negative errno. */
static int ask(struct helper *h, const struct request *r, int input)
{
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	err = send_with(h->fd, r, offsetof(struct request, words) + r->len, (int[]){ pair[1], input }, input < 0 ? 1 : 2, MSG_DONTWAIT);
	close(pair[1]);
	if (err < 0) {
		close(pair[0]);
		return err == -ECONNRESET || err == -ENOTCONN ? -EPIPE : err;
	}
	return pair[0];
}

static int await(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	do {
		n = poll(&p, 1, left_ms(deadline_ms));
	} while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : -ETIMEDOUT;
}

/* What is answered by one message: its status, and the descriptor with it, -1 for none. */
static int ask_and_wait(struct helper *h, const struct request *r, int *out_fd)
{
	CLEANUP(close_fd) int reply = ask(h, r, -1);
	struct message m;
	int fds[FDS_MAX];
	ssize_t n;

	if (reply < 0)
		return reply;
	if (await(reply, POLLIN, clock_ms() + HELPER_RUN_MS) < 0)
		return -ETIMEDOUT;
	n = receive_with(reply, &m, sizeof(m), fds);
	if (n < (ssize_t)HEAD)
		return -EPIPE;
	*out_fd = fds[0];
	return m.status;
}

int helper_open(struct helper *h, size_t number)
{
	const struct request r = { .kind = REQUEST_OPEN, .number = (uint32_t)number };
	int fd = -1;
	const int err = ask_and_wait(h, &r, &fd);

	return err < 0 ? err : fd >= 0 ? fd : -EPIPE;
}

int helper_hook_again(struct helper *h)
{
	const struct request r = { .kind = REQUEST_HOOK_AGAIN };
	int none = -1;

	return ask_and_wait(h, &r, &none);
}

int helper_read(int fd, struct helper_event *out)
{
	struct message m;
	int fds[FDS_MAX];
	const ssize_t n = receive_with(fd, &m, sizeof(m), fds);

	if (n == -EAGAIN || n == -EINTR)
		return -EAGAIN;
	if (n < (ssize_t)HEAD)
		return -EPIPE;
	out->kind = m.kind == MESSAGE_END ? HELPER_END : HELPER_OUTPUT;
	out->status = m.status;
	memcpy(out->text, m.text, (size_t)n - HEAD);
	out->text[(size_t)n - HEAD] = '\0';
	return 0;
}

/* Gives a command its text and takes what it writes, whichever goes on, until it ends. */
static int converse(int reply, int *input, const char *text, char *output, size_t max)
{
	const uint64_t deadline_ms = clock_ms() + HELPER_RUN_MS + MARGIN_MS;
	size_t left = text ? strlen(text) : 0, used = 0;
	struct helper_event e;

	for (;;) {
		struct pollfd polls[] = { { .fd = reply, .events = POLLIN }, { .fd = *input, .events = POLLOUT } };
		ssize_t n = 0;
		int err;

		if (left == 0)
			close_fd(input), *input = polls[1].fd = -1; /* that is the end of its input */
		if (poll(polls, 2, left_ms(deadline_ms)) == 0)
			return -ETIMEDOUT;
		if (polls[1].fd >= 0 && polls[1].revents) {
			n = send(*input, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);
			left = n < 0 && errno != EAGAIN ? 0 : left - (size_t)(n < 0 ? 0 : n); /* it may not want to hear it all */
			text += n < 0 ? 0 : n;
		}
		if (!polls[0].revents || (err = helper_read(reply, &e)) == -EAGAIN)
			continue;
		if (err < 0 || e.kind == HELPER_END)
			return err < 0 ? err : e.status;
		if (max > 0)
			used += (size_t)snprintf(output + used, max - used, "%s", e.text);
		used = used < max ? used : max ? max - 1 : 0;
	}
}

int helper_run(struct helper *h, size_t number, const char *input, char *output, size_t max)
{
	const struct request r = { .kind = REQUEST_RUN, .number = (uint32_t)number, .limit_ms = HELPER_RUN_MS };
	CLEANUP(close_fd) int ours = -1;
	CLEANUP(close_fd) int theirs = -1;
	CLEANUP(close_fd) int reply = -1;
	int pair[2];

	if (max > 0)
		output[0] = '\0';
	if (input && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (input)
		ours = pair[0], theirs = pair[1];
	reply = ask(h, &r, theirs);
	if (reply < 0)
		return reply;
	close_fd(&theirs);
	theirs = -1;
	return converse(reply, &ours, input, output, max);
}

static int pack(struct request *r, const char *const *list, uint32_t *count)
{
	for (; *list; list++, (*count)++) {
		const size_t size = strlen(*list) + 1;

		if (r->len + size > HELPER_REQUEST_MAX || *count == WORDS_MAX)
			return -E2BIG;
		memcpy(r->words + r->len, *list, size);
		r->len += (uint32_t)size;
	}
	return 0;
}

int helper_hook(struct helper *h, const char *const *words, const char *const *variables, uint32_t limit_ms)
{
	struct request r = { .kind = REQUEST_HOOK, .limit_ms = limit_ms };

	if (pack(&r, words, &r.word_count) < 0 || pack(&r, variables, &r.variable_count) < 0)
		return -E2BIG;
	return ask(h, &r, -1);
}
