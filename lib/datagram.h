/* SPDX-License-Identifier: MIT */
/*
 * datagram - the UDP datagram in an IPv4 packet, as a packet tap hands it over.
 */
#ifndef LIB_DATAGRAM_H
#define LIB_DATAGRAM_H

#include "lib/endpoint.h"

struct datagram {
	struct endpoint from, to;
	const uint8_t *bytes; /* its payload, borrowed from the packet */
	size_t len;
};

/*
 * -EBADMSG for whatever is not one whole UDP datagram over IPv4: another version or
 * protocol, a fragment, lengths that contradict each other (bytes behind the datagram
 * are a link's padding, and ignored). Checksums are not looked at: a tap sees them
 * unfinished where the sender is local.
 */
int datagram_decode(struct datagram *out, const void *packet, size_t len);

#endif
