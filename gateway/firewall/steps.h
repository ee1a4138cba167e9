/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steps - the inside of rules, for rules.c and steps.c alone: what is asked, what stands, and the kinds of changes that make
 * the one of the other.
 */
#ifndef GATEWAY_STEPS_H
#define GATEWAY_STEPS_H

#include <net/if.h>

#include "gateway/firewall/rules.h"
#include "sys/log.h"

#define RULES_RETRY_MS	1000
#define RULES_ERROR_MAX 512

/* A rule that is to be taken down, in the order in which they were removed. */
struct removal {
	struct removal *next;
	struct firewall_mapping mapping;
	uint32_t generation; /* of the table that has it; what has gone with its table is scrubbed only */
	uint64_t number;
};

/* Where a rule is: to be put up; up, but its outer endpoint is another; up. */
enum place { WANTED, TURNED, STANDING, PLACES };

/* One change of the firewall: filled in the loop, done in a thread, which leaves `rules` and `ghosts` alone. */
struct job {
	const struct step *step;
	uint32_t generation; /* when it began */
	size_t count;
	struct firewall_mapping m[FIREWALL_BATCH];
	struct firewall_reach reaches[FIREWALL_BATCH];
	struct rule *rules[FIREWALL_BATCH];	/* NULL: removed meanwhile … */
	struct removal *ghosts[FIREWALL_BATCH]; /* … by this */
	char wan[IF_NAMESIZE];
	enum lease_protocol protocol;
	struct endpoint servers[FIREWALL_SERVERS];
	bool trim;
	int result;
	char error[RULES_ERROR_MAX];
};

struct rules {
	struct rules_config config;
	char wan[IF_NAMESIZE];
	struct scrub *scrub;
	struct rule_link places[PLACES];
	struct removal *removals, **removals_end;
	uint64_t removed, taken; /* the last removal's number: asked for, taken into a job */
	struct {
		uint64_t walk, number;
	} walks[2]; /* that end removals' flows: the one that runs and the next */
	uint64_t last_walk, gone;
	uint32_t generation;
	size_t singly; /* so many go up one by one, to find which was refused */
	bool tableless, look, trim;
	uint64_t build_ms; /* the table is not tried before */
	struct {
		bool due;
		size_t count;
		struct endpoint servers[FIREWALL_SERVERS];
	} exempt[2]; /* UDP, TCP */
	uint64_t confirm_ms;	   /* when the firewall is to be asked again */
	uint64_t loading_since_ms; /* 0: not many are to be put up */
	int health;		   /* what mend said last */
	struct log_limit complaint, news;

	uv_timer_t timer; /* until the next job */
	uv_work_t work;
	bool working, closed;
	struct job job;
	uv_mutex_t lock; /* against rules_stop: */
	bool stopped;
};

/* A kind of change: what of it is to be done now (false: nothing), a thread's doing, and what follows. */
struct step {
	bool (*take)(struct rules *r, struct job *j);
	int (*work)(const struct rules_config *c, struct job *j);
	void (*done)(struct rules *r, struct job *j);
};

extern const struct step steps[]; /* the first builds the table: without one there is nothing else to do */
extern const size_t steps_count;

bool place_is_empty(const struct rule_link *place);
/* Wherever a rule is, it is nowhere then; the last there; the first there. */
void place_leave(struct rule *rule);
void place_append(struct rule_link *place, struct rule *rule);
void place_prepend(struct rule_link *place, struct rule *rule);
/* One that stands, where it belongs. */
void steps_put_up(struct rules *r, struct rule *rule);
/* The table has gone, or is not to be trusted: another, with all that is wanted, is the next change. */
void steps_rebuild(struct rules *r);
/* The older flows of a mapping's ports end: those that do not go where its rule leads, or all. The number of the walk that does it. */
uint64_t steps_scrub(struct rules *r, const struct firewall_mapping *m, bool leads);
/* No rule's flows go on, nor those of a rule that is to be taken down. */
void steps_scrub_all(struct rules *r);

#endif
