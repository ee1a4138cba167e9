/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/metrics.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/exposition.h"

#define NAME(name) "stunway_gateway_" name

static const enum lease_protocol protocols[] = { LEASE_UDP, LEASE_TCP };
static const char *const protocol_names[] = { "udp", "tcp" };
static const char *const states[] = { [HOLE_PUNCHING] = "punching", [HOLE_OPEN] = "open", [HOLE_LOST] = "lost" };
static const char *const verdicts[] = { [LINE_ASKING] = "asking", [LINE_SUITED] = "suited", [LINE_UNSUITED] = "unsuited" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void put_one(struct text *t, const char *name, const char *label, const char *value, double number)
{
	exposition_value(t, name, &(struct exposition_label){ label, value }, 1, number);
}

/* --- mappings --- */

struct tally {
	unsigned of[2][ORIGIN_CONFIG + 1][HOLE_LOST + 1];
};

static void tally_up(void *owner, const struct gateway_mapping *m)
{
	struct tally *tally = owner;

	tally->of[m->key.protocol == LEASE_TCP][m->origin][m->state]++;
}

static void put_mappings(struct text *t, const struct view *v)
{
	struct tally tally = { 0 };

	gateway_each(v->gateway, tally_up, &tally);
	exposition_family(t, NAME("mappings"), "gauge", "Mappings there are, by who made them and how their hole is.");
	for (size_t p = 0; p < COUNT(tally.of); p++)
		for (size_t o = 0; o < COUNT(tally.of[p]); o++)
			for (size_t s = 0; s < COUNT(tally.of[p][o]); s++)
				exposition_value(t, NAME("mappings"), (struct exposition_label[]){ { "protocol", protocol_names[p] },
					{ "origin", origin_name((enum origin)o) }, { "state", states[s] } }, 3, tally.of[p][o][s]);
	exposition_single(t, NAME("mappings_max"), "gauge", "Mappings there may be (--max-mappings).", v->config->max_mappings);
}

static void put_holes(struct text *t, const struct gateway_status *s)
{
	exposition_single(t, NAME("holes_opened_total"), "counter", "Holes of mappings that opened, for the first time or again.",
		(double)s->counts.opened);
	exposition_single(t, NAME("holes_changed_total"), "counter", "Times a mapping's outer endpoint became another.",
		(double)s->counts.changed);
	exposition_single(t, NAME("holes_lost_total"), "counter", "Times a mapping's hole was lost: no STUN server answered, or answers disagreed.",
		(double)s->counts.lost);
	exposition_family(t, NAME("pool_holes"), "gauge", "Spare holes that stand ready.");
	for (size_t i = 0; i < 2; i++)
		put_one(t, NAME("pool_holes"), "protocol", protocol_names[i], (double)s->pool[i]);
	exposition_family(t, NAME("keepalive_seconds"), "gauge", "How often a hole is asked.");
	for (size_t i = 0; i < 2; i++)
		put_one(t, NAME("keepalive_seconds"), "protocol", protocol_names[i], s->keepalive_ms[i] / 1000.0);
}

/* --- the line --- */

static void put_line(struct text *t, const struct gateway_status *s)
{
	const uint64_t wall_ms = clock_wall_ms(), now_ms = clock_ms();

	exposition_single(t, NAME("line_up"), "gauge", "Whether the line has an address.", s->wan.ip != 0);
	exposition_single(t, NAME("public_address_known"), "gauge", "Whether the public address is known.", s->public_ip != 0);
	if (s->public_ip)
		exposition_single(t, NAME("public_address_since_seconds"), "gauge", "Since when the public address is what it is, in Unix time.",
			(double)((wall_ms + s->public_since_ms - now_ms) / 1000));
	exposition_single(t, NAME("epoch_seconds"), "gauge", "Age of the table of mappings, as NAT-PMP tells it.", s->epoch_s);
	exposition_family(t, NAME("nat_verdict"), "gauge", "1 for what is thought of the carrier's NAT: whether holes can serve strangers.");
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < COUNT(verdicts); k++)
			exposition_value(t, NAME("nat_verdict"), (struct exposition_label[]){ { "protocol", protocol_names[i] },
				{ "verdict", verdicts[k] } }, 2, s->verdict[i] == (enum line_verdict)k);
}

static double server_up(const struct health *h)
{
	return h->answered && !health_sick(h);
}

static double server_rtt(const struct health *h)
{
	return h->rtt_ms / 1000.0;
}

static double server_answers(const struct health *h)
{
	return (double)h->answered;
}

static double server_failures(const struct health *h)
{
	return (double)h->failed;
}

static const struct {
	const char *name, *kind, *help;
	double (*value)(const struct health *h);
} server_rows[] = {
	{ NAME("stun_server_up"), "gauge", "Whether a STUN server answers.", server_up },
	{ NAME("stun_server_rtt_seconds"), "gauge", "Its round trip, smoothed; 0 while it is not known.", server_rtt },
	{ NAME("stun_server_answers_total"), "counter", "Questions it answered.", server_answers },
	{ NAME("stun_server_failures_total"), "counter", "Questions it did not answer, or not with use.", server_failures },
};

static void put_servers(struct text *t, const struct view *v)
{
	char at[ENDPOINT_TEXT_MAX];
	struct server_health s;

	for (size_t row = 0; row < COUNT(server_rows); row++) {
		exposition_family(t, server_rows[row].name, server_rows[row].kind, server_rows[row].help);
		for (size_t i = 0; i < 2; i++)
			for (size_t k = 0; gateway_server(v->gateway, protocols[i], k, &s); k++)
				exposition_value(t, server_rows[row].name, (struct exposition_label[]){ { "protocol", protocol_names[i] },
					{ "host", s.host ? s.host : "" }, { "address", endpoint_text(&s.at, at) } }, 3, server_rows[row].value(s.health));
	}
}

/* --- who asks --- */

static void put_natpmp(struct text *t, const struct view *v)
{
	const struct natpmp_counters *c = natpmp_server_counters(v->natpmp);

	exposition_single(t, NAME("natpmp_answered_total"), "counter", "NAT-PMP requests that were answered.", (double)c->answered);
	exposition_family(t, NAME("natpmp_dropped_total"), "counter", "NAT-PMP datagrams that were not answered.");
	put_one(t, NAME("natpmp_dropped_total"), "reason", "malformed", (double)c->malformed);
	put_one(t, NAME("natpmp_dropped_total"), "reason", "foreign", (double)c->foreign);
	put_one(t, NAME("natpmp_dropped_total"), "reason", "crowded", (double)c->crowded);
	exposition_family(t, NAME("natpmp_refused_total"), "counter", "NAT-PMP requests that were refused for what they are.");
	put_one(t, NAME("natpmp_refused_total"), "reason", "version", (double)c->unsupported_version);
	put_one(t, NAME("natpmp_refused_total"), "reason", "opcode", (double)c->unsupported_opcode);
}

static void put_web(struct text *t, const struct metrics_web *web)
{
	exposition_single(t, NAME("api_requests_total"), "counter", "Requests to the HTTP API that came through to a route.", (double)web->requests);
	exposition_single(t, NAME("api_refused_total"), "counter", "Of these, answered with an error.", (double)web->refused);
	exposition_single(t, NAME("api_waiting"), "gauge", "Requests that wait for a hole to open or close.", (double)web->waiting);
	exposition_single(t, NAME("event_listeners"), "gauge", "Who listens to server-sent events.", (double)web->listeners);
}

static void put_traffic(struct text *t, const struct view *v)
{
	const struct traffic_counts total = traffic_total(v->traffic);

	exposition_family(t, NAME("traffic_bytes_total"), "counter", "Bytes that went through mappings, as the kernel counted them.");
	put_one(t, NAME("traffic_bytes_total"), "direction", "in", (double)total.in_bytes);
	put_one(t, NAME("traffic_bytes_total"), "direction", "out", (double)total.out_bytes);
	exposition_family(t, NAME("traffic_packets_total"), "counter", "Likewise packets.");
	put_one(t, NAME("traffic_packets_total"), "direction", "in", (double)total.in_packets);
	put_one(t, NAME("traffic_packets_total"), "direction", "out", (double)total.out_packets);
	exposition_single(t, NAME("traffic_connections_total"), "counter", "Flows that strangers began by a mapping.", (double)total.connections);
}

/* --- the process --- */

static void put_process(struct text *t)
{
	CLEANUP(close_file) FILE *statm = fopen("/proc/self/statm", "re");
	unsigned long long pages;
	struct timespec cpu;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
		exposition_single(t, "process_cpu_seconds_total", "counter", "Processor time used.", (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
	if (statm && fscanf(statm, "%*u %llu", &pages) == 1)
		exposition_single(t, "process_resident_memory_bytes", "gauge", "Memory used.", (double)pages * (double)sysconf(_SC_PAGESIZE));
}

void metrics_put(struct text *t, const struct view *v, const struct metrics_web *web)
{
	struct gateway_status s;

	gateway_status(v->gateway, &s);
	exposition_family(t, NAME("info"), "gauge", "What runs here.");
	exposition_value(t, NAME("info"), (struct exposition_label[]){ { "version", STUNWAY_VERSION },
		{ "firewall", v->config->firewall->name } }, 2, 1);
	exposition_single(t, NAME("uptime_seconds"), "gauge", "Since the start.", (double)(clock_ms() - v->started_ms) / 1000);
	put_line(t, &s);
	put_mappings(t, v);
	put_holes(t, &s);
	put_servers(t, v);
	put_natpmp(t, v);
	put_web(t, web);
	put_traffic(t, v);
	put_process(t);
}
