/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log - one line per event: "2026-01-31 12:00:00 [I] words key=value".
 *
 * To stderr, coloured by level on a terminal (unless NO_COLOR is set), or to
 * syslog. Programs log; lib/ never does. Safe from several threads.
 */
#ifndef SYS_LOG_H
#define SYS_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* name: the program's, borrowed for good. Before the first call: stderr, info. */
void log_setup(const char *name, enum log_target target, enum log_level level);
/* From any thread. */
void log_up_to_level(enum log_level level);
/* "error", "warn", "info", "debug" and "stderr", "syslog": the value, or -EINVAL. */
int log_level_parse(const char *text);
int log_target_parse(const char *text);

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * Who else hears every line of level info and above, whatever is logged elsewhere: called in the thread that logs,
 * one line at a time. What it logs itself it does not hear. One at a time; NULL: nobody any more, and nobody is being
 * told when this returns.
 */
typedef void log_listener_fn(void *owner, enum log_level level, const char *words);
void log_listen(log_listener_fn *listener, void *owner);

/*
 * What strangers can cause is said at most once per interval: true when it may be
 * said now, and then *skipped is how often it was not since.
 */
struct log_limit {
	uint64_t next_ms;
	uint64_t skipped;
};
int log_allowed(struct log_limit *limit, uint32_t interval_ms, uint64_t now_ms, uint64_t *skipped);
/* So many lines at once (at least 1), then one per interval. */
int log_allowed_burst(struct log_limit *limit, uint32_t interval_ms, uint32_t burst, uint64_t now_ms, uint64_t *skipped);
/* " more=7" for the end of a line, "" for 0. Returns buf. */
#define LOG_MORE_MAX 32
const char *log_more(char buf[LOG_MORE_MAX], uint64_t skipped);

#endif
