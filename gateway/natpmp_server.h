/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natpmp_server - NAT-PMP on the LAN: a socket per served interface, and what comes in there.
 *
 * Serves only neighbours: whoever's address is a host of a subnet of the interface the
 * datagram came in by. Mapping requests have their turn one by one, so that the firewall's
 * milliseconds for each delay nobody who asks for something else. Answers leave from the address that was asked. Everything else is
 * dropped and counted. Interfaces come and go (natpmp_server_follow).
 */
#ifndef GATEWAY_NATPMP_SERVER_H
#define GATEWAY_NATPMP_SERVER_H

#include <uv.h>

#include "gateway/core/gateway.h"

struct natpmp_server;

struct natpmp_counters {
	uint64_t answered;
	uint64_t malformed, foreign, crowded; /* dropped; crowded: too many requests waited */
	uint64_t unsupported_version, unsupported_opcode;
};

int natpmp_server_open(struct natpmp_server **out, uv_loop_t *loop);
/*
 * Serves these interfaces and no others (at most CONFIG_LANS_MAX): sockets of those that are known by
 * their index stay. Negative errno when one or more could not be opened, *failed is the last of them;
 * -EADDRINUSE: its port 5351 is taken. The others are served, and it may be tried again.
 */
int natpmp_server_follow(struct natpmp_server *s, const struct netif *lans, size_t count, const char **failed);
/* Requests go to it from now on, and what it announces is announced. */
void natpmp_server_serve(struct natpmp_server *s, struct gateway *g);
const struct natpmp_counters *natpmp_server_counters(const struct natpmp_server *s);
void natpmp_server_close(struct natpmp_server *s); /* NULL is fine */

#endif
