/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * layout - what the XDP program (stun.bpf.c) and who loads it (xdp.c) both know.
 *
 * Three objects, the last two in memory that both sides have, so that no system call is needed once the
 * program is loaded:
 *
 *	fixed	who is served here; constants to the program
 *	answers	every answer there can be, as a packet with holes (answers.h)
 *	shared	written by both while it runs: counts, buckets, which bank of answers holds
 *
 * No libc, nothing of a host's byte order but what is said: this compiles for BPF, too.
 */
#ifndef SERVER_XDP_LAYOUT_H
#define SERVER_XDP_LAYOUT_H

#include <stdint.h>

#include "server/bucket.h"

#define XDP_QUESTION_MAX   128 /* a longer question goes up to the sockets */
#define XDP_ATTRIBUTES_MAX 6   /* likewise one of more attributes */
#define XDP_CPUS	   512 /* on a CPU beyond, everything goes up */
#define XDP_TICK_BITS	   10  /* a tick of the limit's clock is 1024 ns */

#define XDP_FAMILIES  2 /* 0: IPv4, 1: IPv6 */
#define XDP_ADDRESSES 2
#define XDP_PORTS     2
#define XDP_BANKS     2 /* 0: with the peer node, or where there is none; 1: without it */

/* A question without CHANGE-REQUEST and any other attribute, or one of CHANGE-REQUEST's four values. */
#define XDP_ASKED 5
/* An RFC 3489 question; one of RFC 8489; one of these with FINGERPRINT. */
enum xdp_kind { XDP_CLASSIC, XDP_COOKIE, XDP_FINGERPRINT, XDP_KINDS };
#define XDP_SHAPES (XDP_KINDS * XDP_ASKED)

/* Of a question: its header, and 8 bytes for each attribute. */
#define XDP_BARE_LEN   20
#define XDP_CHANGE_LEN 28

#define XDP_ANSWER_MAX (40 + 8 + 144)

/* An answer as a packet from its IP header on. Holes are 0: destination, checksums, transaction id, mapped address, FINGERPRINT. */
struct xdp_answer {
	uint16_t len;	 /* a multiple of 4; 0: none, the question goes up */
	uint16_t ip_sum; /* of the IPv4 header's 16-bit words, as they stand in memory; not inverted */
	uint16_t sum;	 /* likewise of pseudo header, UDP header and message */
	uint16_t kind;	 /* enum xdp_kind */
	uint8_t bytes[XDP_ANSWER_MAX];
};

/* One address family's endpoints. Unused rows are 0, which no packet has. */
struct xdp_place {
	uint8_t local[XDP_ADDRESSES][16];  /* as asked for on the wire, network order */
	uint8_t refused[6][16];		   /* senders that are none: own addresses and broadcasts */
	uint16_t port[XDP_PORTS];	   /* network order */
	uint32_t tags[XDP_ADDRESSES];	   /* which VLAN the address stands in: xdp_tag, the outer one shifted left by 16 */
};

#define XDP_TAG(vid) (0x1000u | (vid))

struct xdp_fixed {
	uint8_t mac[8]; /* the interface's own, and two zero bytes */
	struct xdp_place places[XDP_FAMILIES];
	struct bucket_key key; /* of the buckets' hash */
	uint32_t crc[8][256];  /* CRC-32 of a byte that 0 to 7 more follow */
};

struct xdp_answers {
	struct xdp_answer of[XDP_BANKS][XDP_FAMILIES][XDP_ADDRESSES][XDP_PORTS][XDP_SHAPES];
};

enum xdp_count {
	XDP_ANSWERED,
	XDP_LIMITED, /* dropped: its source has had its answers */
	XDP_PASSED,  /* asked at an endpoint served here, but for the sockets to answer */
	XDP_COUNTS
};

/* One CPU's, on a cache line of its own. */
struct xdp_cpu {
	_Alignas(64) uint64_t of[XDP_COUNTS];
	uint64_t scratch; /* the program's */
};

struct xdp_shared {
	struct bucket_set buckets[BUCKET_SETS];
	struct xdp_cpu cpus[XDP_CPUS];
	uint32_t interval, depth; /* of the limit, in ticks; interval 0: no limit */
	uint32_t bank[XDP_FAMILIES];
	uint32_t zero; /* stays so; the kernel does not know */
};

#endif
