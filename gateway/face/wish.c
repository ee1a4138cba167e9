/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/wish.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "gateway/face/view_json.h"
#include "sys/cleanup.h"

#define SHOWN 48 /* bytes of a value in an error */

/* What a member is read with. */
struct reading {
	struct wish *wish;
	const struct wish_limits *limits;
	char *why;
};

static void free_json(json_t **json)
{
	json_decref(*json);
}

/* "lifetime 0: a whole number from 1 to 86400 is wanted" */
__attribute__((format(printf, 4, 5))) static int refuse(char why[WISH_WHY], const char *key, const json_t *value, const char *format, ...)
{
	CLEANUP(free_text) char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	const char *shown = text ? text : "";
	va_list args;
	int used = snprintf(why, WISH_WHY, "%s %.*s%s: ", key, SHOWN, shown, strlen(shown) > SHOWN ? "…" : "");

	va_start(args, format);
	vsnprintf(why + used, WISH_WHY - (size_t)used, format, args);
	va_end(args);
	return -EINVAL;
}

static bool protocol_of(const char *text, enum lease_protocol *out)
{
	*out = strcasecmp(text, "TCP") == 0 ? LEASE_TCP : LEASE_UDP;
	return *out == LEASE_TCP || strcasecmp(text, "UDP") == 0;
}

static bool ip_of(const char *text, uint32_t *out)
{
	struct endpoint e;

	if (endpoint_parse_ip(&e, text, 1) < 0 || e.family != ENDPOINT_IPV4)
		return false;
	*out = endpoint_ip32(&e);
	return true;
}

static int read_protocol(struct reading *r, const char *key, const json_t *value)
{
	if (!json_is_string(value) || !protocol_of(json_string_value(value), &r->wish->is.key.protocol))
		return refuse(r->why, key, value, "\"TCP\" or \"UDP\" is wanted");
	return 0;
}

static void lans_text(const struct wish_limits *limits, char *buf, size_t max)
{
	struct text t;
	char ip[ENDPOINT_TEXT_MAX];

	text_begin(&t, buf, max);
	for (size_t i = 0; i < limits->lan_count; i++)
		for (size_t k = 0; k < limits->lans[i].subnet_count; k++)
			text_format(&t, "%s%s/%d", t.len ? ", " : "",
				view_ip(limits->lans[i].subnets[k].ip & limits->lans[i].subnets[k].mask, ip),
				__builtin_popcount(limits->lans[i].subnets[k].mask));
}

static int read_ip(struct reading *r, const char *key, const json_t *value)
{
	uint32_t ip;
	char lans[128];

	if (!json_is_string(value) || !ip_of(json_string_value(value), &ip))
		return refuse(r->why, key, value, "an IPv4 address is wanted, e.g. \"192.168.1.10\"");
	for (size_t i = 0; i < r->limits->lan_count; i++)
		if (netif_is_neighbour(&r->limits->lans[i], ip) || netif_owns(&r->limits->lans[i], ip)) {
			r->wish->is.key.client_ip = ip;
			return 0;
		}
	lans_text(r->limits, lans, sizeof(lans));
	return refuse(r->why, key, value, "a host of the LAN is wanted (%s)", lans);
}

static int read_number(const struct reading *r, const char *key, const json_t *value, json_int_t low, json_int_t high, uint32_t *out)
{
	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
		return refuse(r->why, key, value, "a whole number from %lld to %lld is wanted", (long long)low, (long long)high);
	*out = (uint32_t)json_integer_value(value);
	return 0;
}

static int read_port(const struct reading *r, const char *key, const json_t *value, json_int_t low, uint16_t *out)
{
	uint32_t port = 0;
	const int err = read_number(r, key, value, low, 65535, &port);

	*out = (uint16_t)port;
	return err;
}

static int read_internal_port(struct reading *r, const char *key, const json_t *value)
{
	return read_port(r, key, value, 1, &r->wish->is.key.internal_port);
}

static int read_lifetime(struct reading *r, const char *key, const json_t *value)
{
	return read_number(r, key, value, 1, r->limits->hold_max_s, &r->wish->is.lifetime_s);
}

static int read_relay_port(struct reading *r, const char *key, const json_t *value)
{
	return read_port(r, key, value, 1024, &r->wish->is.relay_port);
}

/* jansson has seen to it that it is UTF-8. U+0080 to U+009F are control characters as well. */
static int read_description(struct reading *r, const char *key, const json_t *value)
{
	const char *text = json_string_value(value);

	if (!text || json_string_length(value) >= STATE_DESCRIPTION)
		return refuse(r->why, key, value, "a text of at most %d bytes is wanted", STATE_DESCRIPTION - 1);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
			return refuse(r->why, key, value, "a text without control characters is wanted");
	strcpy(r->wish->description, text);
	r->wish->is.description = r->wish->description;
	return 0;
}

static const struct member {
	const char *key;
	bool required;
	int (*read)(struct reading *r, const char *key, const json_t *value);
} members[] = {
	{ "protocol", true, read_protocol },
	{ "internal_ip", true, read_ip },
	{ "internal_port", true, read_internal_port },
	{ "lifetime", false, read_lifetime },
	{ "relay_port", false, read_relay_port },
	{ "description", false, read_description },
};
#define MEMBERS (sizeof(members) / sizeof(members[0]))

static bool is_known(const char *key)
{
	for (size_t i = 0; i < MEMBERS; i++)
		if (strcmp(members[i].key, key) == 0)
			return true;
	return false;
}

static int read_members(struct reading *r, json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
		if (!is_known(key)) {
			snprintf(r->why, WISH_WHY,
				"key \"%.*s\" is not known: there are protocol, internal_ip, internal_port, lifetime, relay_port and description",
				SHOWN, key);
			return -EINVAL;
		}
	for (size_t i = 0; i < MEMBERS; i++) {
		value = json_object_get(object, members[i].key);
		if (!value && members[i].required) {
			snprintf(r->why, WISH_WHY, "key \"%s\" is missing", members[i].key);
			return -EINVAL;
		}
		if (value && members[i].read(r, members[i].key, value) < 0)
			return -EINVAL;
	}
	return 0;
}

int wish_read(struct wish *out, const char *body, size_t len, const struct wish_limits *limits, char why[WISH_WHY])
{
	const uint32_t lifetime_s = limits->hold_max_s < WISH_LIFETIME_S ? limits->hold_max_s : WISH_LIFETIME_S;
	json_error_t error;
	CLEANUP(free_json) json_t *object = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);
	struct reading r = { out, limits, why };

	*out = (struct wish){ .is = { .lifetime_s = lifetime_s } };
	if (!object) {
		snprintf(why, WISH_WHY, "the body is no JSON: %s (line %d, column %d)", error.text, error.line, error.column);
		return -EINVAL;
	}
	if (!json_is_object(object)) {
		snprintf(why, WISH_WHY, "the body is no JSON object: {\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":80} is one");
		return -EINVAL;
	}
	return read_members(&r, object);
}

/* Decimal digits and nothing else. */
static bool port_of(const char *text, uint16_t *out)
{
	uint32_t port = 0;

	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9' || c - text == 5)
			return false;
		port = port * 10 + (uint32_t)(*c - '0');
	}
	*out = (uint16_t)port;
	return port > 0 && port <= 65535;
}

int wish_key(struct lease_key *out, const char *protocol, const char *ip, const char *port, char why[WISH_WHY])
{
	if (!protocol_of(protocol, &out->protocol))
		snprintf(why, WISH_WHY, "protocol '%.*s': TCP or UDP is wanted", SHOWN, protocol);
	else if (!ip_of(ip, &out->client_ip))
		snprintf(why, WISH_WHY, "internal_ip '%.*s': an IPv4 address is wanted", SHOWN, ip);
	else if (!port_of(port, &out->internal_port))
		snprintf(why, WISH_WHY, "internal_port '%.*s': a whole number from 1 to 65535 is wanted", SHOWN, port);
	else
		return 0;
	return -EINVAL;
}
