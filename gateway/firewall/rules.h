/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rules - mappings in the firewall, and conntrack kept true to them.
 *
 * Flows that began under another rule, or none, must not outlive it: the firewall's maps
 * change first, then conntrack is scrubbed, then whoever asked may be told. A walk through
 * conntrack costs milliseconds, and more with each flow there is, so changes are gathered and
 * scrubbed together.
 */
#ifndef GATEWAY_RULES_H
#define GATEWAY_RULES_H

#include <uv.h>

#include "gateway/firewall/firewall.h"
#include "gateway/firewall/scrub.h"

struct rules;

#define RULES_REMOVED 50

/*
 * One mapping's rule; whoever owns it writes `mapping`, but for its outer endpoint, and zeros the rest.
 * It stays where it is until it is removed.
 */
struct rule {
	struct firewall_mapping mapping; /* outer: private, what the firewall was told */
	struct endpoint outer;		 /* private: what it is to be told */
	bool stands;			 /* private: the firewall took it */
	uint32_t generation;		 /* private: when; another than that of the rules means it may be lost */
	uint64_t walk;			 /* private: the one that ends its older flows */
	struct rule *next, **at;	 /* private: all rules */
};

struct rules_config {
	uv_loop_t *loop;
	const struct firewall_backend *backend;
	struct firewall *firewall; /* borrowed */
	const char *wan;	   /* interface name */
	uint32_t wan_ip;	   /* host order, 0: none now */
	scrub_walked_fn *walked;   /* rules_scrubbed may say another thing now */
	void *owner;
};

int rules_open(struct rules **out, const struct rules_config *config);
/*
 * Puts a rule up, if it does not stand; older flows end with the next scrub. False when the firewall refuses, which is
 * said in the log, or is being built anew: asked again later it may stand.
 */
bool rules_add(struct rules *r, struct rule *rule);
/* Puts it up with many others in the next turns of the loop; flows that it let in before stay. For restored mappings. */
void rules_want(struct rules *r, struct rule *rule);
/* Whether the firewall took it, as far as is known. */
bool rules_stands(const struct rules *r, const struct rule *rule);
/* Whether a rule still stands, or somebody took it. The firewall is asked at most once a second, and mended. */
bool rules_confirm(struct rules *r, struct rule *rule);
/*
 * The outer endpoint by which LAN hosts reach the mapping too is this one (ENDPOINT_NONE:
 * none). The firewall hears it with the rule, or with the next rules_reach_now: a line that
 * moves changes all of them at once.
 */
void rules_reach(struct rules *r, struct rule *rule, const struct endpoint *outer);
/* LAN hosts' older flows there end with the next rules_scrub, which may come when it suits. */
void rules_reach_now(struct rules *r);
/* The servers in use, all of them. */
void rules_exempt(struct rules *r, enum lease_protocol protocol, const struct endpoint *servers, size_t count);
/*
 * Takes a rule down with the next rules_scrub, and then ends its flows. Of many, RULES_REMOVED a turn of the loop, since the
 * firewall waits for the kernel each time. The rule itself may go at once.
 */
void rules_remove(struct rules *r, struct rule *rule);
/* Likewise where the firewall as a whole is gone already. */
void rules_forget(struct rules *r, struct rule *rule);
/* Older flows of changed rules, those that were removed as well, end soon. The number is for rules_gone. */
uint64_t rules_scrub(struct rules *r);
/* Older flows of a rule that was put up have ended. */
bool rules_scrubbed(const struct rules *r, const struct rule *rule);
/* The rules that were removed before that rules_scrub are gone, and their flows have ended. */
bool rules_gone(struct rules *r, uint64_t number);
/* The line is another interface, or has another address. */
void rules_move(struct rules *r, const char *wan, uint32_t wan_ip);
/* Somebody else changed the firewall: looks, and mends. */
void rules_look(struct rules *r);
/* The firewall may be closed already. The loop must run once more. NULL is fine. */
void rules_close(struct rules *r);

#endif
