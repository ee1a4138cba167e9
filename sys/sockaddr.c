/* SPDX-License-Identifier: MIT */
#include "sys/sockaddr.h"

#include <arpa/inet.h>
#include <string.h>

socklen_t net_sockaddr(struct sockaddr_storage *out, const struct endpoint *e)
{
	memset(out, 0, sizeof(*out));
	if (e->family == ENDPOINT_IPV6) {
		struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(e->port) };

		memcpy(&a.sin6_addr, e->ip, 16);
		memcpy(out, &a, sizeof(a));
		return sizeof(a);
	}
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(e->port) };

	memcpy(&a.sin_addr, e->ip, 4);
	memcpy(out, &a, sizeof(a));
	return sizeof(a);
}

struct endpoint net_endpoint(const void *from)
{
	struct endpoint e = { 0 };
	sa_family_t family;

	memcpy(&family, (const char *)from + offsetof(struct sockaddr, sa_family), sizeof(family));
	if (family == AF_INET) {
		struct sockaddr_in a;

		memcpy(&a, from, sizeof(a));
		e = endpoint_ipv4(ntohl(a.sin_addr.s_addr), ntohs(a.sin_port));
	} else if (family == AF_INET6) {
		struct sockaddr_in6 a;

		memcpy(&a, from, sizeof(a));
		e.family = ENDPOINT_IPV6;
		e.port = ntohs(a.sin6_port);
		memcpy(e.ip, &a.sin6_addr, 16);
	}
	return e;
}
