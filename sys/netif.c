/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sys/netif.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>

#include "sys/cleanup.h"

#define ROUTES_MAX 16

static void free_ifaddrs(struct ifaddrs **list)
{
	if (*list)
		freeifaddrs(*list);
}

static uint32_t ip_of(const struct sockaddr *sa)
{
	struct sockaddr_in in;

	memcpy(&in, sa, sizeof(in));
	return ntohl(in.sin_addr.s_addr);
}

static bool is_ipv4(const struct ifaddrs *a)
{
	return a->ifa_addr && a->ifa_addr->sa_family == AF_INET && a->ifa_netmask;
}

bool netif_ip_is_private(uint32_t ip)
{
	return ip >> 24 == 10 || ip >> 20 == 0xac1 || ip >> 16 == 0xc0a8 || ip >> 22 == 0x6440 >> 6;
}

/* An address may carry a label, "lan:1" on lan; a name has no colon. */
static bool is_on(const struct ifaddrs *a, const char *name)
{
	return strcspn(a->ifa_name, ":") == strlen(name) && strncmp(a->ifa_name, name, strlen(name)) == 0;
}

static void add_subnet(struct netif *n, const struct ifaddrs *a)
{
	if (n->subnet_count == NETIF_SUBNETS)
		return;
	n->subnets[n->subnet_count].ip = ip_of(a->ifa_addr);
	n->subnets[n->subnet_count].mask = ip_of(a->ifa_netmask);
	if (n->subnet_count++ == 0)
		n->ip = ip_of(a->ifa_addr);
}

int netif_find(struct netif *out, const char *name)
{
	CLEANUP(free_ifaddrs) struct ifaddrs *list = NULL;
	struct netif n = { .index = if_nametoindex(name) };

	if (n.index == 0)
		return -ENODEV;
	if (getifaddrs(&list) < 0)
		return -errno;
	snprintf(n.name, sizeof(n.name), "%s", name);
	for (const struct ifaddrs *a = list; a; a = a->ifa_next)
		if (is_ipv4(a) && is_on(a, name)) {
			add_subnet(&n, a);
			n.up = a->ifa_flags & IFF_UP && a->ifa_flags & IFF_RUNNING;
		}
	if (n.subnet_count == 0)
		return -EADDRNOTAVAIL;
	*out = n;
	return 0;
}

/* Names of the interfaces with a default route, the best first. */
static size_t default_routes(char names[ROUTES_MAX][IF_NAMESIZE])
{
	CLEANUP(close_file) FILE *file = fopen("/proc/net/route", "re");
	unsigned metrics[ROUTES_MAX];
	char line[256];
	size_t n = 0;

	while (file && fgets(line, sizeof(line), file) && n < ROUTES_MAX) {
		unsigned destination, flags, metric, mask;
		char name[IF_NAMESIZE];
		size_t at;

		if (sscanf(line, "%15s %x %*x %x %*u %*u %u %x", name, &destination, &flags, &metric, &mask) != 5 ||
			destination != 0 || mask != 0 || !(flags & 1 /* RTF_UP */))
			continue;
		for (at = n; at > 0 && metrics[at - 1] > metric; at--) {
			metrics[at] = metrics[at - 1];
			memcpy(names[at], names[at - 1], IF_NAMESIZE);
		}
		metrics[at] = metric;
		memcpy(names[at], name, IF_NAMESIZE);
		n++;
	}
	return n;
}

int netif_default(char out[IF_NAMESIZE])
{
	char names[ROUTES_MAX][IF_NAMESIZE];

	if (default_routes(names) == 0)
		return -ENETUNREACH;
	memcpy(out, names[0], IF_NAMESIZE);
	return 0;
}

bool netif_has_default(const char *name)
{
	char names[ROUTES_MAX][IF_NAMESIZE];

	for (size_t i = default_routes(names); i > 0; i--)
		if (strcmp(names[i - 1], name) == 0)
			return true;
	return false;
}

static bool is_for_containers(const char *name)
{
	static const char *const prefixes[] = { "docker", "veth", "virbr", "lxc", "lxd", "cni", "flannel", "podman", "kube", "vnet",
		"cali", "incus" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	/* Docker's own networks: br- and 12 hex digits */
	return strncmp(name, "br-", 3) == 0 && strlen(name) == 15 && strspn(name + 3, "0123456789abcdef") == 12;
}

/* Whether wan is a VLAN, PPPoE's Ethernet or the like on top of name. */
static bool is_below(const char *name, const char *wan)
{
	char path[64 + 2 * IF_NAMESIZE];

	snprintf(path, sizeof(path), "/sys/class/net/%s/lower_%s", wan, name);
	return access(path, F_OK) == 0;
}

static bool is_lan(const struct ifaddrs *a, const char *wan)
{
	return is_ipv4(a) && a->ifa_flags & IFF_UP && a->ifa_flags & IFF_BROADCAST && netif_ip_is_private(ip_of(a->ifa_addr)) &&
		strcmp(a->ifa_name, wan) != 0 && !is_for_containers(a->ifa_name) && !is_below(a->ifa_name, wan) &&
		!netif_has_default(a->ifa_name);
}

size_t netif_lans(struct netif *out, size_t max, const char *wan)
{
	CLEANUP(free_ifaddrs) struct ifaddrs *list = NULL;
	size_t n = 0;

	if (getifaddrs(&list) < 0)
		return 0;
	for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
		bool seen = false;

		for (size_t i = 0; i < n; i++)
			seen |= strcmp(out[i].name, a->ifa_name) == 0;
		if (n < max && !seen && is_lan(a, wan) && netif_find(&out[n], a->ifa_name) == 0)
			n++;
	}
	return n;
}

void netif_names(char *buf, size_t max)
{
	struct if_nameindex *all = if_nameindex();
	size_t used = 0;

	buf[0] = '\0';
	for (const struct if_nameindex *i = all; i && i->if_index && used < max; i++)
		if (strcmp(i->if_name, "lo") != 0)
			used += (size_t)snprintf(buf + used, max - used, "%s%s", used ? ", " : "", i->if_name);
	if (all)
		if_freenameindex(all);
}

bool netif_is_neighbour(const struct netif *n, uint32_t ip)
{
	for (size_t i = 0; i < n->subnet_count; i++) {
		const uint32_t mask = n->subnets[i].mask;
		const uint32_t host = ip & ~mask;

		if ((ip & mask) == (n->subnets[i].ip & mask) && (~mask <= 1 || (host != 0 && host != ~mask)))
			return true;
	}
	return false;
}

bool netif_owns(const struct netif *n, uint32_t ip)
{
	for (size_t i = 0; i < n->subnet_count; i++)
		if (n->subnets[i].ip == ip)
			return true;
	return false;
}
