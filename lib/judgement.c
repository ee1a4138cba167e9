/* SPDX-License-Identifier: MIT */
#include "lib/discovery_state.h"

#define FLUKE	  1e-5 /* silence that is less probable than this is no accident */
#define HOPELESS	  1e-2 /* a chance not worth more waiting */
#define CONFIDENT 0.9	 /* less is Unknown */
#define CERTAIN	  0.9999 /* nothing that comes over a network is surer */

static void add(struct tally *sum, const struct tally *t)
{
	sum->asked = (uint16_t)(sum->asked + t->asked);
	sum->heard = (uint16_t)(sum->heard + t->heard);
}

static struct evidence evidence_of(const struct discovery *d)
{
	const struct state *q = d->questions;
	struct evidence e = { .plain = d->samples_ripe, .witness = q[WITNESS].ripe, .trusted = outer_differs(d) && d->witness_change == 0 };

	add(&e.plain, &q[MAP_PRIMARY].ripe);
	add(&e.plain, &q[MAP_AGAIN].ripe);
	add(&e.plain, &q[FILTER_OPEN].ripe);
	/* An address that never answers says nothing of the line. */
	if (q[MAP_OTHER].heard)
		add(&e.plain, &q[MAP_OTHER].ripe);
	if (q[MAP_PORT].heard)
		add(&e.plain, &q[MAP_PORT].ripe);
	return e;
}

static enum stunway_behavior mapping_of(const struct discovery *d)
{
	if (other_outer(d, MAP_PRIMARY, MAP_PORT))
		return STUNWAY_ADDRESS_AND_PORT_DEPENDENT;
	if (same_outer(d, MAP_PRIMARY, MAP_OTHER))
		return STUNWAY_ENDPOINT_INDEPENDENT;
	if (other_outer(d, MAP_PRIMARY, MAP_OTHER) && same_outer(d, MAP_PRIMARY, MAP_PORT))
		return STUNWAY_ADDRESS_DEPENDENT;
	return STUNWAY_BEHAVIOR_UNKNOWN;
}

/* Whether there is no translation. A MAPPED-ADDRESS that is a private address of ours, across the Internet, was tampered with. */
static bool is_open(const struct discovery *d)
{
	return endpoint_equal(&d->local, &d->questions[MAP_PRIMARY].outer);
}

static bool is_tampered(const struct discovery *d)
{
	return is_open(d) && d->questions[MAP_PRIMARY].plain && endpoint_is_local(&d->local) && !endpoint_is_local(&d->config.server);
}

/* Whether enough is known of a test that stayed silent: nothing but a filter explains it. */
static bool is_silent(const struct discovery *d, const struct evidence *e, enum question which)
{
	return evidence_fluke_changed(e, d->questions[which].ripe.asked) <= FLUKE;
}

/* Whether nobody is there. */
static bool is_dead(const struct discovery *d, const struct evidence *e, enum question which)
{
	return d->questions[which].open && evidence_fluke_plain(e, d->questions[which].ripe.asked) <= FLUKE;
}

static bool filtering_settled(const struct discovery *d, const struct evidence *e)
{
	const struct state *both = &d->questions[FILTER_BOTH], *port = &d->questions[FILTER_PORT];

	if (both->heard || d->notes & DISCOVERY_NO_CHANGE || is_dead(d, e, MAP_OTHER))
		return true;
	if (d->questions[WITNESS].open && 1 - evidence_no_change(e) <= HOPELESS)
		return true;
	return (!both->open || is_silent(d, e, FILTER_BOTH)) && (!port->open || is_silent(d, e, FILTER_PORT));
}

static bool mapping_settled(const struct discovery *d, const struct evidence *e)
{
	for (enum question i = MAP_PRIMARY; i <= MAP_AGAIN; i++)
		if (d->questions[i].open && (i == MAP_PRIMARY || !is_dead(d, e, i)))
			return false;
	return true;
}

static bool samples_settled(const struct discovery *d)
{
	return !d->config.port_mode || d->samples_heard >= SAMPLES_WANTED ||
		(d->samples_sent == DISCOVERY_SAMPLES && d->samples_ripe.asked == DISCOVERY_SAMPLES);
}

/* The chance that somebody would have answered, had we waited. */
static double blocked_doubt(const struct discovery *d, uint32_t now)
{
	const struct evidence nothing = { .trusted = true };
	unsigned asked = 0;

	if (d->host_rtt_ms)
		return evidence_fluke_plain(&nothing,
			(unsigned)(d->questions[MAP_PRIMARY].ripe.asked + d->questions[FILTER_OPEN].ripe.asked));
	for (size_t i = 0; i < d->attempt_count; i++)
		asked += d->attempts[i].question == MAP_PRIMARY || d->attempts[i].question == FILTER_OPEN;
	return evidence_fluke_plain(&nothing, asked) + evidence_slower(now);
}

bool discovery_settled(const struct discovery *d, uint32_t now)
{
	if (!d->heard)
		return d->host_rtt_ms && blocked_doubt(d, now) <= HOPELESS;
	if (d->questions[MAP_PRIMARY].refused || d->notes & DISCOVERY_UNSTEADY)
		return true;

	const struct evidence e = evidence_of(d);
	return samples_settled(d) && mapping_settled(d, &e) && filtering_settled(d, &e);
}

/* What is believed of the filter, each 0 to 1 and all together 1. */
struct belief {
	double independent, address, port;
};

static struct belief filtering_belief(const struct discovery *d, const struct evidence *e)
{
	const struct state *both = &d->questions[FILTER_BOTH], *port = &d->questions[FILTER_PORT];
	/* The silence of an address or port is evidence only when it is known to live, and when the server would answer from there. */
	const bool willing = !(d->notes & DISCOVERY_NO_CHANGE);
	const unsigned n_both = willing && d->questions[MAP_OTHER].heard ? both->ripe.asked : 0;
	const unsigned n_port = willing && has_other_port(d) && (d->questions[MAP_PORT].heard || d->questions[MAP_OTHER].heard) ? port->ripe.asked : 0;
	struct belief b = { 1, 1, 1 };

	if (both->heard)
		return (struct belief){ 1, 0, 0 };
	if (port->heard) {
		b.independent = evidence_fluke_changed(e, n_both);
		b.port = 0;
	} else {
		b.independent = evidence_fluke_changed(e, n_both + n_port);
		b.address = evidence_fluke_changed(e, n_port);
	}
	const double all = b.independent + b.address + b.port;
	return (struct belief){ b.independent / all, b.address / all, b.port / all };
}

static enum stunway_behavior filtering_of(const struct belief *b)
{
	return b->independent >= CONFIDENT ? STUNWAY_ENDPOINT_INDEPENDENT :
		b->address >= CONFIDENT	   ? STUNWAY_ADDRESS_DEPENDENT :
		b->port >= CONFIDENT	   ? STUNWAY_ADDRESS_AND_PORT_DEPENDENT :
					     STUNWAY_BEHAVIOR_UNKNOWN;
}

static void likeliest(struct discovery_verdict *v, enum stunway_type type, double p)
{
	if (p > v->confidence) {
		v->type = type;
		v->confidence = p;
	}
}

/* The header's table. */
static void judge(const struct discovery *d, const struct belief *b, struct discovery_verdict *v)
{
	if (outer_differs(d)) {
		likeliest(v, STUNWAY_SYMMETRIC_NAT, d->questions[MAP_AGAIN].heard ? 1 : 0);
	} else if (is_open(d)) {
		likeliest(v, STUNWAY_OPEN_INTERNET, b->independent);
		likeliest(v, STUNWAY_SYMMETRIC_UDP_FIREWALL, b->address + b->port);
	} else if (v->mapping == STUNWAY_ENDPOINT_INDEPENDENT) {
		likeliest(v, STUNWAY_FULL_CONE, b->independent);
		likeliest(v, STUNWAY_RESTRICTED_CONE, b->address);
		likeliest(v, STUNWAY_PORT_RESTRICTED_CONE, b->port);
	}
	if (v->confidence < CONFIDENT || d->notes & DISCOVERY_UNSTEADY || is_tampered(d))
		v->type = STUNWAY_UNKNOWN;
}

static enum stunway_port_mode samples_mode(const struct discovery *d)
{
	struct port_sample heard_ones[DISCOVERY_SAMPLES];
	size_t count = 0;

	for (size_t i = 0; i < d->samples_sent; i++)
		if (d->samples[i].heard)
			heard_ones[count++] = d->samples[i].is;
	return port_mode(heard_ones, count);
}

static bool has_pool(const struct discovery *d)
{
	const struct endpoint *outer = &d->questions[MAP_PRIMARY].outer;

	if (d->questions[FILTER_OPEN].heard && !endpoint_same_ip(outer, &d->questions[FILTER_OPEN].outer))
		return true;
	for (size_t i = 0; i < d->samples_sent; i++)
		if (d->samples[i].heard && !endpoint_same_ip(outer, &d->samples[i].is.outer))
			return true;
	return false;
}

static void judge_silence(const struct discovery *d, uint32_t now, struct discovery_verdict *v)
{
	const double doubt = blocked_doubt(d, now);

	v->confidence = doubt < 1 ? 1 - doubt : 0;
	v->type = v->confidence >= CONFIDENT ? STUNWAY_BLOCKED : STUNWAY_UNKNOWN;
	if (d->host_rtt_ms)
		v->notes |= DISCOVERY_TCP_ANSWERS;
}

void discovery_verdict(const struct discovery *d, uint64_t now_ms, struct discovery_verdict *out)
{
	const struct evidence e = evidence_of(d);
	const struct belief b = filtering_belief(d, &e);
	const struct state *primary = &d->questions[MAP_PRIMARY];
	struct discovery_verdict v = { .type = STUNWAY_UNKNOWN, .local = d->local, .other = d->other, .rtt_ms = d->rtt_min_ms,
		.notes = d->notes, .code = d->code };

	if (e.plain.asked)
		v.loss = 1 - (double)e.plain.heard / e.plain.asked;
	if (!d->heard) {
		judge_silence(d, (uint32_t)(now_ms - d->start_ms), &v);
	} else if (primary->refused) {
		v.type = STUNWAY_ERROR;
		v.confidence = 1;
	} else if (primary->heard) {
		v.outer = primary->outer;
		v.mapping = mapping_of(d);
		v.filtering = filtering_of(&b);
		judge(d, &b, &v);
		if (is_tampered(d))
			v.notes |= DISCOVERY_ALG;
		if (has_pool(d))
			v.notes |= DISCOVERY_POOL;
		if (d->config.port_mode)
			v.port_mode = samples_mode(d);
	}
	if (d->questions[WITNESS].open && evidence_no_change(&e) > CONFIDENT)
		v.notes |= DISCOVERY_NO_CHANGE;
	if (is_dead(d, &e, MAP_OTHER))
		v.notes |= DISCOVERY_OTHER_SILENT;
	if (v.type != STUNWAY_UNKNOWN)
		v.notes &= ~(unsigned)DISCOVERY_SHORT_OF_TIME;
	if (v.confidence > CERTAIN)
		v.confidence = CERTAIN;
	*out = v;
}

