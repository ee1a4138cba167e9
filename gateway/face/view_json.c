/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/view_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sys/clock.h"

/* Digit by digit: strftime and inet_ntop were half of what a list of mappings costs. */
static void put_digits(char *at, int digits, int value)
{
	while (digits-- > 0) {
		at[digits] = (char)('0' + value % 10);
		value /= 10;
	}
}

const char *view_time(uint64_t ms, char buf[VIEW_TIME_MAX])
{
	const time_t at = (time_t)((int64_t)(clock_wall_ms() + ms - clock_ms()) / 1000);
	struct tm tm = { 0 };

	gmtime_r(&at, &tm);
	strcpy(buf, "0000-00-00T00:00:00Z");
	put_digits(buf, 4, tm.tm_year + 1900);
	put_digits(buf + 5, 2, tm.tm_mon + 1);
	put_digits(buf + 8, 2, tm.tm_mday);
	put_digits(buf + 11, 2, tm.tm_hour);
	put_digits(buf + 14, 2, tm.tm_min);
	put_digits(buf + 17, 2, tm.tm_sec);
	return buf;
}

const char *view_ip(uint32_t ip, char buf[ENDPOINT_TEXT_MAX])
{
	struct text t;

	text_begin(&t, buf, ENDPOINT_TEXT_MAX);
	for (int shift = 24; ip && shift >= 0; shift -= 8) {
		text_number(&t, ip >> shift & 0xff);
		text_word(&t, shift ? "." : "");
	}
	return buf;
}

static void time_or_null(struct json *j, const char *key, uint64_t ms, bool known)
{
	char text[VIEW_TIME_MAX];

	if (known)
		json_text(j, key, view_time(ms, text));
	else
		json_none(j, key);
}

static void ip_or_null(struct json *j, const char *key, uint32_t ip)
{
	char text[ENDPOINT_TEXT_MAX];

	if (ip)
		json_text(j, key, view_ip(ip, text));
	else
		json_none(j, key);
}

/* --- mappings --- */

static const char *const states[] = { [HOLE_PUNCHING] = "punching", [HOLE_OPEN] = "open", [HOLE_LOST] = "lost" };

void view_json_key(struct json *j, const struct lease_key *key)
{
	char ip[ENDPOINT_TEXT_MAX];

	json_text(j, "protocol", key->protocol == LEASE_TCP ? "TCP" : "UDP");
	json_text(j, "internal_ip", view_ip(key->client_ip, ip));
	json_count(j, "internal_port", key->internal_port);
}

static void json_expiry(struct json *j, const struct gateway_mapping *m)
{
	const bool ends = m->expires_ms != LEASES_FOREVER;
	const uint64_t now_ms = clock_ms();

	time_or_null(j, "expire_time", m->expires_ms, ends);
	if (ends)
		json_count(j, "expires_in", m->expires_ms > now_ms ? (m->expires_ms - now_ms) / 1000 : 0);
	else
		json_none(j, "expires_in");
}

void view_json_traffic(struct json *j, const struct traffic_counts *t)
{
	json_open(j, "traffic");
	json_count(j, "in_bytes", t->in_bytes);
	json_count(j, "in_packets", t->in_packets);
	json_count(j, "out_bytes", t->out_bytes);
	json_count(j, "out_packets", t->out_packets);
	json_count(j, "connections", t->connections);
	json_close(j);
}

void view_json_mapping(struct json *j, const struct gateway_mapping *m, const struct traffic_counts *traffic)
{
	char ip[ENDPOINT_TEXT_MAX];

	view_json_key(j, &m->key);
	json_count(j, "relay_port", m->relay_port);
	json_text(j, "public_ip", m->outer.port ? view_ip(endpoint_ip32(&m->outer), ip) : "");
	json_count(j, "remote_port", m->outer.port);
	json_expiry(j, m);
	json_text(j, "origin", origin_name(m->origin));
	json_text(j, "state", states[m->state]);
	time_or_null(j, "since", m->since_ms, true);
	json_count(j, "lifetime", m->lifetime_s);
	json_text(j, "description", m->description ? m->description : "");
	json_count(j, "rtt_ms", m->rtt_ms);
	json_text(j, "trouble", m->trouble);
	if (traffic)
		view_json_traffic(j, traffic);
	else
		json_none(j, "traffic");
}

int view_compare(const struct lease_key *a, const struct lease_key *b)
{
	if (a->protocol != b->protocol)
		return a->protocol == LEASE_TCP ? -1 : 1;
	if (a->client_ip != b->client_ip)
		return a->client_ip < b->client_ip ? -1 : 1;
	return (int)a->internal_port - (int)b->internal_port;
}

/* --- all of them --- */

struct view_copy {
	const struct view *view;
	struct lease_key *keys;
	size_t key_count, keys_done, room;
	bool short_of_memory;
	struct seen {
		struct gateway_mapping is; /* its description is its own */
		struct traffic_counts traffic;
		bool counted;
	} *at;
	size_t count;
};

static void copy_key(void *owner, const struct lease_key *key)
{
	struct view_copy *c = owner;
	const size_t room = c->room ? 2 * c->room : 64;
	struct lease_key *keys = c->key_count < c->room ? c->keys : realloc(c->keys, room * sizeof(*keys));

	if (!keys) { /* no list rather than one that leaves something out */
		c->short_of_memory = true;
		return;
	}
	if (c->key_count == c->room)
		c->room = room;
	c->keys = keys;
	c->keys[c->key_count++] = *key;
}

static bool copy_one(struct view_copy *c, const struct lease_key *key)
{
	struct seen *s = &c->at[c->count];

	if (!gateway_find(c->view->gateway, key, &s->is))
		return true;
	s->counted = traffic_of(c->view->traffic, key, &s->traffic);
	if (s->is.description) {
		s->is.description = strdup(s->is.description);
		if (!s->is.description)
			return false;
	}
	c->count++;
	return true;
}

int view_copy_part(struct view_copy *c)
{
	for (size_t i = 0; i < VIEW_PART && c->keys_done < c->key_count; i++)
		if (!copy_one(c, &c->keys[c->keys_done++]))
			return -ENOMEM;
	return c->keys_done < c->key_count;
}

void view_copy_free(struct view_copy *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++)
		free((char *)c->at[i].is.description);
	free(c->keys);
	free(c->at);
	free(c);
}

struct view_copy *view_copy_new(const struct view *v)
{
	struct view_copy *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->view = v;
	gateway_each_key(v->gateway, copy_key, c);
	c->at = c->short_of_memory ? NULL : malloc((c->key_count + 1) * sizeof(*c->at));
	if (!c->at) {
		view_copy_free(c);
		return NULL;
	}
	return c;
}

static int by_key(const void *a, const void *b)
{
	return view_compare(&((const struct seen *)a)->is.key, &((const struct seen *)b)->is.key);
}

void view_json_mappings(struct text *out, struct view_copy *c)
{
	struct json j;

	if (c->count)
		qsort(c->at, c->count, sizeof(*c->at), by_key);
	text_word(out, "[");
	for (size_t i = 0; i < c->count; i++) {
		text_word(out, i ? ",\n" : "");
		json_append(&j, out);
		view_json_mapping(&j, &c->at[i].is, c->at[i].counted ? &c->at[i].traffic : NULL);
		json_end(&j);
	}
	text_word(out, "]\n");
}

/* --- status --- */

static const char *const verdicts[] = { [LINE_ASKING] = "asking", [LINE_SUITED] = "suited", [LINE_UNSUITED] = "unsuited" };
static const enum lease_protocol protocols[] = { LEASE_UDP, LEASE_TCP };
static const char *const lower[] = { "udp", "tcp" };

static void json_nat(struct json *j, const struct gateway_status *s)
{
	json_open(j, "nat");
	for (size_t i = 0; i < 2; i++) {
		json_open(j, lower[i]);
		json_bool(j, "direct", s->nat[i].direct);
		json_text(j, "mapping", stunway_behavior_text(s->nat[i].mapping));
		json_text(j, "filtering", stunway_behavior_text(s->nat[i].filtering));
		json_text(j, "verdict", verdicts[s->verdict[i]]);
		json_close(j);
	}
	json_close(j);
}

static void json_server(struct json *j, enum lease_protocol protocol, const struct server_health *s)
{
	const bool asked = s->health->answered || s->health->failed;
	char at[ENDPOINT_TEXT_MAX];

	json_open(j, NULL);
	json_text(j, "protocol", protocol == LEASE_TCP ? "TCP" : "UDP");
	json_text(j, "host", s->host ? s->host : "");
	json_text(j, "address", endpoint_text(&s->at, at));
	json_text(j, "state", !asked ? "unknown" : health_sick(s->health) ? "silent" : "well");
	if (s->health->rtt_ms)
		json_count(j, "rtt_ms", s->health->rtt_ms);
	else
		json_none(j, "rtt_ms");
	json_count(j, "answered", s->health->answered);
	json_count(j, "failed", s->health->failed);
	if (protocol == LEASE_TCP && s->health->answered)
		json_bool(j, "keeps_tcp", !s->health->hangs_up);
	else
		json_none(j, "keeps_tcp");
	json_close(j);
}

static void json_servers(struct json *j, const struct view *v)
{
	struct server_health s;

	json_list(j, "servers");
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; gateway_server(v->gateway, protocols[i], k, &s); k++)
			json_server(j, protocols[i], &s);
	json_list_end(j);
}

static unsigned prefix_of(uint32_t mask)
{
	return (unsigned)__builtin_popcount(mask);
}

static void json_lans(struct json *j, const struct view *v)
{
	const struct netif *lans;
	const size_t count = follow_lans(v->follow, &lans);
	char ip[ENDPOINT_TEXT_MAX];

	json_list(j, "lans");
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < lans[i].subnet_count; k++) {
			json_open(j, NULL);
			json_text(j, "interface", lans[i].name);
			json_text(j, "ip", view_ip(lans[i].subnets[k].ip, ip));
			json_count(j, "prefix", prefix_of(lans[i].subnets[k].mask));
			json_close(j);
		}
	json_list_end(j);
}

static void json_pair(struct json *j, const char *key, uint64_t udp, uint64_t tcp)
{
	json_open(j, key);
	json_count(j, lower[0], udp);
	json_count(j, lower[1], tcp);
	json_close(j);
}

static void json_counts(struct json *j, const struct view *v, const struct gateway_status *s)
{
	const struct natpmp_counters *n = natpmp_server_counters(v->natpmp);

	json_open(j, "counts");
	json_count(j, "mappings", s->mappings);
	json_count(j, "open", s->open);
	json_count(j, "punching", s->punching);
	json_count(j, "lost", s->lost);
	json_count(j, "max", v->config->max_mappings);
	json_count(j, "max_per_client", v->config->max_mappings_per_client);
	json_close(j);
	json_open(j, "nat_pmp");
	json_count(j, "answered", n->answered);
	json_count(j, "dropped", n->malformed + n->foreign + n->crowded);
	json_count(j, "refused", n->unsupported_version + n->unsupported_opcode);
	json_close(j);
}

static void json_line(struct json *j, const struct view *v, const struct gateway_status *s)
{
	ip_or_null(j, "public_ip", s->public_ip);
	time_or_null(j, "public_ip_since", s->public_since_ms, s->public_ip != 0);
	json_open(j, "wan");
	json_text(j, "interface", s->wan.name);
	ip_or_null(j, "ip", s->wan.ip);
	json_close(j);
	json_lans(j, v);
	json_nat(j, s);
}

void view_json_moment(struct json *j, const struct view *v)
{
	const uint64_t now_ms = clock_ms();

	time_or_null(j, "now", now_ms, true);
	json_count(j, "uptime", (now_ms - v->started_ms) / 1000);
	json_count(j, "epoch", gateway_epoch_s(v->gateway));
}

void view_json_status(struct json *j, const struct view *v)
{
	struct gateway_status s;
	char name[256] = "";

	gateway_status(v->gateway, &s);
	gethostname(name, sizeof(name) - 1);
	json_text(j, "version", STUNWAY_VERSION);
	json_text(j, "name", name);
	json_line(j, v, &s);
	json_servers(j, v);
	json_pair(j, "keepalive", s.keepalive_ms[0] / 1000, s.keepalive_ms[1] / 1000);
	json_pair(j, "pool", s.pool[0], s.pool[1]);
	json_counts(j, v, &s);
	json_text(j, "firewall", v->config->firewall->name);
	json_text(j, "traffic", traffic_why_not(v->traffic));
	json_count(j, "hold_max", v->config->hold_max_s);
	json_list(j, "relay_ports");
	json_count(j, NULL, v->config->relay_low);
	json_count(j, NULL, v->config->relay_high);
	json_list_end(j);
}
