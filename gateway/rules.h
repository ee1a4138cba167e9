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

#include "gateway/firewall.h"

struct rules;

/* One mapping's rule; whoever owns it writes `mapping` and leaves the rest alone. */
struct rule {
	struct firewall_mapping mapping;
	bool stands;	     /* private: the firewall took it */
	uint32_t generation; /* private: when; another than that of the rules means it may be lost */
};

/* backend and firewall are borrowed; wan_ip in host order. Negative errno. */
int rules_open(struct rules **out, const struct firewall_backend *backend, struct firewall *firewall, uint32_t wan_ip);
/* Puts a rule up, if it does not stand; older flows end with the next scrub. False, and said in the log, when the firewall refuses. */
bool rules_add(struct rules *r, struct rule *rule);
/*
 * Whether a rule still stands, or somebody flushed the ruleset. The firewall is asked at
 * most once a second; when it lost one rule all are doubted until they are added again.
 */
bool rules_confirm(struct rules *r, struct rule *rule);
/* Takes a rule down; its flows end with the next rules_scrub. */
void rules_remove(struct rules *r, struct rule *rule);
/* Likewise where the firewall as a whole is gone already. */
void rules_forget(struct rules *r, struct rule *rule);
void rules_scrub(struct rules *r);
#define RULES_PACE_MS 50
/* Scrubs, unless that was done less than RULES_PACE_MS ago. True when no older flow lives. */
bool rules_scrub_paced(struct rules *r);
void rules_close(struct rules *r); /* NULL is fine */

#endif
