/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * servers - the STUN servers to ask: names resolved without blocking, kept fresh, per protocol.
 */
#ifndef GATEWAY_SERVERS_H
#define GATEWAY_SERVERS_H

#include <uv.h>

#include "lib/endpoint.h"
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
/* What is asked when the user names none. */
extern const char *const servers_builtin[];

struct servers;

/* changed: the list of a protocol is another one now. */
typedef void servers_changed_fn(void *owner, enum lease_protocol protocol);

/*
 * Literal addresses are there at once: *out is set and changed is called before this
 * returns. Names come, and are looked up again every 10 minutes, sooner after a failure.
 */
int servers_open(struct servers **out, uv_loop_t *loop, const struct server_name *names, size_t count,
	servers_changed_fn *changed, void *owner);
/* Borrowed until the next turn of the loop. */
const struct endpoint *servers_list(const struct servers *s, enum lease_protocol protocol, size_t *count);
/* Where in the list a new hole begins: spreads holes over the servers, and passes over those that lately failed. */
uint32_t servers_start(struct servers *s, enum lease_protocol protocol);
/* The line is back: names that could not be looked up are looked up now. */
void servers_retry(struct servers *s);
void servers_note(struct servers *s, enum lease_protocol protocol, const struct endpoint *server, bool answered);
/* Those asked, for a log line: "198.51.100.1:3478, …". */
void servers_text(const struct servers *s, enum lease_protocol protocol, char *buf, size_t max);
void servers_close(struct servers *s); /* NULL is fine */

#endif
