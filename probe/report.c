/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe/report.h"

#include <string.h>

#include "sys/info.h"
#include "sys/sockaddr.h"

enum { EXIT_VERDICT = 0, EXIT_NO_VERDICT = 1, EXIT_NO_ANSWER = 3 };

#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"

static const struct {
	const char *colour;
	int exit_code;
	const char *meaning; /* for reachability */
} types[] = {
	[STUNWAY_UNKNOWN] = { YELLOW, EXIT_NO_VERDICT, NULL },
	[STUNWAY_ERROR] = { RED, EXIT_NO_VERDICT, NULL },
	[STUNWAY_BLOCKED] = { RED, EXIT_NO_ANSWER, "no UDP comes through: others are reached by TCP or by a relay, if at all" },
	[STUNWAY_OPEN_INTERNET] = { GREEN, EXIT_VERDICT, "no NAT and no filter: strangers reach this machine at its own address" },
	[STUNWAY_SYMMETRIC_UDP_FIREWALL] = { YELLOW, EXIT_VERDICT,
		"no NAT, but a filter: strangers get in only when this machine writes to them first, so both sides must send" },
	[STUNWAY_FULL_CONE] = { GREEN, EXIT_VERDICT,
		"strangers reach an external port for as long as it is kept open: servers and games work, no hole punching needed" },
	[STUNWAY_RESTRICTED_CONE] = { YELLOW, EXIT_VERDICT,
		"strangers get in only from addresses this machine wrote to; hole punching works with every kind of NAT" },
	[STUNWAY_PORT_RESTRICTED_CONE] = { YELLOW, EXIT_VERDICT,
		"strangers get in only from an address and port this machine wrote to; hole punching works, but not with symmetric NATs" },
	[STUNWAY_SYMMETRIC_NAT] = { RED, EXIT_VERDICT,
		"every peer sees another external port, so strangers cannot be told one; hole punching works only with open hosts, full "
		"and address-restricted cones, everybody else needs a relay" },
};

int report_exit_code(const struct report *r)
{
	return types[r->info.type].exit_code;
}

static void row(FILE *out, const char *label, const char *value)
{
	if (value[0])
		fprintf(out, "%-12s %s\n", label, value);
}

static void address_row(FILE *out, const char *label, const struct sockaddr_storage *address)
{
	const struct endpoint e = net_endpoint(address);
	char text[ENDPOINT_TEXT_MAX];

	row(out, label, e.family == ENDPOINT_NONE ? "unknown" : endpoint_text(&e, text));
}

static const char *or_unknown(const char *text)
{
	return text[0] ? text : "unknown";
}

static bool is_verdict(const struct report *r)
{
	return report_exit_code(r) == EXIT_VERDICT;
}

static void type_rows(FILE *out, const struct report *r, bool colour)
{
	const enum stunway_type type = r->info.type;

	fprintf(out, "%-12s %s%s%s", "type", colour ? types[type].colour : "", stunway_type_text(type), colour ? "\033[0m" : "");
	if (is_verdict(r) || type == STUNWAY_BLOCKED)
		fprintf(out, " (certain to %.*f %%)", r->info.confidence > 0.9995 ? 2 : 1, r->info.confidence * 100);
	fputc('\n', out);
	if (types[type].meaning)
		row(out, "meaning", types[type].meaning);
}

static bool answered(const struct report *r)
{
	return net_endpoint(&r->info.external).family != ENDPOINT_NONE;
}

static void server_row(FILE *out, const struct report *r)
{
	const struct endpoint e = net_endpoint(&r->info.server);
	char text[ENDPOINT_TEXT_MAX];

	fprintf(out, "%-12s %s", "server", e.family == ENDPOINT_NONE ? r->asked : endpoint_text(&e, text));
	if (r->info.rtt_ms)
		fprintf(out, ", round trip %u ms", r->info.rtt_ms);
	if (answered(r) && r->info.loss >= 0.005)
		fprintf(out, ", loss %.0f %%", r->info.loss * 100);
	fputc('\n', out);
}

static const char *hairpin_text(const struct hairpin_result *h)
{
	switch (h->answer) {
	case HAIRPIN_YES:
		return h->source == HAIRPIN_INTERNAL ? "yes, but with the sender's inner address, which few programs expect" : "yes";
	case HAIRPIN_NO:
		return "no: hosts behind this NAT do not reach each other by outer addresses";
	case HAIRPIN_NO_NAT:
		return "no NAT, nothing to loop back";
	case HAIRPIN_UNKNOWN:
		break;
	}
	return "unknown: too much was lost";
}

static void lifetime_text(char *text, size_t size, const struct lifetime_progress *p, bool stopped)
{
	static const char *const reasons[] = {
		[LIFETIME_NO_ANSWER] = "the server does not answer",
		[LIFETIME_IGNORED] = "the server does not know RESPONSE-PORT, which the test needs",
		[LIFETIME_NEVER_ARRIVED] = "answers to another port (RESPONSE-PORT) never arrive",
		[LIFETIME_POOL] = "too few local ports share an outer address",
		[LIFETIME_UNSTEADY] = "too much was lost, or the outer address changed",
	};
	const char *reason = "";

	if (stopped)
		reason = "stopped";
	else if ((size_t)p->reason < sizeof(reasons) / sizeof(reasons[0]) && reasons[p->reason])
		reason = reasons[p->reason];
	if (p->reason == LIFETIME_REFUSED)
		snprintf(text, size, "unknown: the server answers RESPONSE-PORT, which the test needs, with STUN error %u", p->code);
	else if (p->dead_s)
		snprintf(text, size, "%u s (more than %u, at most %u)%s%s", p->estimate_s, p->alive_s, p->dead_s, reason[0] ? ": " : "", reason);
	else if (p->alive_s)
		snprintf(text, size, "%u s or more%s%s", p->alive_s, reason[0] ? ": " : "", reason);
	else
		snprintf(text, size, "unknown%s%s", reason[0] ? ": " : "", reason);
}

static void extra_row(FILE *out, const char *label, const struct report_extra *extra, const char *value)
{
	if (!extra->asked)
		return;
	if (extra->why[0])
		fprintf(out, "%-12s not to be told: %s\n", label, extra->why);
	else
		row(out, label, value);
}

static void extra_rows(FILE *out, const struct report *r)
{
	char text[256], address[ENDPOINT_TEXT_MAX];

	snprintf(text, sizeof(text), "%s%s%s", or_unknown(stunway_behavior_text(r->tcp_mapping)),
		r->tcp_external.family ? ", external " : "", r->tcp_external.family ? endpoint_text(&r->tcp_external, address) : "");
	extra_row(out, "TCP mapping", &r->tcp, text);
	extra_row(out, "hairpin", &r->hairpin, hairpin_text(&r->hairpin_result));
	lifetime_text(text, sizeof(text), &r->lifetime_progress, r->lifetime_stopped);
	extra_row(out, "lifetime", &r->lifetime, text);
}

void report_table(FILE *out, const struct report *r, bool colour)
{
	type_rows(out, r, colour);
	if (answered(r)) {
		address_row(out, "external", &r->info.external);
		address_row(out, "local", &r->info.local);
		row(out, "mapping", or_unknown(stunway_behavior_text(r->info.mapping)));
		row(out, "filtering", or_unknown(stunway_behavior_text(r->info.filtering)));
		row(out, "ports", stunway_port_mode_text(r->info.port_mode));
	}
	server_row(out, r);
	if (r->info.many_addresses)
		row(out, "addresses", "several: different local ports have different external addresses");
	extra_rows(out, r);
	row(out, "note", r->info.info);
}

static void json_seconds(struct json *j, const char *key, uint32_t seconds)
{
	if (seconds)
		json_number(j, key, seconds);
	else
		json_none(j, key);
}

const char *report_json(char text[REPORT_JSON_MAX], const struct report *r)
{
	char words[256];
	struct json j;

	json_begin(&j, text, REPORT_JSON_MAX);
	info_json(&j, &r->info, r->asked);
	if (r->tcp.asked) {
		json_text(&j, "tcp_mapping", stunway_behavior_text(r->tcp_mapping));
		json_endpoint(&j, "tcp_external", &r->tcp_external);
		json_text(&j, "tcp_info", r->tcp.why);
	}
	if (r->hairpin.asked) {
		if (r->hairpin_result.answer == HAIRPIN_YES || r->hairpin_result.answer == HAIRPIN_NO)
			json_bool(&j, "hairpin", r->hairpin_result.answer == HAIRPIN_YES);
		else
			json_none(&j, "hairpin");
		json_text(&j, "hairpin_info", r->hairpin.why[0] ? r->hairpin.why : hairpin_text(&r->hairpin_result));
	}
	if (r->lifetime.asked) {
		lifetime_text(words, sizeof(words), &r->lifetime_progress, r->lifetime_stopped);
		json_seconds(&j, "lifetime_s", r->lifetime_progress.estimate_s);
		json_seconds(&j, "lifetime_min_s", r->lifetime_progress.alive_s);
		json_seconds(&j, "lifetime_max_s", r->lifetime_progress.dead_s);
		json_text(&j, "lifetime_info", r->lifetime.why[0] ? r->lifetime.why : words);
	}
	json_end(&j);
	return text;
}
