/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wall - a firewall that is a table in memory: the backend of a simulated gateway.
 *
 * It says what nftables says: a mapping that is not there cannot be removed, one whose relay
 * port or client is another's cannot be added, and without its table nothing can be done.
 */
#ifndef TEST_SIM_WALL_H
#define TEST_SIM_WALL_H

#include "gateway/firewall/firewall.h"

#define WALL_MAX 512

struct wall {
	bool stands; /* the table is there */
	unsigned failing; /* percent of the calls */
	size_t count;
	struct firewall_mapping mappings[WALL_MAX];
	struct wall_servers {
		size_t count;
		struct endpoint at[FIREWALL_SERVERS];
	} exempt[2], said[2]; /* UDP, TCP: as the table has them; as it was told last, and gets them when it is built anew */
};
extern struct wall wall;
extern struct firewall_backend wall_backend; /* `unheard` is the simulation's to choose */

/* The handle for gateway_open: the table is built anew, as the backend's open does it. */
struct firewall *wall_open(void);
/* Gone, with all that is in it. */
void wall_flush(void);
/* NULL when there is none. */
const struct firewall_mapping *wall_find(enum lease_protocol protocol, uint16_t relay_port);

#endif
