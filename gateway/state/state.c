/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/state/state.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sys/cleanup.h"

#define VERSION	   1
#define RELAY_LOW  1024
#define BOOT_ID	   "/proc/sys/kernel/random/boot_id"

static const char *const origins[] = { [ORIGIN_NAT_PMP] = "nat-pmp", [ORIGIN_PCP] = "pcp", [ORIGIN_WEB] = "web",
	[ORIGIN_CONFIG] = "config" };

const char *origin_name(enum origin origin)
{
	return origins[origin];
}

static void free_json(json_t **json)
{
	json_decref(*json);
}

static const char *ip_text(uint32_t ip, char buf[ENDPOINT_TEXT_MAX])
{
	const struct endpoint e = endpoint_ipv4(ip, 0);

	return ip ? endpoint_ip_text(&e, buf) : "";
}

/* A tree for each mapping would take ten times as long, and one of all of them ten megabytes for ten thousand. */
static void mapping_encode(const struct state_mapping *m, FILE *out)
{
	char client[ENDPOINT_TEXT_MAX], outer[ENDPOINT_TEXT_MAX];
	CLEANUP(free_json) json_t *description = json_string(m->description); /* NULL, and nothing written, for what is no UTF-8 */

	fprintf(out, "{\"protocol\":\"%s\",\"internal_ip\":\"%s\",\"internal_port\":%u,\"relay_port\":%u,\"lifetime\":%u,"
		     "\"expires_ms\":%" PRIu64 ",\"origin\":\"%s\",\"public_ip\":\"%s\",\"remote_port\":%u,\"fixed\":%s,\"description\":",
		m->key.protocol == LEASE_TCP ? "TCP" : "UDP", ip_text(m->key.client_ip, client), m->key.internal_port, m->relay_port,
		m->lifetime_s, m->expires_ms == LEASES_FOREVER ? 0 : m->expires_ms, origins[m->origin],
		ip_text(endpoint_ip32(&m->outer), outer), m->outer.port, m->fixed ? "true" : "false");
	if (!description || json_dumpf(description, out, JSON_ENCODE_ANY) < 0)
		fputs("\"\"", out);
	fputc('}', out);
}

int state_encode(const struct state *s, FILE *out)
{
	char ip[ENDPOINT_TEXT_MAX];

	fprintf(out, "{\"version\":%d,\"boot_id\":\"%s\",\"epoch_ms\":%" PRIu64 ",\"public_ip\":\"%s\",\"mappings\":[", VERSION, s->boot_id,
		s->epoch_ms, ip_text(s->public_ip, ip));
	for (size_t i = 0; i < s->count; i++) {
		fputs(i ? ",\n" : "\n", out);
		mapping_encode(&s->mappings[i], out);
	}
	fputs("]}\n", out);
	return ferror(out) ? -EIO : 0;
}

/* A member that must be there, be a number and lie within bounds. */
static bool number_of(const json_t *object, const char *key, json_int_t low, json_int_t high, uint64_t *out, const char **wrong)
{
	const json_t *v = json_object_get(object, key);

	*wrong = key;
	if (!json_is_integer(v) || json_integer_value(v) < low || json_integer_value(v) > high)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

static bool text_of(const json_t *object, const char *key, const char **out, const char **wrong)
{
	*wrong = key;
	*out = json_string_value(json_object_get(object, key));
	return *out != NULL;
}

/* "" is no address, and a host's otherwise. */
static bool ip_of(const json_t *object, const char *key, uint32_t *out, const char **wrong)
{
	struct endpoint e = { 0 };
	const char *text;

	if (!text_of(object, key, &text, wrong))
		return false;
	if (text[0] && (endpoint_parse_ip(&e, text, 1) < 0 || e.family != ENDPOINT_IPV4 || !endpoint_is_host(&e)))
		return false;
	*out = endpoint_ip32(&e);
	return true;
}

static bool protocol_of(const json_t *object, enum lease_protocol *out, const char **wrong)
{
	const char *text;

	if (!text_of(object, "protocol", &text, wrong))
		return false;
	*out = strcmp(text, "TCP") == 0 ? LEASE_TCP : LEASE_UDP;
	return *out == LEASE_TCP || strcmp(text, "UDP") == 0;
}

static bool origin_of(const json_t *object, enum origin *out, const char **wrong)
{
	const char *text;

	if (!text_of(object, "origin", &text, wrong))
		return false;
	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
		if (strcmp(origins[i], text) == 0) {
			*out = (enum origin)i;
			return true;
		}
	}
	return false;
}

static bool description_of(const json_t *object, char out[STATE_DESCRIPTION], const char **wrong)
{
	const char *text;

	if (!text_of(object, "description", &text, wrong) || strlen(text) >= STATE_DESCRIPTION)
		return false;
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	strcpy(out, text);
	return true;
}

/* Only over the web may somebody ask for the router itself. */
static bool is_served(const struct state_limits *limits, uint32_t ip, enum origin origin)
{
	if (origin == ORIGIN_CONFIG || limits->lan_count == 0)
		return true;
	for (size_t i = 0; i < limits->lan_count; i++)
		if (netif_is_neighbour(&limits->lans[i], ip) && (origin == ORIGIN_WEB || !netif_owns(&limits->lans[i], ip)))
			return true;
	return false;
}

/* One mapping's members; false: *wrong is the key of the first that cannot be. */
static bool mapping_of(const json_t *object, const struct state_limits *limits, struct state_mapping *m, const char **wrong)
{
	uint64_t port, relay, lifetime, expires, outer_port;
	uint32_t outer_ip;

	*wrong = "object";
	if (!json_is_object(object) || !protocol_of(object, &m->key.protocol, wrong) || !origin_of(object, &m->origin, wrong) ||
		!number_of(object, "internal_port", 1, UINT16_MAX, &port, wrong) ||
		!number_of(object, "relay_port", RELAY_LOW, UINT16_MAX, &relay, wrong) ||
		!number_of(object, "lifetime", m->origin != ORIGIN_CONFIG, STATE_LIFETIME_S, &lifetime, wrong) ||
		!number_of(object, "expires_ms", 0, INT64_MAX, &expires, wrong) || !ip_of(object, "public_ip", &outer_ip, wrong) ||
		!number_of(object, "remote_port", outer_ip ? 1 : 0, outer_ip ? UINT16_MAX : 0, &outer_port, wrong) ||
		!description_of(object, m->description, wrong) || !ip_of(object, "internal_ip", &m->key.client_ip, wrong) ||
		(m->key.client_ip == 0 && m->origin != ORIGIN_CONFIG) || !is_served(limits, m->key.client_ip, m->origin))
		return false;
	m->key.internal_port = (uint16_t)port;
	m->relay_port = (uint16_t)relay;
	m->fixed = json_is_true(json_object_get(object, "fixed")); /* files of before have it not */
	m->lifetime_s = m->origin == ORIGIN_CONFIG ? 0 : (uint32_t)lifetime;
	m->expires_ms = m->origin == ORIGIN_CONFIG ? LEASES_FOREVER : expires;
	if (outer_ip)
		m->outer = endpoint_ipv4(outer_ip, (uint16_t)outer_port);
	return true;
}

static const char *why_no_lease(int err)
{
	switch (err) {
	case -EEXIST:
		return "its host and port, or its relay port, are another's";
	case -ENOSPC:
		return "there are --max-mappings";
	case -EDQUOT:
		return "the client has its --max-mappings-per-client";
	default:
		return strerror(-err);
	}
}

/* A value as the file has it, cut to what a log line bears. */
static void value_text(const json_t *object, const char *key, char out[48])
{
	char *text = json_dumps(json_object_get(object, key), JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);

	snprintf(out, 48, "%s", text ? text : "none");
	free(text);
}

static void drop(struct state_dropped *dropped, size_t i, const json_t *object, const char *wrong, int err)
{
	char value[48];

	if (dropped->count++ > 0)
		return;
	if (err < 0) {
		snprintf(dropped->why, STATE_WHY, "mapping %zu: %s", i + 1, why_no_lease(err));
		return;
	}
	value_text(object, wrong, value);
	snprintf(dropped->why, STATE_WHY, "mapping %zu: %s %s cannot be", i + 1, wrong, value);
}

/* The leases are there to see, quickly, what is there twice or too much. */
static void mappings_decode(struct state *s, const json_t *array, const struct state_limits *limits, struct leases *leases,
	struct state_dropped *dropped)
{
	const json_t *object;
	struct lease *l;
	size_t i;

	json_array_foreach(array, i, object) {
		struct state_mapping m = { 0 };
		const char *wrong;
		int err = 0;

		if (!mapping_of(object, limits, &m, &wrong) ||
			(err = leases_add(leases, &m.key, m.relay_port, m.expires_ms, &l)) < 0)
			drop(dropped, i, object, wrong, err);
		else
			s->mappings[s->count++] = m;
	}
}

/* What must be right before any mapping is looked at; NULL, or what is not. */
static const char *head_decode(struct state *s, const json_t *top)
{
	const char *wrong = "object", *boot_id;
	uint64_t version;

	if (!json_is_object(top) || !number_of(top, "version", VERSION, VERSION, &version, &wrong) ||
		!text_of(top, "boot_id", &boot_id, &wrong) || strlen(boot_id) >= STATE_BOOT_ID ||
		strspn(boot_id, "0123456789abcdef-") != strlen(boot_id) ||
		!number_of(top, "epoch_ms", 0, INT64_MAX, &s->epoch_ms, &wrong) || !ip_of(top, "public_ip", &s->public_ip, &wrong))
		return wrong;
	strcpy(s->boot_id, boot_id);
	return json_is_array(json_object_get(top, "mappings")) ? NULL : "mappings";
}

int state_decode(struct state *out, const char *text, size_t len, const struct state_limits *limits, struct state_dropped *dropped,
	char why[STATE_WHY])
{
	json_error_t error;
	CLEANUP(free_json) json_t *top = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	struct state s = { 0 };
	struct leases *leases;
	const char *wrong;
	char value[48];

	*dropped = (struct state_dropped){ 0 };
	if (!top || memchr(text, '\0', len)) { /* jansson skips a NUL after a number */
		if (top)
			snprintf(why, STATE_WHY, "a NUL byte");
		else
			snprintf(why, STATE_WHY, "line %d: %.90s", error.line, error.text);
		return -EBADMSG;
	}
	wrong = head_decode(&s, top);
	if (wrong) {
		value_text(top, wrong, value);
		snprintf(why, STATE_WHY, "%s %s cannot be", wrong, value);
		return -EBADMSG;
	}
	s.mappings = calloc(json_array_size(json_object_get(top, "mappings")) + 1, sizeof(*s.mappings));
	if (!s.mappings || leases_new(&leases, limits->max, limits->max_per_client) < 0) {
		state_clear(&s);
		return -ENOMEM;
	}
	mappings_decode(&s, json_object_get(top, "mappings"), limits, leases, dropped);
	leases_free(leases);
	*out = s;
	return 0;
}

void state_clear(struct state *s)
{
	free(s->mappings);
	*s = (struct state){ 0 };
}

void state_boot_id(char out[STATE_BOOT_ID])
{
	CLEANUP(close_file) FILE *file = fopen(BOOT_ID, "re");

	if (!file || !fgets(out, STATE_BOOT_ID, file))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}
