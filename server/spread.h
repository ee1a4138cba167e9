/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spread - one UDP endpoint, as many sockets as there are workers, and the kernel picks
 * by the sender's address.
 *
 * All of a source's datagrams (an IPv4 address, the /64 of an IPv6 address) reach one
 * worker, whatever their port: so a limit per source is one worker's own business.
 */
#ifndef SERVER_SPREAD_H
#define SERVER_SPREAD_H

#include <stdint.h>

#include "lib/endpoint.h"

/* A bound socket lets others of this user be bound beside it, if they ask for it (NET_BESIDE). Negative errno. */
int spread_share(int fd);

/*
 * For all sockets of one endpoint, given any of them bound with NET_BESIDE: the i-th
 * bound of count gets what hashes to i. Negative errno.
 */
int spread_by_source(int fd, enum endpoint_family family, uint32_t count);

#endif
