/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * carrier - the line of a simulated home: the carrier's NAT, and the servers behind it.
 *
 *	router's sockets ── loss, delay ──→ NAT: random ports, full cone ──→ STUN servers, web servers
 *	(test/sim/sockets.c)                 of UDP, and of TCP streams
 *
 * A UDP mapping lives while the router sends, a TCP one while a stream stands. What the NAT
 * forgot it does not answer: segments of its streams vanish. Without `nat` the line's address
 * is a public one, and the outer endpoint is the socket's own.
 */
#ifndef TEST_SIM_CARRIER_H
#define TEST_SIM_CARRIER_H

#include "lib/endpoint.h"
#include "lib/leases.h"
#include "test/sim/loop.h"

#define CARRIER_HOSTS_MAX 8
#define CARRIER_RATE_MS	  10000 /* questions are counted for so long at a time */

enum carrier_kind { CARRIER_DATA, CARRIER_SYN, CARRIER_ACCEPTED, CARRIER_END };

/* A server: whoever has a port 80 speaks HTTP, all others STUN. */
struct carrier_host {
	struct endpoint at;
	struct endpoint other;	/* of a STUN server with a second address and port; family NONE: it has none */
	bool silent, hangs_up;	/* hangs_up: TCP, after each answer */
	unsigned asked[2], worst[2]; /* UDP, TCP: in this count, in the worst ever */
};

struct carrier {
	uint32_t wan_ip, public_ip; /* host order; wan_ip 0: the line has no address */
	bool nat, down;
	unsigned loss; /* percent */
	uint32_t rtt_ms, jitter_ms, udp_timeout_ms, tcp_timeout_ms;
	struct carrier_host hosts[CARRIER_HOSTS_MAX];
	size_t host_count;
	uint64_t questions;
};
extern struct carrier carrier;

/* A TCP connection as the NAT sees it, the socket's to keep. id 0: closed. */
struct carrier_stream {
	uint32_t id;
	struct endpoint local, server;
	uint64_t binding; /* private */
};

/* The router sends. A segment of TCP goes on being sent until its stream is closed. */
void carrier_send_udp(const struct endpoint *local, const struct endpoint *to, const void *bytes, size_t len);
void carrier_send_tcp(struct carrier_stream *s, enum carrier_kind kind, const void *bytes, size_t len);
void carrier_end_stream(struct carrier_stream *s);

/* What reaches the router: sockets.c has these. */
void sockets_arrived_udp(const struct endpoint *local, const struct endpoint *from, const void *bytes, size_t len);
void sockets_arrived_tcp(uint32_t id, enum carrier_kind kind, const void *bytes, size_t len);
struct carrier_stream *sockets_stream(uint32_t id);

/* All mappings of the NAT are gone. */
void carrier_flush(void);
/* This one has another outer port from now on, its streams are dead. */
void carrier_change_port(enum lease_protocol protocol, uint16_t local_port);
/* The truth: how the world sees a port of the line; family NONE while it has no mapping. */
struct endpoint carrier_outer(enum lease_protocol protocol, uint16_t local_port);
/* Where a stranger's packet to an outer endpoint arrives at the router; false: nowhere. */
bool carrier_stranger(enum lease_protocol protocol, const struct endpoint *outer, struct endpoint *local);
/* Counts the servers' questions anew. */
void carrier_count_rates(void);

#endif
