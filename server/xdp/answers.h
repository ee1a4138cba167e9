/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answers - every answer the XDP program can give, as packets with holes.
 *
 * They are what answer_to says to the same questions, written once: so the program
 * knows nothing of STUN but how to read a question, and says byte for byte what the
 * sockets would. What needs more than an answer of these (420, 400, PADDING, the peer
 * node) has none, and goes up.
 *
 * Pure: no socket, no system call.
 */
#ifndef SERVER_XDP_ANSWERS_H
#define SERVER_XDP_ANSWERS_H

#include "server/config.h"
#include "server/xdp/layout.h"

/* How the addresses of one place stand at an interface. */
struct standing {
	bool here[SITE_ADDRESSES];     /* at it, or at a VLAN over it */
	uint32_t tags[SITE_ADDRESSES]; /* which VLAN: as in struct xdp_place */
	bool together; /* what was asked of the one may be answered from the other, by the way it came */
	uint8_t hops;  /* an answer's TTL or hop limit */
	uint32_t broadcast[SITE_ADDRESSES]; /* IPv4: of each address's network, network order, 0 for none */
};

/* Fills in what concerns this place, its family's part of both; the rest stays as it is. */
void answers_make(struct xdp_fixed *fixed, struct xdp_answers *answers, const struct place *place, const struct standing *standing);

#endif
