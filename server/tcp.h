/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcp - STUN over persistent TCP connections, RFC 8489 section 6.2.2.
 *
 * A client may keep its connection and ask on it as often as it likes: that is what
 * holds a hole in a NAT open. So most connections are idle, and one costs its struct
 * and nothing else: bytes are kept only of a message not yet whole and of answers
 * not yet taken.
 *
 * Closed are connections that send what is no STUN message or one longer than
 * TCP_MESSAGE_MAX, that have no whole message for the idle limit (bytes that trickle
 * do not count), and that leave more than TCP_UNSENT_MAX of answers unread.
 * Connections over a limit are accepted and closed at once, so that the client knows.
 */
#ifndef SERVER_TCP_H
#define SERVER_TCP_H

#include "server/config.h"
#include "server/counts.h"
#include "server/loop.h"

#define TCP_MESSAGE_MAX 2048  /* no request over TCP needs more; PADDING is for UDP */
#define TCP_UNSENT_MAX	16384 /* beyond what the kernel holds */

struct tcp;

/* All is borrowed until tcp_free. */
struct tcp_settings {
	struct loop *loop;
	struct counts *counts;
	uint32_t max, max_per_source, idle_ms;
};

/* Negative errno. */
int tcp_new(struct tcp **out, const struct tcp_settings *settings);
void tcp_free(struct tcp *tcp); /* NULL is fine; closes every connection */

/* Listens on one socket of a place, borrowed until tcp_free. Negative errno, which has been logged. */
int tcp_listen(struct tcp *tcp, const struct place *place, unsigned address, unsigned port);

/* From now on with these limits; nobody is closed for them but who has been idle too long. */
void tcp_limits(struct tcp *tcp, uint32_t max, uint32_t max_per_source, uint32_t idle_ms);

/* Closes idle connections, resumes accepting; returns in how many ms to call again, negative for never. */
int tcp_tick(struct tcp *tcp, uint64_t now_ms);

#endif
