/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * packet - one IP packet: what it is, and its addresses exchanged in place.
 *
 * A packet is a view into the caller's bytes. Every length is checked once, in packet_parse(); the setters then
 * write where the parse has looked. Checksums are adjusted, never made anew (RFC 1624), so a packet that came in
 * broken goes out broken. Translation is IPv4 only; IPv6 is parsed to be filtered.
 *
 * An echo's identifier stands for a port: on the asking side only, the other side has port 0.
 */
#ifndef LAB_PACKET_H
#define LAB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/endpoint.h"

/* Why a packet was dropped; the names are the keys of the dump's "drops". */
enum reason {
	REASON_NONE,
	REASON_MALFORMED,
	REASON_FRAGMENT,
	REASON_PROTOCOL,   /* neither UDP, TCP, ICMP echo nor an ICMP error */
	REASON_NOT_OURS,   /* from outside to none of the outer addresses, or a multicast */
	REASON_NO_MAPPING, /* unsolicited, to an outer port nobody holds */
	REASON_FILTERED,   /* the port is held, the filtering behaviour keeps the sender out */
	REASON_NO_SESSION, /* a TCP segment or an ICMP error of no session known */
	REASON_HAIRPIN,    /* to an outer address from inside, hairpinning off */
	REASON_NO_PORT,    /* every outer port is taken */
	REASON_TABLE_FULL,
	REASON_BLOCKED, /* block-udp */
	REASON_RULE,    /* a drop command */
	REASON_LOSS,
	REASON_QUEUE_FULL,
	REASON_DEVICE, /* the kernel did not take it */
	REASON_COUNT
};

const char *reason_name(enum reason reason);

enum packet_kind { PACKET_UDP, PACKET_TCP, PACKET_ECHO_REQUEST, PACKET_ECHO_REPLY, PACKET_ICMP_ERROR };

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct packet {
	uint8_t *bytes;
	size_t len;        /* by the IP header, not more than was given; of a quote: what there is of it */
	size_t l4;         /* offset of the transport header */
	uint8_t proto;     /* IPPROTO_ */
	uint8_t tcp_flags; /* TCP only, 0 in a quote */
	enum packet_kind kind;
	struct endpoint src, dst;
};

/* Reads a whole packet; anything but REASON_NONE leaves out untouched. */
enum reason packet_parse(struct packet *out, void *bytes, size_t len);

/* Reads the packet an ICMP error quotes: the IP header and the first 8 bytes after it must be there. */
enum reason packet_parse_quote(struct packet *out, const struct packet *error);

/* Replaces address and port (echo: identifier, where that side has it). Does nothing when they are the same. */
void packet_set_src(struct packet *p, const struct endpoint *to);
void packet_set_dst(struct packet *p, const struct endpoint *to);

/* The same in the packet an error quotes; the error's own checksum follows. */
void packet_quote_set_src(struct packet *error, struct packet *quote, const struct endpoint *to);
void packet_quote_set_dst(struct packet *error, struct packet *quote, const struct endpoint *to);

/* Writes IPv4 address `now` wherever the payload of UDP has the bytes of `old`, whatever they mean there. */
void packet_replace_in_payload(struct packet *p, const struct endpoint *old, const struct endpoint *now);

#define PACKET_ANSWER_MAX 96 /* what the two below need at most */

/* Writes the RST that answers segment p (RFC 9293, section 3.5.2) to out; returns its length, 0 for a RST. */
size_t packet_make_rst(uint8_t out[PACKET_ANSWER_MAX], const struct packet *p);

/* Writes an ICMP unreachable about p (UDP) in the name of its destination; port: of the port, else of the host. */
size_t packet_make_unreachable(uint8_t out[PACKET_ANSWER_MAX], const struct packet *p, bool port);

/* The Internet checksum's folded sum (not complemented) of len bytes, beginning with sum. */
uint16_t packet_sum(uint32_t sum, const uint8_t *bytes, size_t len);

#endif
