/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backends by name, and the one that does nothing. */
#include "gateway/firewall/firewall.h"

#include <string.h>

static int none_open(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max)
{
	(void)config, (void)why, (void)why_max;
	*out = NULL;
	return 0;
}

static int none_add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	(void)f, (void)m, (void)count;
	return 0;
}

static int none_remove(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	(void)f, (void)m, (void)count;
	return 0;
}

static int none_exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	(void)f, (void)protocol, (void)servers, (void)count;
	return 0;
}

static int none_mend(struct firewall *f, const struct firewall_mapping *sample)
{
	(void)f, (void)sample;
	return FIREWALL_WELL;
}

static int none_rebuild(struct firewall *f, const char *wan)
{
	(void)f, (void)wan;
	return 0;
}

static void none_obstacles(struct firewall *f, enum firewall_way way, char *buf, size_t max)
{
	(void)f, (void)way;
	if (max)
		buf[0] = '\0';
}

static void none_close(struct firewall *f)
{
	(void)f;
}

static const char *none_error(const struct firewall *f)
{
	(void)f;
	return "";
}

const struct firewall_backend firewall_none = {
	.name = "none",
	.open = none_open,
	.add = none_add,
	.remove = none_remove,
	.exempt = none_exempt,
	.mend = none_mend,
	.rebuild = none_rebuild,
	.obstacles = none_obstacles,
	.close = none_close,
	.error = none_error,
};

const struct firewall_backend *firewall_backend(const char *name)
{
	static const struct firewall_backend *const all[] = { &firewall_nftables, &firewall_iptables, &firewall_iptables_nft,
		&firewall_iptables_legacy, &firewall_none };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

bool firewall_chain_valid(const char *chain)
{
	static const char *const families[] = { "ip ", "inet " };
	static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const size_t family = strlen(families[i]);
		size_t table, second;

		if (strncmp(chain, families[i], family) != 0)
			continue;
		table = strspn(chain + family, name);
		if (table == 0 || chain[family + table] != ' ')
			return false;
		second = strspn(chain + family + table + 1, name);
		return second > 0 && chain[family + table + 1 + second] == '\0';
	}
	return false;
}
