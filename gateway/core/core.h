/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core - what the rooms of the gateway's core share; nobody else includes it.
 *
 *	gateway	 opens and closes it all
 *	request	 what clients ask, and people over the web
 *	mapping	 one mapping: its hole, its rule, who waits for it
 *	change	 what a change of line, servers or time means for all mappings
 *	restore	 the mappings of the state file and of the configuration
 *	view	 what there is to see, and who is told when it changes
 */
#ifndef GATEWAY_CORE_H
#define GATEWAY_CORE_H

#include "gateway/core/gateway.h"
#include "gateway/state/keeper.h"
#include "gateway/core/pace.h"
#include "gateway/hole/pool.h"
#include "gateway/firewall/rules.h"
#include "gateway/hole/scout.h"
#include "gateway/firewall/traffic.h"
#include "sys/clock.h"
#include "sys/log.h"

#define DELETIONS_MAX	 64   /* answers to deletions that wait for disk and conntrack */
#define DELETED_MAX	 500 /* mappings that a deletion ends in one turn */
#define REFUSAL_LOG_MS	 10000
#define REFUSAL_LOG_BURST 10

/* An answer that waits until what it says is on disk, and no flow lives on. */
struct deletion {
	struct lease_key key;
	bool by_client; /* who may not end what a person made */
	uint64_t asked; /* the last promise then: what is newer is not meant */
	bool whole;	/* nothing is left to be ended */
	uint64_t promise, removal; /* the disk's, and the firewall's */
	enum natpmp_result result;
	struct gateway_asker asker; /* answer NULL: it has gone */
	struct natpmp_request request;
};

struct gateway {
	uv_loop_t *loop;
	const struct config *config;
	struct netif wan;
	struct firewall *firewall;
	const struct gateway_observer *observers[GATEWAY_OBSERVERS];
	size_t observer_count;

	struct rules *rules;
	struct traffic *traffic;
	bool log_traffic; /* when the look that runs is done */
	struct pace *pace;
	struct hooks *hooks; /* NULL: nobody to be told */
	struct leases *leases;
	size_t held[2]; /* leases: UDP, TCP */
	struct servers *servers, *hosts; /* STUN, and for --tcp-keepalive */
	struct pool *pool;
	struct scout *scouts[2]; /* UDP, TCP */
	struct line *lines[2]; /* UDP, TCP */
	struct keeper *keeper;
	struct deletion deletions[DELETIONS_MAX];
	size_t deletion_count;
	struct lease *unpunched;	   /* restored: where the walk is that punches */
	bool skipped;			   /* some holes could not be punched */
	uv_timer_t sweep, restore;
	uint32_t public_ip; /* host order, 0: not known yet */
	uint64_t public_since_ms;
	uint64_t status_ms; /* when observers are to hear of the status again */
	uint64_t epoch_ms;  /* when the table of mappings began … */
	uint32_t epoch_ip;  /* … and the public address it is of */
	uint64_t fault_ms;  /* since when the public address is unknown */
	uint64_t addressless_ms, addressless_last_ms; /* since when WAN has no address, and when that was last seen */
	uint64_t slept_ms;  /* clock_slept_ms when it was looked at last */
	uint64_t recheck_ms[2]; /* UDP, TCP: when all holes may be rechecked again … */
	bool recheck_due[2];	/* … and whether they are to be */
	struct gateway_counts counts;
	struct log_limit refusal_log, event_log;
	bool closed;
	unsigned closing; /* timers that are not closed yet */
};

/* A question whose answer is not known yet; those of a mapping in the order in which they came. */
struct waiter {
	struct waiter *next;
	uint64_t since_ms;
	struct gateway_asker asker;
	struct natpmp_request request;
};

/* What hangs on a lease: its hole, and who waits for it. */
struct mapping {
	struct gateway *gateway;
	struct lease *lease;
	struct punch *punch;
	struct rule rule;
	struct pace_item turn; /* enum errand */
	bool astray;	       /* its port could not follow the line */
	enum origin origin;
	bool fixed;	     /* its relay port is none of ours to choose */
	bool on_wan;	     /* its client is the line's own address, whatever that is; 0 before it has one */
	char *description;   /* NULL: none */
	uint32_t lifetime_s; /* what was asked */
	struct endpoint outer; /* the last known; after a start not yet proven */
	bool told;	     /* somebody relies on outer */
	uint64_t promise;    /* to be kept before anybody is told */
	struct hooked *hooked;
	struct waiter *waiters;
	uint64_t since_ms;   /* as in struct gateway_mapping */
	const char *trouble; /* what observers know of it */
};

/* What a new mapping is to be. */
struct grant {
	enum origin origin;
	uint16_t relay_port;	 /* 0: any */
	const char *description; /* NULL: none */
	struct natpmp_request request;
};

/* What waits for a mapping's turn; the later ones do what the earlier do. */
enum errand { RECHECK = 1, RENEW, MOVE };

static inline const char *protocol_name(enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? "TCP" : "UDP";
}

static inline struct line *line_of(const struct gateway *g, enum lease_protocol protocol)
{
	return g->lines[protocol == LEASE_TCP];
}

static inline struct scout *scout_of(const struct gateway *g, enum lease_protocol protocol)
{
	return g->scouts[protocol == LEASE_TCP];
}

static inline bool same_key(const struct lease_key *a, const struct lease_key *b)
{
	return a->protocol == b->protocol && a->client_ip == b->client_ip && a->internal_port == b->internal_port;
}

static inline bool same_asker(const struct gateway_asker *a, const struct gateway_asker *b)
{
	return a->owner == b->owner && a->id == b->id;
}

static inline bool fault_lasts(const struct gateway *g, uint64_t since_ms)
{
	return clock_ms() - since_ms >= (uint64_t)g->config->fault_grace_s * 1000;
}

/* --- mapping --- */

const struct hole *mapping_hole(const struct mapping *m);
/* A mapping's own words in the log. */
const char *mapping_text(const struct mapping *m, char *buf, size_t max);
/* An event of a mapping. Clients cause these as fast as they like, and a line that moves all at once. */
void mapping_say(struct mapping *m, enum log_level level, const char *event, const char *detail);
void mapping_forget(struct mapping *m);
void mapping_end(struct mapping *m, const char *why);
uint32_t gateway_hold_s(const struct gateway *g, uint32_t lifetime_s);
uint64_t gateway_expiry_ms(const struct gateway *g, uint32_t lifetime_s);
/* A hole that was open once keeps its promise while it is being mended. */
bool mapping_promised(const struct mapping *m);
struct gateway_answer mapping_answer(const struct mapping *m, const struct natpmp_request *request);
/* Takes the place of the asker's last question. -EAGAIN when too many wait, -ENOMEM. */
int mapping_wait(struct mapping *m, const struct gateway_asker *asker, const struct natpmp_request *request);
void mapping_not_waiting(struct mapping *m, const struct gateway_asker *asker);
/* To those who wait since then or longer. */
void mapping_answer_waiting(struct mapping *m, enum natpmp_result result, uint64_t since_ms);
/* Answers who waits, when the hole is open, the verdict is there, the firewall agrees, the disk has it, and no older flow lives. */
void mapping_settle(struct mapping *m);
/*
 * LAN hosts reach the outer endpoint too, where it is at the line's public address: what a
 * lone STUN server says of a single hole must not turn other addresses' traffic to a client.
 */
void mapping_reach(struct mapping *m);
/* Settings that all holes share. */
/* Whether the port is a mapping's, or holds the line's own hole: sockets would share it over TCP. The pool's holes give way. */
bool gateway_has_port(const struct gateway *g, enum lease_protocol protocol, uint16_t port);
struct punch_config gateway_punch_config(const struct gateway *g, enum lease_protocol protocol);
struct punch_config mapping_punch_config(struct mapping *m, enum lease_protocol protocol, uint16_t relay_port);
/* Opens a hole on the relay port wished for, else the client's preferred one, or the next that it may have and that is free. */
int mapping_punch_relay(struct gateway *g, struct mapping *m, const struct lease_key *key, uint16_t wish, struct punch **out);
/* Makes it a person's own: where a wish says so, its relay port and description are others. */
int mapping_adopt(struct mapping *m, const struct grant *grant);
/* A new mapping that waits for its hole. -EEXIST, -ENOSPC, -EDQUOT, or what the sockets say. */
int mapping_begin(struct gateway *g, const struct lease_key *key, const struct grant *grant, const struct gateway_asker *asker);

/* --- request --- */

/* The disk has what was promised, or fails, or conntrack was walked: those who waited for it hear. */
void request_kept(void *owner);

/* --- view --- */

void view_mapping(const struct mapping *m, struct gateway_mapping *out);
/* Observers hear of it. */
void view_tell(struct mapping *m);
void view_tell_gone(const struct mapping *m);
/* What time changes: a mapping's trouble, and the status every few seconds. */
void view_sweep(struct gateway *g);
void view_tell_status(struct gateway *g);
void view_announce(struct gateway *g);

/* --- change --- */

/* Those who waited longer than a passing fault lasts are told; what never opened is given up. */
void gateway_sweep(uv_timer_t *timer);
void gateway_mapping_turn(void *owner, struct pace_item *item, unsigned errand);
void gateway_begin_epoch(struct gateway *g);
void gateway_keepalive_changed(void *owner, enum lease_protocol protocol);
void gateway_line_event(void *owner, enum lease_protocol protocol, enum line_event event);

/* --- restore --- */

int restore_snapshot(void *owner, struct state *out, uint64_t until_ms);
/* Everything is in the table before anything else happens, so that no file is written without it. */
void restore_all(struct gateway *g, const struct state_limits *limits);
/* The permanent mappings are what the configuration has now. */
void restore_permanents(struct gateway *g, const struct netif *lans, size_t lan_count);
/* The hole of a restored mapping. What cannot be just now is tried again later. */
void restore_hole(struct mapping *m);
/* Hole by hole. */
void restore_some(uv_timer_t *timer);

#endif
