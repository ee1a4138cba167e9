/* SPDX-License-Identifier: MIT */
/*
 * discovery_state - what the asking half of discovery (discovery.c) and the judging half
 * (judgement.c) share. Nobody else includes it.
 */
#ifndef LIB_DISCOVERY_STATE_H
#define LIB_DISCOVERY_STATE_H

#include "lib/discovery.h"
#include "lib/evidence.h"

#define ATTEMPTS 512
#define SAMPLES_WANTED 20

/* The questions; FILTER_OPEN and WITNESS are asked on and on, to tell loss from a filter. */
enum question { MAP_PRIMARY, MAP_OTHER, MAP_PORT, MAP_AGAIN, WITNESS, FILTER_OPEN, FILTER_BOTH, FILTER_PORT, QUESTIONS };

/* One sending. Times are since the start. */
struct attempt {
	uint8_t id[12];
	uint8_t question; /* or QUESTIONS and the sample's number */
	bool heard;
	uint32_t sent_ms;
};

struct state {
	bool open; /* being asked */
	bool heard, refused;
	uint8_t refusals;
	uint16_t sent;
	uint32_t next_ms;
	struct tally ripe;	/* attempts old enough to have been answered */
	struct endpoint outer;	/* what the answer says */
	bool plain;		/* it says so in MAPPED-ADDRESS alone, which gateways rewrite */
	struct endpoint from;	/* who gave it, where that remains to be judged */
};

struct sample {
	struct port_sample is;
	bool heard;
};

struct discovery {
	struct discovery_config config;
	uint64_t start_ms;
	struct state questions[QUESTIONS];
	uint32_t witness_change;
	struct endpoint local, other;
	bool heard, done;
	bool news; /* since it was last asked whether that suffices */
	bool restarted;
	uint32_t rtt_min_ms, rtt_max_ms;
	uint32_t host_rtt_ms; /* discovery_reachable's, 0: none */
	unsigned notes;
	uint16_t code;

	struct sample samples[DISCOVERY_SAMPLES];
	size_t samples_sent, samples_heard;
	uint32_t sample_next_ms;
	struct tally samples_ripe;

	struct attempt attempts[ATTEMPTS]; /* in the order of sending */
	size_t attempt_count;
	size_t ripe; /* how many of them are counted in a tally */

	uint8_t message[STUN_HEADER_LEN + 8];
};

/* Which of its addresses the server has a second of. */
static inline bool has_other_ip(const struct discovery *d)
{
	return d->other.family != ENDPOINT_NONE && !endpoint_same_ip(&d->other, &d->config.server);
}

static inline bool has_other_port(const struct discovery *d)
{
	return d->other.family != ENDPOINT_NONE && d->other.port != d->config.server.port;
}

static inline bool same_outer(const struct discovery *d, enum question a, enum question b)
{
	return d->questions[a].heard && d->questions[b].heard && endpoint_equal(&d->questions[a].outer, &d->questions[b].outer);
}

static inline bool other_outer(const struct discovery *d, enum question a, enum question b)
{
	return d->questions[a].heard && d->questions[b].heard && !endpoint_equal(&d->questions[a].outer, &d->questions[b].outer);
}

/* One inner endpoint has several outer ones: what a symmetric NAT does, or a line that got another address meanwhile. */
static inline bool outer_differs(const struct discovery *d)
{
	return other_outer(d, MAP_PRIMARY, MAP_OTHER) || other_outer(d, MAP_PRIMARY, MAP_PORT);
}

/* Whether all is known well enough, so that more time would tell nothing. now: since the start. */
bool discovery_settled(const struct discovery *d, uint32_t now);

#endif
