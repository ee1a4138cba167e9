/* SPDX-License-Identifier: MIT */
#include "lib/datagram.h"

#include <errno.h>

#include "lib/cursor.h"

#define PROTOCOL_UDP   17
#define IP_HEADER_LEN  20
#define UDP_HEADER_LEN 8
#define FRAGMENT_MASK  0x3fff /* more fragments, and the offset */

int datagram_decode(struct datagram *out, const void *packet, size_t len)
{
	struct reader r = { .at = packet, .left = len };
	const uint8_t version_ihl = read_u8(&r);
	const size_t header_len = (version_ihl & 15u) * 4u;
	uint16_t total_len, fragment, udp_len, from_port, to_port;
	uint32_t from_ip, to_ip;
	uint8_t protocol;

	read_u8(&r); /* type of service */
	total_len = read_u16(&r);
	read_u16(&r); /* identification */
	fragment = read_u16(&r);
	read_u8(&r); /* time to live */
	protocol = read_u8(&r);
	read_u16(&r); /* checksum */
	from_ip = read_u32(&r);
	to_ip = read_u32(&r);
	if (r.overrun || version_ihl >> 4 != 4 || header_len < IP_HEADER_LEN || protocol != PROTOCOL_UDP ||
		fragment & FRAGMENT_MASK || total_len > len)
		return -EBADMSG;
	read_bytes(&r, header_len - IP_HEADER_LEN); /* options */
	from_port = read_u16(&r);
	to_port = read_u16(&r);
	udp_len = read_u16(&r);
	read_u16(&r); /* checksum */
	if (r.overrun || udp_len < UDP_HEADER_LEN || header_len + udp_len > total_len)
		return -EBADMSG;
	*out = (struct datagram){ .from = endpoint_ipv4(from_ip, from_port),
		.to = endpoint_ipv4(to_ip, to_port),
		.bytes = r.at,
		.len = udp_len - UDP_HEADER_LEN };
	return 0;
}
