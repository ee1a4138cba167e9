/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/state/permanent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/endpoint.h"

static int protocol_read(void *element, const char *value, const char **why)
{
	struct permanent *p = element;

	*why = "tcp or udp";
	p->protocol = strcmp(value, "tcp") == 0 ? LEASE_TCP : strcmp(value, "udp") == 0 ? LEASE_UDP : 0;
	return p->protocol ? 0 : -EINVAL;
}

static int internal_ip_read(void *element, const char *value, const char **why)
{
	struct permanent *p = element;
	struct endpoint e;

	*why = "a host's IPv4 address, or wan for the line's own";
	p->on_wan = strcmp(value, "wan") == 0;
	if (p->on_wan)
		return 0;
	if (endpoint_parse_ip(&e, value, 1) < 0 || e.family != ENDPOINT_IPV4 || !endpoint_is_host(&e) || e.ip[0] == 127)
		return -EINVAL;
	p->internal_ip = endpoint_ip32(&e);
	return 0;
}

#define AT(field) offsetof(struct permanent, field)

const struct option_row permanent_rows[] = {
	{ .name = "protocol", .kind = OPTION_READ, .read = protocol_read, .argument = "tcp|udp", .help = "What it lets in" },
	{ .name = "internal_ip", .kind = OPTION_READ, .read = internal_ip_read, .argument = "ADDRESS|wan",
		.help = "The host, or the router itself" },
	{ .name = "internal_port", .kind = OPTION_U32, .offset = AT(internal_port), .min = 1, .max = UINT16_MAX, .argument = "PORT",
		.help = "The host's port" },
	{ .name = "relay_port", .kind = OPTION_U32, .offset = AT(relay_port), .min = 1024, .max = UINT16_MAX, .argument = "PORT",
		.help = "The port of the line's address that its hole uses (any)" },
	OPTIONS_END,
};

struct permanent *permanent_add(struct permanent *all, size_t *count, const char *name, char why[OPTION_WHY_MAX])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

	snprintf(why, OPTION_WHY_MAX, "the name must be of letters, digits, '-', '_' and '.', and no other section's");
	if (strspn(name, letters) != strlen(name))
		return NULL;
	for (size_t i = 0; i < *count; i++)
		if (strcmp(all[i].name, name) == 0)
			return NULL;
	snprintf(why, OPTION_WHY_MAX, "there may be %d of them", PERMANENTS_MAX);
	if (*count == PERMANENTS_MAX)
		return NULL;
	all[*count] = (struct permanent){ .name = name };
	return &all[(*count)++];
}

static bool same_host(const struct permanent *a, const struct permanent *b)
{
	return a->on_wan == b->on_wan && a->internal_ip == b->internal_ip && a->internal_port == b->internal_port;
}

int permanent_check(const struct permanent *all, const struct permanent *p, char why[OPTION_WHY_MAX])
{
	const char *missing = !p->protocol ? "protocol" : !p->internal_ip && !p->on_wan ? "internal_ip" : "internal_port";

	if (!p->protocol || (!p->internal_ip && !p->on_wan) || !p->internal_port) {
		snprintf(why, OPTION_WHY_MAX, "wants its %s", missing);
		return -EINVAL;
	}
	for (const struct permanent *other = all; other < p; other++) {
		if (other->protocol != p->protocol)
			continue;
		if (same_host(other, p)) {
			snprintf(why, OPTION_WHY_MAX, "internal_port %u of that host is [mapping %s]'s", p->internal_port, other->name);
			return -EINVAL;
		}
		if (p->relay_port && other->relay_port == p->relay_port) {
			snprintf(why, OPTION_WHY_MAX, "relay_port %u is [mapping %s]'s", p->relay_port, other->name);
			return -EINVAL;
		}
	}
	return 0;
}

bool permanents_equal(const struct permanent *a, size_t a_count, const struct permanent *b, size_t b_count)
{
	bool equal = a_count == b_count;

	for (size_t i = 0; i < a_count && equal; i++)
		equal = strcmp(a[i].name, b[i].name) == 0 && a[i].protocol == b[i].protocol && a[i].internal_ip == b[i].internal_ip &&
			a[i].on_wan == b[i].on_wan && a[i].internal_port == b[i].internal_port && a[i].relay_port == b[i].relay_port;
	return equal;
}
