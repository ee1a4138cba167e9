/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answer - what the server says to one message: bytes in, bytes out.
 *
 * Pure: no socket, clock or state, so every rule of RFC 8489, 5780 and 3489
 * below is a plain test, and the bytes of strangers are fuzzed here.
 *
 * A site is the server as its clients see it, in one address family: up to two
 * addresses times up to two ports, each pair a socket. CHANGE-REQUEST picks the
 * socket that answers:
 *
 *	             port 0          port 1		asked at (a, p):
 *	address 0    origin[0][0]    origin[0][1]	  change IP    (!a, p)
 *	address 1    origin[1][0]    origin[1][1]	  change port  (a, !p)
 *
 * What is answered how:
 *
 *	plain Binding		XOR-MAPPED-ADDRESS and MAPPED-ADDRESS, RESPONSE-ORIGIN where
 *				any other socket could answer, OTHER-ADDRESS where one
 *				with another address and port could, SOFTWARE
 *	without magic cookie	MAPPED-ADDRESS, SOURCE-ADDRESS, CHANGED-ADDRESS (RFC 3489)
 *	CHANGE-REQUEST		from the socket asked for; 420 when there is none, and on
 *				TCP, where only the connection's own socket can answer;
 *				value 0 asks for nothing and is answered so
 *	RESPONSE-PORT		to the sender's address at that port; on TCP 420
 *	PADDING			padded too, up to the question's length; on TCP 420
 *	RESPONSE-ADDRESS	420: whoever is named there did not ask
 *	unknown, required	420 with UNKNOWN-ATTRIBUTES
 *	a value of bad form	400
 *	anything else		nothing: not STUN, not a request, not Binding
 *
 * Over UDP, where a sender may be forged, the IP datagram of an answer is at most
 * 2.5 times as long as the question's; what does not fit is left out.
 */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include "lib/endpoint.h"
#include "server/counts.h"

#define SITE_ADDRESSES 2
#define SITE_PORTS     2

struct site {
	struct endpoint origin[SITE_ADDRESSES][SITE_PORTS]; /* public endpoints; family NONE: no such socket */
};

struct question {
	const void *bytes; /* one whole message */
	size_t len;
	bool tcp;
	const struct site *site;
	unsigned address, port; /* the socket it came to: site->origin[address][port] */
	struct endpoint from;	/* the sender */
};

struct answer {
	size_t len;		/* of what stands in the buffer; 0: say nothing */
	unsigned address, port; /* the socket that sends it */
	struct endpoint to;
};

#define ANSWER_MAX     65535 /* room that every answer fits into */
#define ANSWER_TCP_MAX 256   /* likewise, on TCP */

/*
 * Answers one question into buf (max at least ANSWER_MAX or ANSWER_TCP_MAX). The
 * row to count it under tells success, 400, 420 and the reasons of silence apart.
 */
enum count answer_to(const struct question *q, void *buf, size_t max, struct answer *out);

/* The longest answer that a question of len bytes over UDP may draw. */
size_t answer_bound(enum endpoint_family family, size_t len);

#endif
