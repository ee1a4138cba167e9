/* SPDX-License-Identifier: MIT */
/* sockaddr - endpoints to the kernel's addresses and back. */
#ifndef SYS_SOCKADDR_H
#define SYS_SOCKADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "lib/endpoint.h"

/* Returns the length of the sockaddr written; an endpoint of no family becomes AF_INET's wildcard. */
socklen_t net_sockaddr(struct sockaddr_storage *out, const struct endpoint *e);
/* from: a sockaddr of any kind, as long as its family says; family NONE for all but AF_INET and AF_INET6. */
struct endpoint net_endpoint(const void *from);

#endif
