/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * home - a simulated home: the router with the real gateway's core in it, and the clients on its LAN.
 *
 *	home_clients.c ── requests ──→ gateway_map      the core, on test/sim/loop, carrier, sockets, wall
 *	               ←── answers ──  home_router.c    its life: configuration, disk, start and end
 *
 * What must be true is a promise; whoever sees one broken says so (breach).
 */
#ifndef TEST_SIM_HOME_H
#define TEST_SIM_HOME_H

#include "gateway/core/core.h"

#define MINUTE 60000ull
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

enum promise { LIVES, LEASES_KEPT, PORTS_APART, NOTHING_LEAKED, RULES_STAND, OUTER_TRUE, TOLD_TRUE, STRANGERS_PASS, CHANGES_ANNOUNCED,
	EPOCH_RULES, ANSWERS_RIGHT, FEW_WRITES, RATE_KEPT, NO_COMPLAINTS, MEMORY_BOUND, PROMISES };
/* Which, and what was seen. */
__attribute__((format(printf, 2, 3))) void breach(enum promise which, const char *format, ...);

/* Whether all faults have ended, and had their time to heal. */
bool home_is_calm(void);

/* --- home_router.c --- */

#define HOME_LAN   0xc0a80100u /* 192.168.1.0/24 */
#define HOME_RATE  4	       /* --stun-rate */
#define HOME_LEASE 120

enum home_end { END_TERM, END_KILL, END_POWER };

struct router {
	struct gateway *gateway; /* NULL: it does not run */
	struct netif wan;	 /* as the interface is, whatever the gateway heard of it */
	struct config config;
	bool disk_full;
	unsigned lives;
	uint64_t writes, announced;
	bool written; /* since the disk was full last */
	bool epoch_excused;  /* since it was looked at last the epoch had a reason to begin anew … */
	bool file_late;	     /* … or to be what an older file says */
	bool verbose;
};
extern struct router router;

void router_setup(void);
void router_start(void);
/* rotten: its state file is damaged as well. */
void router_end(enum home_end how, bool rotten);
void router_restart_in(uint64_t ms);
/* The line's interface has this address now (host order), 0: none; the gateway hears of it a moment later. */
void router_set_wan(uint32_t ip);
void router_cleanup(void);
/* Bytes of the heap that the gateway has. */
size_t router_bytes(void);

/* --- home_clients.c --- */

struct clients_count {
	uint64_t granted, renewed, deleted, refused, faults, questions;
	size_t holding;
};
extern struct clients_count clients_count;

void clients_begin(void);
/* No comings and goings, only renewals. */
void clients_rest(bool rest);
void clients_answered(void *owner, const struct gateway_asker *asker, const struct natpmp_request *request, const struct gateway_answer *answer);
/* Those who listen heard an announcement. */
void clients_hear(void);
/* The gateway was killed. lost: with all that its file said; unsaid: the disk did not take what was said lately. */
void clients_after_kill(bool lost, bool unsaid);
void clients_after_sleep(void);
/* One that was away asks now; heard: as soon as anybody is granted something new. */
void clients_one_comes(void (*heard)(void));
/* Some of them vanish without a word; others delete all they have, with one request. */
void clients_vanish(void);
void clients_delete_all(void);
/* One asks for more than its share. */
void clients_be_greedy(void);
/* What they hold is there; calm: and what they were told last is so. */
void clients_check(bool calm);

#endif
