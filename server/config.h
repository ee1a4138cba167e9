/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config - what the command line and the file say, checked: addresses, ports, peer and keys, limits, log, user. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/endpoint.h"
#include "server/answer.h"
#include "server/node.h"

/* An address of this host: what clients send to, and what is bound (the same without a NAT in between). */
struct config_address {
	struct endpoint public, local; /* without ports */
};

struct config_family {
	struct config_address addresses[SITE_ADDRESSES];
	size_t count;
	struct endpoint peer; /* the other node's public address, without port; family NONE: none */
};

#define CONFIG_XDP_MAX 4

struct config {
	struct config_family ipv4, ipv6;
	uint16_t ports[SITE_PORTS];
	size_t port_count;
	struct node_key keys[NODE_KEYS_MAX];
	size_t key_count;
	bool no_tcp;
	uint32_t tcp_max, tcp_max_per_address, tcp_idle_s;
	uint32_t workers; /* threads that answer UDP */
	uint32_t rate;	  /* UDP answers per second and source, 0: no limit */
	bool drop_user; /* become uid and gid once bound */
	const char *user;
	uid_t uid;
	gid_t gid;
	const char *xdp[CONFIG_XDP_MAX]; /* interfaces where questions are answered before the network stack */
	size_t xdp_count;
	struct endpoint metrics; /* where they are told; family NONE: nowhere */
	int log_level, log_target;
	bool check; /* say what would be done, and do nothing */
	bool again; /* read for SIGHUP: what only the start had the right to look at is not looked at */
	char *values; /* what came from the file, for user */
};

/* 0: go on. 1: --help or --version was printed. -EINVAL: said on stderr. */
int config_read(struct config *config, int argc, char **argv);
/* The same for SIGHUP, once privileges are gone. */
int config_read_again(struct config *config, int argc, char **argv);
void config_free(struct config *config);

struct peer;

/*
 * The sockets of one address family, as they are to be bound. Address 1 of the site is
 * the peer's where there is one, and has no sockets here. Without any address
 * in the configuration: one socket per family for every local address (any), which
 * has no site: what is answered depends on the address asked.
 */
struct place {
	struct site site;
	struct endpoint local[SITE_ADDRESSES][SITE_PORTS]; /* family NONE: no socket */
	bool any;
	bool peered;
	struct peer *peer; /* set by who makes it */
};

#define CONFIG_CHANGES_MAX 256

/* The options in which b differs from a and that only a restart brings about: "--ports --user", "" for none. Returns buf. */
const char *config_fixed(const struct config *a, const struct config *b, char buf[CONFIG_CHANGES_MAX]);

#define PLACES 2

/* Fills out and returns how many: IPv4's before IPv6's. */
size_t config_places(const struct config *config, struct place out[PLACES]);

#endif
