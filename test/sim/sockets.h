/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sockets - sys/udp, sys/dial, sys/net, sys/tap, sys/conntrack and sys/holder on a simulated line (test/sim/carrier.h).
 *
 * Ports are exclusive for UDP; TCP connections share one with the socket that holds it.
 */
#ifndef TEST_SIM_SOCKETS_H
#define TEST_SIM_SOCKETS_H

#include "test/sim/carrier.h"

struct sockets_count {
	size_t udp, holders, dials, taps, conntracks;
};
struct sockets_count sockets_count(void);
/* Another program has this port, so nobody else can; 0: it ends. */
void sockets_take_port(enum lease_protocol protocol, uint16_t port);
/* Whether a UDP or TCP port of the line's address is one of the gateway's. */
bool sockets_bound(enum lease_protocol protocol, uint32_t ip, uint16_t port);

#endif
