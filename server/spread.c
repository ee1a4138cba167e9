/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/spread.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

/*
 * The program sees the datagram from its UDP payload on: data offset 0 is the first byte
 * behind the UDP header. The IP header is reached by SKF_NET_OFF.
 */
#define IPV4_SOURCE (SKF_NET_OFF + 12)
#define IPV6_SOURCE (SKF_NET_OFF + 8)
#define MIX	    0x9e3779b1u /* 2^32 divided by the golden ratio: consecutive addresses spread evenly (Knuth, 6.4) */

#define LOAD(offset)	  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define ALU(operation, k) BPF_STMT(BPF_ALU | (operation) | BPF_K, (k))
#define TO_X		  BPF_STMT(BPF_MISC | BPF_TAX, 0)
#define XOR_X		  BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0)
#define RETURN		  BPF_STMT(BPF_RET | BPF_A, 0)

int spread_share(int fd)
{
	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){ 1 }, sizeof(int)) < 0 ? -errno : 0;
}

int spread_by_source(int fd, enum endpoint_family family, uint32_t count)
{
	struct sock_filter ipv4[] = { LOAD(IPV4_SOURCE), ALU(BPF_MUL, MIX), ALU(BPF_RSH, 16), ALU(BPF_MOD, count), RETURN };
	struct sock_filter ipv6[] = { LOAD(IPV6_SOURCE), ALU(BPF_MUL, MIX), TO_X, LOAD(IPV6_SOURCE + 4), XOR_X,
		ALU(BPF_MUL, MIX), ALU(BPF_RSH, 16), ALU(BPF_MOD, count), RETURN };
	const struct sock_fprog program = family == ENDPOINT_IPV6 ?
		(struct sock_fprog){ sizeof(ipv6) / sizeof(ipv6[0]), ipv6 } :
		(struct sock_fprog){ sizeof(ipv4) / sizeof(ipv4[0]), ipv4 };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}
