/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * servers - the servers to ask: names resolved without blocking and kept fresh, and what is
 * known of the health of each address (lib/health.h), per protocol.
 *
 * STUN servers make one such list, the hosts of --tcp-keepalive another.
 */
#ifndef GATEWAY_SERVERS_H
#define GATEWAY_SERVERS_H

#include <uv.h>

#include "lib/endpoint.h"
#include "lib/health.h"
#include "lib/leases.h"

#define SERVERS_NAMES_MAX 32 /* --stun options */
#define SERVERS_MAX	  32 /* endpoints per protocol */

struct server_name {
	bool udp, tcp;
	char host[256];
	uint16_t port;
};

/* "[udp:|tcp:]HOST[:PORT]"; IPv6 literals are not served yet. -EINVAL. */
int server_name_parse(struct server_name *out, const char *text);
/* "HOST[:PORT]" of a --tcp-keepalive host, port 80 if none is named. -EINVAL. */
int server_name_parse_web(struct server_name *out, const char *text);
/* What is asked when the user names none. */
extern const char *const servers_builtin[], *const servers_builtin_web[];

struct servers;

/* changed: the list of a protocol is another one now. */
typedef void servers_changed_fn(void *owner, enum lease_protocol protocol);

struct servers_config {
	uv_loop_t *loop;
	const struct server_name *names; /* copied */
	size_t count;
	const char *what;    /* for the log: "STUN server" */
	uint32_t per_second; /* questions to one server */
	servers_changed_fn *changed;
	void *owner;
	bool idle; /* nothing is looked up before servers_wake */
};

/*
 * Literal addresses are there at once: *out is set and changed is called before this
 * returns. Names come, and are looked up again every 10 minutes, sooner after a failure or
 * when none of a name's addresses answers.
 */
int servers_open(struct servers **out, const struct servers_config *config);
void servers_wake(struct servers *s);
/* Borrowed until the next turn of the loop. An index below is one into this list. */
const struct endpoint *servers_list(const struct servers *s, enum lease_protocol protocol, size_t *count);
/* The line is back: names that could not be looked up are looked up now. */
void servers_retry(struct servers *s);
/* The same, but those that are well come first; returns how many. */
size_t servers_ranked(const struct servers *s, enum lease_protocol protocol, struct endpoint out[SERVERS_MAX]);
/* The host of the --option that an endpoint came from; NULL when it is not of the list any more. */
const char *servers_host(const struct servers *s, const struct endpoint *server);

/* Which server this seed asks; trial: it may be one that was silent before (lib/health.h). */
uint32_t servers_choose(struct servers *s, enum lease_protocol protocol, uint32_t seed, bool trial);
/* The next that is not known to be silent, from here on. */
uint32_t servers_next(const struct servers *s, enum lease_protocol protocol, uint32_t here);
/* When a question to it may go: now or later. Each question wants a place, its repetitions as well. */
uint64_t servers_reserve(struct servers *s, enum lease_protocol protocol, uint32_t server);

/* So many questions a second may go to all of them that are not known to be silent; 0: there is none. */
uint32_t servers_rate(const struct servers *s, enum lease_protocol protocol);

void servers_answered(struct servers *s, enum lease_protocol protocol, const struct endpoint *server, uint32_t rtt_ms);
void servers_failed(struct servers *s, enum lease_protocol protocol, const struct endpoint *server);
/* A TCP connection was closed after its first answer; it gave a second one. */
void servers_hung_up(struct servers *s, const struct endpoint *server);
void servers_stayed(struct servers *s, const struct endpoint *server);
/* Whether a server may be hoped for that keeps a TCP connection. */
bool servers_keep_tcp(const struct servers *s);

/* Those asked, for a log line: "198.51.100.1:3478, …". */
void servers_text(const struct servers *s, enum lease_protocol protocol, char *buf, size_t max);
/* What is known of one; false when there is no such index. Borrowed until the next turn of the loop. */
struct server_health {
	const char *host;
	struct endpoint at;
	const struct health *health;
};
bool servers_health(const struct servers *s, enum lease_protocol protocol, size_t index, struct server_health *out);
/* The same as lines of the log. */
void servers_log_health(const struct servers *s);
void servers_close(struct servers *s); /* NULL is fine */

#endif
