/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/conntrack.h"
#include "sys/log.h"

#define CONFIRM_MS	 1000
#define COMPLAINT_MS	 10000
#define COMPLAINTS_BURST 10
#define SCRUB_MAX	 64 /* ports at once */
#define REACH_MAX	 64 /* outer endpoints at once */

struct rules {
	const struct firewall_backend *backend;
	struct firewall *firewall;
	uint32_t wan_ip;
	struct conntrack *conntrack;
	struct conntrack_port unscrubbed[SCRUB_MAX];
	size_t unscrubbed_count;
	struct rule *unreached[REACH_MAX];
	size_t unreached_count;
	uint32_t generation;
	uint64_t confirm_ms; /* when the firewall is to be asked again */
	struct log_limit complaint;
};

int rules_open(struct rules **out, const struct firewall_backend *backend, struct firewall *firewall, uint32_t wan_ip)
{
	struct rules *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	*r = (struct rules){ .backend = backend, .firewall = firewall, .wan_ip = wan_ip };
	err = conntrack_open(&r->conntrack);
	if (err < 0)
		free(r);
	else
		*out = r;
	return err;
}

static void complain(struct rules *r, const char *what, const struct firewall_mapping *m)
{
	const struct endpoint client = endpoint_ipv4(m->client_ip, m->internal_port);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&r->complaint, COMPLAINT_MS, COMPLAINTS_BURST, clock_ms(), &skipped))
		log_error("%s protocol=%s client=%s relay=%u error=\"%s\"%s", what, m->protocol == LEASE_TCP ? "TCP" : "UDP",
			endpoint_text(&client, text), m->relay_port, r->backend->error(r->firewall), log_more(more, skipped));
}

void rules_scrub(struct rules *r)
{
	const size_t ports = r->unscrubbed_count;
	char more[LOG_MORE_MAX];
	uint64_t skipped;
	int n;

	if (ports == 0)
		return;
	n = conntrack_scrub(r->conntrack, r->unscrubbed, ports);
	if (n < 0 && log_allowed_burst(&r->complaint, COMPLAINT_MS, COMPLAINTS_BURST, clock_ms(), &skipped))
		log_warn("cannot scrub conntrack ports=%zu error=\"%s\"%s", ports, strerror(-n), log_more(more, skipped));
	else if (n > 0)
		log_debug("scrubbed conntrack ports=%zu flows=%d", ports, n);
	r->unscrubbed_count = 0;
}

static void scrub_port(struct rules *r, enum lease_protocol protocol, uint32_t ip, uint16_t port)
{
	if (r->unscrubbed_count == SCRUB_MAX)
		rules_scrub(r);
	r->unscrubbed[r->unscrubbed_count++] = (struct conntrack_port){ ip, (uint8_t)protocol, port };
}

/* Where the line has no NAT the outer endpoint is the relay port's own: strangers' flows there stay. */
static void scrub_outer(struct rules *r, const struct firewall_mapping *m, const struct endpoint *outer)
{
	const uint32_t ip = endpoint_ip32(outer);

	if (ip != 0 && ip != r->wan_ip)
		scrub_port(r, m->protocol, ip, outer->port);
}

static void scrub_later(struct rules *r, const struct firewall_mapping *m)
{
	scrub_port(r, m->protocol, r->wan_ip, m->relay_port);
	scrub_outer(r, m, &m->outer);
}

static bool stands(const struct rules *r, const struct rule *rule)
{
	return rule->stands && rule->generation == r->generation;
}

bool rules_add(struct rules *r, struct rule *rule)
{
	if (stands(r, rule))
		return true;
	rule->mapping.outer = rule->outer;
	if (r->backend->add(r->firewall, &rule->mapping) < 0) {
		complain(r, "firewall refused a mapping", &rule->mapping);
		return false;
	}
	rule->stands = true;
	rule->generation = r->generation;
	scrub_later(r, &rule->mapping);
	rules_scrub(r);
	return true;
}

bool rules_confirm(struct rules *r, struct rule *rule)
{
	if (!stands(r, rule))
		return false;
	if (clock_ms() < r->confirm_ms)
		return true;
	r->confirm_ms = clock_ms() + CONFIRM_MS;
	if (r->backend->add(r->firewall, &rule->mapping) == 0) /* adding what is there changes nothing */
		return true;
	complain(r, "the firewall lost a mapping: if somebody flushed the ruleset, restart stunway-gateway:", &rule->mapping);
	r->generation++;
	return false;
}

/* NULL takes all of them. */
static void unqueue(struct rules *r, const struct rule *rule)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->unreached_count; i++)
		if (rule && r->unreached[i] != rule)
			r->unreached[kept++] = r->unreached[i];
	r->unreached_count = kept;
}

void rules_reach(struct rules *r, struct rule *rule, const struct endpoint *outer)
{
	rule->outer = *outer;
	unqueue(r, rule);
	if (!rule->stands || endpoint_equal(&rule->mapping.outer, outer))
		return;
	if (r->unreached_count == REACH_MAX)
		rules_reach_now(r);
	r->unreached[r->unreached_count++] = rule;
}

void rules_reach_now(struct rules *r)
{
	struct firewall_reach changes[REACH_MAX];
	const size_t count = r->unreached_count;

	for (size_t i = 0; i < count; i++) {
		struct rule *rule = r->unreached[i];

		changes[i] = (struct firewall_reach){ &rule->mapping, rule->mapping.outer };
		rule->mapping.outer = rule->outer;
	}
	unqueue(r, NULL);
	if (count > 0 && r->backend->reach(r->firewall, changes, count) < 0)
		complain(r, "firewall refused the outer endpoint to the LAN", changes[0].mapping);
	for (size_t i = 0; i < count; i++) {
		scrub_outer(r, changes[i].mapping, &changes[i].before);
		scrub_outer(r, changes[i].mapping, &changes[i].mapping->outer);
	}
	rules_scrub(r);
}

void rules_remove(struct rules *r, struct rule *rule)
{
	if (!rule->stands)
		return;
	if (r->backend->remove(r->firewall, &rule->mapping) < 0 && stands(r, rule))
		complain(r, "firewall kept a mapping that ended", &rule->mapping);
	rules_forget(r, rule);
}

void rules_forget(struct rules *r, struct rule *rule)
{
	unqueue(r, rule);
	if (rule->stands)
		scrub_later(r, &rule->mapping);
	rule->stands = false;
}

void rules_close(struct rules *r)
{
	if (!r)
		return;
	rules_scrub(r);
	conntrack_close(r->conntrack);
	free(r);
}
