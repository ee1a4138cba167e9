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

struct rules {
	const struct firewall_backend *backend;
	struct firewall *firewall;
	uint32_t wan_ip;
	struct conntrack *conntrack;
	struct conntrack_port unscrubbed[SCRUB_MAX];
	size_t unscrubbed_count;
	uint32_t generation;
	uint64_t paced_ms;   /* when rules_scrub_paced may scrub again */
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
	int n;

	if (ports == 0)
		return;
	n = conntrack_scrub(r->conntrack, r->wan_ip, r->unscrubbed, ports);
	if (n < 0)
		log_warn("cannot scrub conntrack ports=%zu error=\"%s\"", ports, strerror(-n));
	else if (n > 0)
		log_debug("scrubbed conntrack ports=%zu flows=%d", ports, n);
	r->unscrubbed_count = 0;
	r->paced_ms = clock_ms() + RULES_PACE_MS;
}

bool rules_scrub_paced(struct rules *r)
{
	if (r->unscrubbed_count > 0 && clock_ms() >= r->paced_ms)
		rules_scrub(r);
	return r->unscrubbed_count == 0;
}

static void scrub_later(struct rules *r, const struct rule *rule)
{
	if (r->unscrubbed_count == SCRUB_MAX)
		rules_scrub(r);
	r->unscrubbed[r->unscrubbed_count++] =
		(struct conntrack_port){ (uint8_t)rule->mapping.protocol, rule->mapping.relay_port };
}

static bool stands(const struct rules *r, const struct rule *rule)
{
	return rule->stands && rule->generation == r->generation;
}

bool rules_add(struct rules *r, struct rule *rule)
{
	if (stands(r, rule))
		return true;
	if (r->backend->add(r->firewall, &rule->mapping) < 0) {
		complain(r, "firewall refused a mapping", &rule->mapping);
		return false;
	}
	rule->stands = true;
	rule->generation = r->generation;
	scrub_later(r, rule);
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
	if (rule->stands)
		scrub_later(r, rule);
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
