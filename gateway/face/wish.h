/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wish - the mapping that a body of POST /mappings asks for, and the one that a path names.
 *
 *	{"protocol":"TCP","internal_ip":"192.168.1.10","internal_port":6881,"lifetime":3600,"relay_port":26780,"description":"seeds"}
 *
 * Believes nothing. What is refused is said with the value, and what would be right. Pure: no I/O.
 */
#ifndef GATEWAY_WISH_H
#define GATEWAY_WISH_H

#include "gateway/core/gateway.h"

#define WISH_LIFETIME_S 3600 /* where none is named */
#define WISH_WHY	320

struct wish {
	struct gateway_wish is;
	char description[STATE_DESCRIPTION]; /* what is.description points to */
};

/* Who may be reached: hosts of these LANs, and the router itself by its addresses there. */
struct wish_limits {
	const struct netif *lans;
	size_t lan_count;
	uint32_t hold_max_s;
};

/* 0, or -EINVAL and in why what is wrong. *out is borrowed from itself: it must not be copied. */
int wish_read(struct wish *out, const char *body, size_t len, const struct wish_limits *limits, char why[WISH_WHY]);
/* The segments of /mappings/PROTOCOL/IP/PORT. Likewise. */
int wish_key(struct lease_key *out, const char *protocol, const char *ip, const char *port, char why[WISH_WHY]);

#endif
