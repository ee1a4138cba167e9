/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netif - the machine's network interfaces: which is the line, which are the LANs, who is a neighbour. */
#ifndef SYS_NETIF_H
#define SYS_NETIF_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETIF_SUBNETS 8

/* Addresses are IPv4 in host order. */
struct netif {
	char name[IF_NAMESIZE];
	unsigned index;
	bool up;     /* and running: has a carrier, as far as can be known */
	uint32_t ip; /* its first address */
	struct {
		uint32_t ip, mask;
	} subnets[NETIF_SUBNETS];
	size_t subnet_count;
};

/* -ENODEV: no such interface. -EADDRNOTAVAIL: it has no IPv4 address. */
int netif_find(struct netif *out, const char *name);
/* The interface of the IPv4 default route with the lowest metric. -ENETUNREACH when there is none. */
int netif_default(char out[IF_NAMESIZE]);
bool netif_has_default(const char *name);
/*
 * Interfaces to serve when none is named: up, broadcast, with a private IPv4 address, and
 * neither WAN, nor a device WAN runs on, nor a container's or VM's bridge, nor one with a
 * default route. Returns how many were written (at most max).
 */
size_t netif_lans(struct netif *out, size_t max, const char *wan);
/* All names but "lo", joined by ", ": for an error message. */
void netif_names(char *buf, size_t max);

/* Whether ip is a host of one of the interface's subnets (not its network or broadcast address). */
bool netif_is_neighbour(const struct netif *n, uint32_t ip);
/* Whether ip is one of the interface's own addresses. */
bool netif_owns(const struct netif *n, uint32_t ip);
/* RFC 1918 or 100.64.0.0/10 (RFC 6598). */
bool netif_ip_is_private(uint32_t ip);

#endif
