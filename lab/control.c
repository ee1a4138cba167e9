/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/control.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_LIMIT = 1024, WORDS_MAX = 20, CLIENT_TIMEOUT_S = 10 };

struct client {
	int fd; /* -1: none */
	size_t got;
	char line[LINE_LIMIT];
	char *answer; /* NULL: none pending */
	size_t answer_len, answer_sent;
};

struct control {
	int fd;
	char path[CONFIG_TEXT_MAX];
	struct nat *nat;
	bool quits;
	struct client clients[CONTROL_CLIENTS];
};

struct call {
	struct control *control;
	FILE *out;
	char **words; /* [0] is the command's name */
	size_t count;
	uint64_t now_ms;
};

struct command {
	const char *name;
	size_t min, max; /* words after the name */
	void (*run)(const struct call *call);
	const char *usage, *help;
};

/* --- commands --- */

static void say(const struct call *call, int r)
{
	const char *last = call->words[call->count - 1];

	if (r == 0)
		fputs("ok\n", call->out);
	else if (r == -EPERM)
		fprintf(call->out, "error: %s cannot change at run time\n", call->words[1]);
	else if (r == -ENOENT)
		fprintf(call->out, "error: there is no '%s'\n", call->count > 1 ? call->words[1] : last);
	else if (r == -EINVAL)
		fprintf(call->out, "error: bad value '%s'\n", last);
	else
		fprintf(call->out, "error: %s\n", strerror(-r));
}

static void run_set(const struct call *call)
{
	say(call, nat_set(call->control->nat, call->words[1], call->words[2]));
}

/* loss, delay and block-udp are options; a command of the same name sets them. */
static void run_option(const struct call *call)
{
	say(call, nat_set(call->control->nat, call->words[0], call->words[1]));
}

static void run_renumber(const struct call *call)
{
	say(call, nat_renumber(call->control->nat, call->words + 1, call->count - 1));
}

static void run_flush(const struct call *call)
{
	nat_flush(call->control->nat);
	say(call, 0);
}

/* "udp|tcp to ADDR[:PORT]", an IPv6 address with a port in brackets. */
static int read_rule(uint8_t *proto, struct endpoint *to, const struct call *call)
{
	char text[64];
	char *address = text, *end;
	unsigned long port = 0;
	const bool tcp = strcmp(call->words[1], "tcp") == 0;

	if ((!tcp && strcmp(call->words[1], "udp") != 0) || strcmp(call->words[2], "to") != 0 ||
		strlen(call->words[3]) >= sizeof(text))
		return -EINVAL;
	strcpy(text, call->words[3]);
	char *colon = strrchr(text, ':');
	if (text[0] == '[') {
		address = text + 1;
		end = strchr(text, ']');
		if (!end || (end[1] != '\0' && end + 1 != colon))
			return -EINVAL;
		colon = end[1] ? end + 1 : NULL;
		*end = '\0';
	} else if (colon && strchr(text, ':') != colon) {
		colon = NULL; /* a bare IPv6 address */
	}
	if (colon) {
		*colon = '\0';
		port = strtoul(colon + 1, &end, 10);
		if (end == colon + 1 || *end || port < 1 || port > 65535)
			return -EINVAL;
	}
	*proto = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	return endpoint_parse_ip(to, address, (uint16_t)port);
}

static void run_drop(const struct call *call)
{
	struct endpoint to;
	uint8_t proto;
	int r = call->count == 4 ? read_rule(&proto, &to, call) : -EINVAL;

	if (r == 0)
		r = nat_drop(call->control->nat, proto, &to);
	say(call, r);
}

static void run_undrop(const struct call *call)
{
	struct endpoint to;
	uint8_t proto = 0;

	if (call->count == 1) {
		say(call, nat_undrop(call->control->nat, 0, NULL));
		return;
	}
	int r = call->count == 4 ? read_rule(&proto, &to, call) : -EINVAL;
	if (r == 0)
		r = nat_undrop(call->control->nat, proto, &to);
	if (r == -ENOENT)
		fprintf(call->out, "error: nothing is dropped to '%s'\n", call->words[3]);
	else
		say(call, r);
}

static void run_dump(const struct call *call)
{
	nat_dump(call->control->nat, call->out, call->now_ms);
}

static void run_quit(const struct call *call)
{
	call->control->quits = true;
	say(call, 0);
}

static void run_help(const struct call *call)
{
	control_help(call->out);
}

static const struct command commands[] = {
	{ "set", 2, 2, run_set, "set OPTION VALUE", "any option marked with *, without its dashes" },
	{ "loss", 1, 1, run_option, "loss PERCENT", "as set loss" },
	{ "delay", 1, 1, run_option, "delay MS", "as set delay" },
	{ "block-udp", 1, 1, run_option, "block-udp on|off", "as set block-udp" },
	{ "renumber", 1, CONFIG_OUTER_MAX, run_renumber, "renumber ADDR...",
		"new outer addresses, all mappings dropped" },
	{ "flush", 0, 0, run_flush, "flush", "all mappings dropped" },
	{ "drop", 3, 3, run_drop, "drop udp|tcp to ADDR[:PORT]", "lose what is sent there" },
	{ "undrop", 0, 3, run_undrop, "undrop [udp|tcp to ADDR[:PORT]]", "no longer; alone: nothing any more" },
	{ "dump", 0, 0, run_dump, "dump", "everything known, one line of JSON" },
	{ "quit", 0, 0, run_quit, "quit", "end" },
	{ "help", 0, 0, run_help, "help", "this list" },
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

void control_help(FILE *out)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-32s %s\n", commands[i].usage, commands[i].help);
}

static void execute(struct control *c, char *line, FILE *out, uint64_t now_ms)
{
	char *words[WORDS_MAX];
	char *rest = NULL;
	struct call call = { .control = c, .out = out, .words = words, .now_ms = now_ms };

	for (char *w = strtok_r(line, " \t\r", &rest); w && call.count < WORDS_MAX; w = strtok_r(NULL, " \t\r", &rest))
		words[call.count++] = w;
	if (call.count == 0) {
		fputs("error: an empty line is no command\n", out);
		return;
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *cmd = &commands[i];

		if (strcmp(cmd->name, words[0]) != 0)
			continue;
		if (call.count - 1 < cmd->min || call.count - 1 > cmd->max)
			fprintf(out, "error: it is '%s'\n", cmd->usage);
		else
			cmd->run(&call);
		return;
	}
	fprintf(out, "error: no command '%s'\n", words[0]);
}

/* --- the socket --- */

static void client_drop(struct client *k)
{
	close(k->fd);
	free(k->answer);
	*k = (struct client){ .fd = -1 };
}

static void client_write(struct client *k)
{
	const ssize_t n = send(k->fd, k->answer + k->answer_sent, k->answer_len - k->answer_sent, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			client_drop(k);
		return;
	}
	k->answer_sent += (size_t)n;
	if (k->answer_sent < k->answer_len)
		return;
	free(k->answer);
	k->answer = NULL;
}

/* Carries out the first line received, if it is complete and the answer before it has gone. */
static void client_line(struct control *c, struct client *k, uint64_t now_ms)
{
	char *end = memchr(k->line, '\n', k->got);

	if (!end || k->answer)
		return;
	FILE *out = open_memstream(&k->answer, &k->answer_len);
	if (!out) {
		client_drop(k);
		return;
	}
	*end = '\0';
	execute(c, k->line, out, now_ms);
	fputc('\n', out);
	fclose(out);
	k->answer_sent = 0;
	k->got -= (size_t)(end + 1 - k->line);
	memmove(k->line, end + 1, k->got);
	client_write(k);
}

static void client_read(struct client *k)
{
	const ssize_t n = recv(k->fd, k->line + k->got, sizeof(k->line) - k->got, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || (k->got + (size_t)n == sizeof(k->line) && !memchr(k->line, '\n', sizeof(k->line)))) {
		client_drop(k);
		return;
	}
	k->got += (size_t)n;
}

static void client_serve(struct control *c, struct client *k, short events, uint64_t now_ms)
{
	if (k->answer) {
		if (events)
			client_write(k);
	} else if (events) {
		client_read(k);
	}
	while (k->fd >= 0 && !k->answer && memchr(k->line, '\n', k->got))
		client_line(c, k, now_ms);
}

static void client_accept(struct control *c)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *k = &c->clients[i];

		if (k->fd >= 0)
			continue;
		k->fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		return;
	}
}

static int unix_address(struct sockaddr_un *out, const char *path)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(out->sun_path))
		return -ENAMETOOLONG;
	strcpy(out->sun_path, path);
	return 0;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address;
	int r = unix_address(&address, path);

	if (r < 0)
		return r;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, CONTROL_CLIENTS) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int control_new(struct control **out, const char *path, struct nat *nat)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->fd = listen_at(path);
	if (c->fd < 0) {
		const int r = c->fd;

		free(c);
		return r;
	}
	strcpy(c->path, path);
	c->nat = nat;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		c->clients[i].fd = -1;
	*out = c;
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd >= 0)
			client_drop(&c->clients[i]);
	close(c->fd);
	unlink(c->path);
	free(c);
}

void control_prepare(const struct control *c, struct pollfd fds[CONTROL_FDS])
{
	bool room = false;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		const struct client *k = &c->clients[i];

		fds[i] = (struct pollfd){ .fd = k->fd, .events = k->answer ? POLLOUT : POLLIN };
		room = room || k->fd < 0;
	}
	fds[CONTROL_CLIENTS] = (struct pollfd){ .fd = room ? c->fd : -1, .events = POLLIN };
}

void control_serve(struct control *c, const struct pollfd fds[CONTROL_FDS], uint64_t now_ms)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd >= 0 && fds[i].revents)
			client_serve(c, &c->clients[i], fds[i].revents, now_ms);
	if (fds[CONTROL_CLIENTS].revents)
		client_accept(c);
}

bool control_quits(const struct control *c)
{
	return c->quits;
}

/* --- the client --- */

static int connect_to(const char *path)
{
	const struct timeval limit = { .tv_sec = CLIENT_TIMEOUT_S };
	struct sockaddr_un address;
	int r = unix_address(&address, path);

	if (r < 0)
		return r;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* Prints lines up to the empty one; 0, 1 when the first says "error:" or the answer ends too soon. */
static int print_answer(FILE *in)
{
	char *line = NULL;
	size_t room = 0;
	int status = 1;

	for (bool first = true; getline(&line, &room, in) > 0; first = false) {
		if (line[0] == '\n') {
			free(line);
			return status;
		}
		if (first)
			status = strncmp(line, "error:", 6) == 0;
		fputs(line, stdout);
	}
	free(line);
	fprintf(stderr, "natbox: the answer broke off\n");
	return 1;
}

int control_client(const char *path, char *const *words, size_t count)
{
	const int fd = connect_to(path);

	if (fd < 0) {
		fprintf(stderr, "natbox: %s: %s\n", path, strerror(-fd));
		return 1;
	}
	for (size_t i = 0; i < count; i++)
		dprintf(fd, "%s%s", words[i], i + 1 < count ? " " : "\n");
	FILE *in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return 1;
	}
	const int status = print_answer(in);
	fclose(in);
	return status;
}
