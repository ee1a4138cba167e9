/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rules - mappings in the firewall, and conntrack kept true to them, both off the loop.
 *
 *	asked in the loop → what should stand ─ a thread: one change of the firewall ─ what stands → a thread: conntrack
 *	                        ↑ what is asked meanwhile comes in the next ones
 *
 * A change costs milliseconds, a removal some 16 ms of waiting for the kernel's readers, however many mappings it is of.
 * So whatever gathers in a turn of the loop, or while a change is under way, is done together, up to FIREWALL_BATCH
 * mappings at a time; kinds of changes take turns. The backend is used by one thread at a time. It is out of use
 * between rules_stop and the end.
 *
 * Flows that began under another rule, or none, must not outlive it: the firewall's maps
 * change first, then conntrack is scrubbed, then whoever asked may be told.
 */
#ifndef GATEWAY_RULES_H
#define GATEWAY_RULES_H

#include <uv.h>

#include "gateway/firewall/firewall.h"
#include "gateway/firewall/scrub.h"

struct rules;

struct rule_link {
	struct rule_link *next, *prev;
};

/*
 * One mapping's rule; whoever owns it writes `mapping`, but for its outer endpoint, and zeros the rest.
 * It stays where and as it is until it is removed.
 */
struct rule {
	struct rule_link link;		 /* private: NULL, or among those that are wanted, or stand */
	struct firewall_mapping mapping; /* outer: private, what the firewall was told */
	struct endpoint outer;		 /* private: what it is to be told */
	uint32_t generation;		 /* private: of the table that has it, 0: none ever; with another than the rules' it is lost */
	uint64_t walk;			 /* private: the one that ends its older flows */
	uint64_t after;			 /* private: the removal of what is in its way */
	uint64_t again_ms;		 /* private: it was refused, and is not tried before */
};

struct rules_config {
	uv_loop_t *loop;
	const struct firewall_backend *backend;
	struct firewall *firewall; /* borrowed until rules_stop */
	const char *wan;	   /* interface name */
	uint32_t wan_ip;	   /* host order, 0: none now */
	scrub_walked_fn *walked;   /* rules_scrubbed and rules_gone may say another thing now; may be NULL */
	void *owner;
};

int rules_open(struct rules **out, const struct rules_config *config);
/*
 * Whether a rule stands. If not it is put up before those that are only wanted, and its older flows are ended:
 * `walked` is called then. One that the firewall refuses is tried again each second, which is said in the log.
 */
bool rules_add(struct rules *r, struct rule *rule);
/* Likewise, but nobody waits for it. For restored mappings. */
void rules_want(struct rules *r, struct rule *rule);
/* Whether the firewall took it, as far as is known. */
bool rules_stands(const struct rules *r, const struct rule *rule);
/* Likewise, and the firewall is asked whether that is still so, at most once a second, and mended. */
bool rules_confirm(struct rules *r, struct rule *rule);
/* The outer endpoint by which LAN hosts reach the mapping too is this one (ENDPOINT_NONE: none). */
void rules_reach(struct rules *r, struct rule *rule, const struct endpoint *outer);
/* The servers in use, all of them; at most FIREWALL_SERVERS. */
void rules_exempt(struct rules *r, enum lease_protocol protocol, const struct endpoint *servers, size_t count);
/* Takes a rule down, and then ends its flows. The rule itself may go at once. */
void rules_remove(struct rules *r, struct rule *rule);
/* The number of the last rules_remove, for rules_gone. */
uint64_t rules_removed(const struct rules *r);
/* The rules of that removal and all before are gone, and their flows have ended. */
bool rules_gone(struct rules *r, uint64_t number);
/* Older flows of a rule that was put up have ended. */
bool rules_scrubbed(const struct rules *r, const struct rule *rule);
/* The line is another interface, or has another address. */
void rules_move(struct rules *r, const char *wan, uint32_t wan_ip);
/* Somebody else changed the firewall: looks, and mends. */
void rules_look(struct rules *r);
/* The firewall is used no more: it may be closed. Waits for a change under way, some milliseconds. */
void rules_stop(struct rules *r);
/*
 * Stops, and ends all rules' flows: they go with the firewall, which the caller closes before, or leaves open. The rules
 * may go then. The loop must run once more. NULL is fine.
 */
void rules_close(struct rules *r);

#endif
