/* SPDX-License-Identifier: MIT */
/* blocking - stunway_nat_info(): resolve, route, run the machine, and say what came of it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sys/clock.h"
#include "sys/info.h"
#include "sys/entropy.h"
#include "sys/resolve.h"
#include "sys/runner.h"
#include "sys/sockaddr.h"

#define SERVER_MAX 255 /* a name has at most 253 bytes */

struct inquest {
	const struct stunway_nat_options *options;
	struct endpoint local; /* what was wished for, then what it is */
	struct endpoint server;
	uint64_t started_ms;
	uint32_t timeout_ms;
};

/* What is left of the time, enough for a machine to say that it was too short. */
static uint32_t left_ms(const struct inquest *q)
{
	const uint64_t elapsed_ms = clock_ms() - q->started_ms;

	return elapsed_ms + STUNWAY_TIMEOUT_MIN_MS < q->timeout_ms ? q->timeout_ms - (uint32_t)elapsed_ms : STUNWAY_TIMEOUT_MIN_MS;
}

static int check(struct inquest *q)
{
	const struct stunway_nat_options *o = q->options;

	if (!o->server || !o->server[0] || strlen(o->server) > SERVER_MAX || (o->ip_version != 0 && o->ip_version != 4 && o->ip_version != 6))
		return -EINVAL;
	if (q->timeout_ms < STUNWAY_TIMEOUT_MIN_MS || q->timeout_ms > STUNWAY_TIMEOUT_MAX_MS)
		return -EINVAL;
	if (!o->local)
		return 0;
	q->local = net_endpoint(o->local);
	if (q->local.family == ENDPOINT_NONE || (o->ip_version && q->local.family != o->ip_version))
		return -EINVAL;
	return 0;
}

static void event_resolved(const struct inquest *q, const struct endpoint *e)
{
	char text[SERVER_MAX + ENDPOINT_TEXT_MAX + 8], address[ENDPOINT_TEXT_MAX];

	if (!q->options->event)
		return;
	snprintf(text, sizeof(text), "%s is %s", q->options->server, endpoint_text(e, address));
	q->options->event(q->options->user, text);
}

/* The first address of a family that there is a way to. */
static bool route(struct inquest *q, const struct endpoint *list, int count, enum endpoint_family family,
	char why[RUNNER_WHY_MAX])
{
	for (int i = 0; i < count; i++) {
		struct endpoint local = q->local;

		if (list[i].family != family || (local.family != ENDPOINT_NONE && local.family != family))
			continue;
		q->server = list[i];
		if (runner_route(&local, &list[i], why) == 0) {
			q->local = local;
			return true;
		}
	}
	return false;
}

/* 0 with server and local known, 1 when *out says why not; -ENOMEM. */
static int find_server(struct inquest *q, struct stunway_nat_info *out)
{
	const struct stunway_nat_options *o = q->options;
	const enum endpoint_family family = o->local ? q->local.family : (enum endpoint_family)o->ip_version;
	struct endpoint list[RESOLVE_MAX];
	char nobody[RESOLVE_WHY_MAX], why[RUNNER_WHY_MAX] = "";
	const int count = resolve(list, o->server, o->port ? o->port : STUN_PORT, family, q->timeout_ms, nobody);

	if (count < 0)
		return count;
	if (count == 0) {
		info_of_fault(out, &q->server, "cannot resolve '%.120s'%s: %s", o->server,
			family == ENDPOINT_IPV4 ? " to an IPv4 address" : family == ENDPOINT_IPV6 ? " to an IPv6 address" : "", nobody);
		return 1;
	}
	for (int i = 0; i < count; i++)
		event_resolved(q, &list[i]);
	if (route(q, list, count, ENDPOINT_IPV4, why) || route(q, list, count, ENDPOINT_IPV6, why))
		return 0;
	info_of_fault(out, &q->server, "%s", why);
	return 1;
}

static void reachable(void *machine, uint32_t rtt_ms, uint64_t now_ms)
{
	discovery_reachable(machine, rtt_ms, now_ms);
}

static int ask(struct inquest *q, struct stunway_nat_info *out)
{
	const struct discovery_config config = { .server = q->server, .timeout_ms = left_ms(q),
		.port_mode = q->options->port_mode != 0, .random = random_bytes };
	struct discovery *d = discovery_new(&config, clock_ms());
	const struct runner runner = { .inquiry = &discovery_inquiry, .machine = d, .server = q->server, .local = q->local,
		.reachable = reachable, .event = q->options->event, .user = q->options->user };
	struct discovery_verdict verdict;
	char why[RUNNER_WHY_MAX];
	int err;

	if (!d)
		return -ENOMEM;
	err = runner_run(&runner, why);
	if (err < 0) {
		info_of_fault(out, &q->server, "%s", why);
	} else {
		discovery_verdict(d, clock_ms(), &verdict);
		info_of_verdict(out, &verdict, &q->server, (uint32_t)(clock_ms() - q->started_ms));
	}
	discovery_free(d);
	return err == -ENOMEM ? err : 0;
}

int stunway_nat_info(struct stunway_nat_info *out, const struct stunway_nat_options *options)
{
	struct inquest q = { .options = options, .started_ms = clock_ms(),
		.timeout_ms = options->timeout_ms ? options->timeout_ms : STUNWAY_TIMEOUT_MS };
	struct stunway_nat_info info;
	int err = check(&q);

	if (err == 0)
		err = find_server(&q, &info);
	if (err == 0)
		err = ask(&q, &info);
	if (err < 0)
		return err;
	*out = info;
	return 0;
}

int stunway_nat_json(char *out, size_t size, const char *server, uint16_t port, const char *local, uint16_t local_port,
	int ip_version, unsigned timeout_ms, int port_mode)
{
	struct stunway_nat_options options = { .server = server, .port = port, .ip_version = ip_version, .timeout_ms = timeout_ms,
		.port_mode = port_mode };
	struct sockaddr_storage address;
	struct stunway_nat_info info;
	struct endpoint e = { 0 };
	struct json j;
	int err;

	if (local && local[0]) {
		if (endpoint_parse_ip(&e, local, local_port) < 0)
			return -EINVAL;
		net_sockaddr(&address, &e);
		options.local = (const struct sockaddr *)&address;
	}
	err = stunway_nat_info(&info, &options);
	if (err < 0)
		return err;
	json_begin(&j, out, size);
	info_json(&j, &info, server);
	return json_end(&j) ? 0 : -ENOSPC;
}
