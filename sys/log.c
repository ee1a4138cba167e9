/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *name, *colour;
	char letter;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", "\033[31m", 'E', LOG_ERR },
	[LOG_LEVEL_WARN] = { "warn", "\033[33m", 'W', LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", "\033[32m", 'I', LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", "\033[36m", 'D', LOG_DEBUG },
};

/* The one state a process has for its log. */
static enum log_target log_to = LOG_TARGET_STDERR;
static _Atomic enum log_level log_up_to = LOG_LEVEL_INFO;

static pthread_mutex_t listening = PTHREAD_MUTEX_INITIALIZER; /* of the next two */
static log_listener_fn *listener;
static void *listener_owner;
static _Atomic bool listened;

void log_setup(const char *name, enum log_target target, enum log_level level)
{
	log_to = target;
	log_up_to = level;
	if (target == LOG_TARGET_SYSLOG)
		openlog(name, LOG_PID, LOG_DAEMON);
}

void log_up_to_level(enum log_level level)
{
	log_up_to = level;
}

int log_level_parse(const char *text)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].name, text) == 0)
			return (int)i;
	return -EINVAL;
}

int log_target_parse(const char *text)
{
	if (strcmp(text, "stderr") == 0)
		return LOG_TARGET_STDERR;
	return strcmp(text, "syslog") == 0 ? LOG_TARGET_SYSLOG : -EINVAL;
}

static bool colours(void)
{
	return isatty(STDERR_FILENO) && !getenv("NO_COLOR");
}

void log_listen(log_listener_fn *fn, void *owner)
{
	pthread_mutex_lock(&listening);
	listener = fn;
	listener_owner = owner;
	listened = fn != NULL;
	pthread_mutex_unlock(&listening);
}

static void tell_listener(enum log_level level, const char *words)
{
	static _Thread_local bool telling;

	if (telling)
		return;
	telling = true;
	pthread_mutex_lock(&listening);
	if (listener)
		listener(listener_owner, level, words);
	pthread_mutex_unlock(&listening);
	telling = false;
}

static void write_line(enum log_level level, const char *words)
{
	const time_t now = time(NULL);
	const bool colour = colours();
	char stamp[32];
	struct tm tm;

	if (log_to == LOG_TARGET_SYSLOG) {
		syslog(levels[level].priority, "%s", words);
		return;
	}
	strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", localtime_r(&now, &tm));
	fprintf(stderr, "%s %s[%c]%s %s\n", stamp, colour ? levels[level].colour : "", levels[level].letter,
		colour ? "\033[0m" : "", words);
}

void log_line(enum log_level level, const char *format, ...)
{
	const bool tell = listened && level <= LOG_LEVEL_INFO, write = (int)level <= (int)log_up_to;
	char words[1024];
	va_list args;

	if (!tell && !write)
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (write)
		write_line(level, words);
	if (tell)
		tell_listener(level, words);
}

int log_allowed_burst(struct log_limit *limit, uint32_t interval_ms, uint32_t burst, uint64_t now_ms, uint64_t *skipped)
{
	/* next_ms runs ahead of the clock by an interval for each line said. */
	if (limit->next_ms > now_ms + (uint64_t)(burst - 1) * interval_ms) {
		limit->skipped++;
		return 0;
	}
	*skipped = limit->skipped;
	*limit = (struct log_limit){ .next_ms = (limit->next_ms > now_ms ? limit->next_ms : now_ms) + interval_ms };
	return 1;
}

int log_allowed(struct log_limit *limit, uint32_t interval_ms, uint64_t now_ms, uint64_t *skipped)
{
	return log_allowed_burst(limit, interval_ms, 1, now_ms, skipped);
}

const char *log_more(char buf[LOG_MORE_MAX], uint64_t skipped)
{
	buf[0] = '\0';
	if (skipped)
		snprintf(buf, LOG_MORE_MAX, " more=%llu", (unsigned long long)skipped);
	return buf;
}
