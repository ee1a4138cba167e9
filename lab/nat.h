/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nat - what becomes of a packet: RFC 4787 (UDP), RFC 5382 (TCP) and RFC 5508 (ICMP), in every variant asked for.
 *
 * No I/O and no clock: bytes and now_ms in, a verdict out. A packet from inside finds its session, or by the mapping
 * behaviour a mapping, or makes one; a packet from outside finds the mapping by its outer endpoint and is asked the
 * filtering behaviour. Where there is nothing to translate (firewall mode, IPv6) a mapping's outer endpoint is its
 * inner one and the rest is the same.
 *
 *   UDP   Outbound packets make sessions. An inbound packet of a stranger makes none: what is answered to it goes by
 *         the mapping behaviour like any other packet.
 *   TCP   Only SYNs make sessions, outbound ones mappings. Inbound SYNs pass by the filtering behaviour as long as the
 *         mapping has a session that is not closing, and make a session of their own. FINs of both sides, or a RST,
 *         leave it 4 s.
 *   ICMP  Echo requests from inside, their answers, and errors that quote a known session, both ways. Their filtering
 *         is always address-dependent.
 */
#ifndef LAB_NAT_H
#define LAB_NAT_H

#include <stdint.h>
#include <stdio.h>

#include "lab/config.h"
#include "lab/packet.h"

enum side { SIDE_INSIDE, SIDE_OUTSIDE };

struct verdict {
	enum reason reason; /* REASON_NONE: the packet passed */
	enum side to;
	const uint8_t *bytes; /* the packet, or the answer to one dropped; borrowed until the next nat_handle() */
	size_t len;           /* 0: nothing is to be sent */
	unsigned copies;      /* 1, or 2 for a packet that comes twice */
	uint32_t delay_ms[2]; /* after which each is to be sent */
};

struct nat;

int nat_new(struct nat **out, const struct config *config); /* copies config; -ENOMEM */
void nat_free(struct nat *n);                               /* NULL is fine */

/* Translates the packet in place. */
struct verdict nat_handle(struct nat *n, enum side from, uint8_t *bytes, size_t len, uint64_t now_ms);

/* Counts a packet lost after its verdict. */
void nat_count(struct nat *n, enum reason reason);

/* config_set() at run time; what exists stays, the next packet goes by the new value. */
int nat_set(struct nat *n, const char *name, const char *value);
/* New outer addresses; all mappings are dropped. -EINVAL, -E2BIG: nothing changed. */
int nat_renumber(struct nat *n, char *const *addresses, size_t count);
void nat_flush(struct nat *n);

/* Drops outbound packets of proto (IPPROTO_UDP, IPPROTO_TCP) to an address; port 0: any. -ENOSPC after 16. */
int nat_drop(struct nat *n, uint8_t proto, const struct endpoint *to);
/* Takes that back; -ENOENT. With to = NULL, all of them. */
int nat_undrop(struct nat *n, uint8_t proto, const struct endpoint *to);

/* Removes what has timed out; true while there is something that can. */
bool nat_expire(struct nat *n, uint64_t now_ms);

/* Writes everything known as one line of JSON. */
void nat_dump(struct nat *n, FILE *out, uint64_t now_ms);

#endif
