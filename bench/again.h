/* SPDX-License-Identifier: GPL-2.0-or-later */
/* again - what again.bpf.c and xdp_alone.c share. */
#ifndef BENCH_AGAIN_H
#define BENCH_AGAIN_H

#include <stdint.h>

#define AGAIN_FRAME 128

struct again {
	uint8_t frame[AGAIN_FRAME]; /* the question, of even length */
	uint32_t len;
	uint32_t senders; /* a power of 2, less one: how many there are */
	uint32_t ip_id;	  /* where two bytes are that the IPv4 header's checksum has in it: 0 for IPv6 */
	uint32_t from;	  /* where the sender's address ends, less 2 */
	uint32_t id;	  /* where two bytes of the transaction id stand */
	uint32_t pad;
	uint64_t turn;
};

#endif
