/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state - what was promised, as the text of a file.
 *
 *	{"version":1,"boot_id":"…","epoch_ms":81000,"public_ip":"203.0.113.1","mappings":[
 *	{"protocol":"UDP","internal_ip":"192.168.1.10","internal_port":6881,"relay_port":26780,"lifetime":3600,
 *	 "expires_ms":3700000,"origin":"nat-pmp","public_ip":"203.0.113.1","remote_port":43006,"fixed":false,"description":""}]}
 *
 * Times are milliseconds since boot (sys/clock.h), so they mean nothing after another boot.
 * Reading believes nothing: a text that is not whole is no state at all, and of a whole one
 * each mapping that cannot be is left out. Whoever reads a file of a version to come sets it
 * aside. No I/O but the stream written to.
 */
#ifndef GATEWAY_STATE_H
#define GATEWAY_STATE_H

#include <stdio.h>

#include "lib/endpoint.h"
#include "lib/leases.h"
#include "sys/netif.h"

#define STATE_BOOT_ID	  37 /* a UUID and its NUL */
#define STATE_DESCRIPTION 65
#define STATE_WHY	  128
#define STATE_LIFETIME_S  604800 /* longest there is, as --hold-max */

enum origin { ORIGIN_NAT_PMP, ORIGIN_PCP, ORIGIN_WEB, ORIGIN_CONFIG };
/* "nat-pmp", "pcp", "web", "config". */
const char *origin_name(enum origin origin);

struct state_mapping {
	struct lease_key key;
	uint16_t relay_port;
	enum origin origin;
	uint32_t lifetime_s;  /* what was asked; 0 for ORIGIN_CONFIG */
	uint64_t expires_ms;  /* LEASES_FOREVER for ORIGIN_CONFIG */
	struct endpoint outer; /* the last known; ENDPOINT_NONE while there was none */
	bool fixed;	       /* somebody wants this relay port and no other */
	char description[STATE_DESCRIPTION];
};

struct state {
	char boot_id[STATE_BOOT_ID];
	uint64_t epoch_ms;  /* when the table of mappings began */
	uint32_t public_ip; /* host order, 0: not known */
	size_t count;
	struct state_mapping *mappings;
};

/* A mapping's host must be a neighbour on one of the LANs, if any is known; the configuration's own are free in that. */
struct state_limits {
	const struct netif *lans;
	size_t lan_count;
	size_t max, max_per_client;
};

struct state_dropped {
	size_t count;	     /* mappings left out */
	char why[STATE_WHY]; /* of the first of them: which, and what is wrong */
};

/* Writes the text. 0, or -EIO when the stream failed. */
int state_encode(const struct state *s, FILE *out);
/* 0, or -EBADMSG and in why what is wrong with the whole; -ENOMEM. */
int state_decode(struct state *out, const char *text, size_t len, const struct state_limits *limits, struct state_dropped *dropped,
	char why[STATE_WHY]);
void state_clear(struct state *s);
/* This boot's; "" when the kernel does not say. */
void state_boot_id(char out[STATE_BOOT_ID]);

#endif
