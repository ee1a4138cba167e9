/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http_door - listens, accepts, counts, ends who is late, and tells when a client that waits has gone.
 *
 * Knows no HTTP: connections are handed to whoever speaks it (admit), who closes their sockets. Listens on the
 * configuration's addresses, else on loopback and the LANs' addresses: there only to who came by a LAN or from the
 * router itself, since Linux answers for an address on every interface. An address of the configuration that is not there is waited for (IP_FREEBIND).
 *
 * Where there is no room a newcomer takes the place of the connection that has been idle longest: his own address',
 * when that has its share, else anybody's. Who is ended is shut down: then MHD sees the end of it, and closes.
 */
#ifndef GATEWAY_HTTP_DOOR_H
#define GATEWAY_HTTP_DOOR_H

#include <uv.h>

#include "gateway/config.h"
#include "gateway/face/http.h"

struct door;

struct visitor {
	int fd;
	struct endpoint client, local;
	unsigned interface; /* by which he came; 0: not known (IPv6) */

	/* private */
	struct door *door;
	struct visitor *next;
	uv_poll_t watch;
	uint64_t number, due_ms; /* number: in the order in which they became idle; due_ms 0: no end */
	bool idle, ended;
	void (*gone)(void *data);
	void *gone_data;
};

/* admit: 0, or negative errno, then the socket is closed and the visitor gone already. ended: sockets were shut down. */
struct door_callbacks {
	int (*admit)(void *owner, struct visitor *v);
	void (*ended)(void *owner);
};

int door_open(struct door **out, uv_loop_t *loop, const struct config *config, const struct door_callbacks *callbacks, void *owner);
int door_follow(struct door *d, const struct netif *lans, size_t count); /* as http_follow */
void door_serve(struct door *d); /* accepts from now on */
void door_close(struct door *d); /* listens no more; frees itself when its last visitor has left. NULL is fine */

/* A connection that stands already, as if it had been accepted; its socket is non-blocking. */
void door_enter(struct door *d, int fd, const struct endpoint *client);
struct visitor *door_find(const struct door *d, int fd);
/* From a LAN's subnet by that LAN, or from the router itself. */
bool visitor_is_neighbour(const struct visitor *v);
/* Whether ip is an address that a page of ours may be asked by: loopback, where he came to, a LAN's. */
bool visitor_may_ask_for(const struct visitor *v, const struct endpoint *ip);
/* Ends him after so long; 0: not. idle: no request of his is being served. */
void visitor_due(struct visitor *v, uint32_t after_ms, bool idle);
void visitor_end(struct visitor *v); /* now */
/* Tells once when he closes, his sending side suffices, or his connection breaks; NULL: not any more. */
void visitor_watch(struct visitor *v, void (*gone)(void *data), void *data);
void visitor_leave(struct visitor *v); /* before his socket is closed; he is gone then */

#endif
