/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config - what stunway-gateway was told: its options as one table (config_options). */
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include "gateway/firewall.h"
#include "gateway/servers.h"
#include "lib/access.h"
#include "sys/options.h"

#define CONFIG_LANS_MAX 8

struct config {
	const char *wan; /* NULL: that of the default route */
	const char *lans[CONFIG_LANS_MAX];
	size_t lan_count; /* 0: found out */
	struct server_name servers[SERVERS_NAMES_MAX];
	size_t server_count; /* 0: the built-in list */
	uint32_t watch_s;
	uint32_t mark, mark_mask;
	const char *accept_chains[FIREWALL_ACCEPT_CHAINS];
	size_t accept_chain_count;
	uint16_t relay_low, relay_high;
	uint32_t lease_s, hold_max_s, keepalive_s, fault_grace_s;
	uint32_t max_mappings, max_mappings_per_client;
	struct access access;
	const struct firewall_backend *firewall, *firewall_otherwise; /* the other where the first does not work; NULL: none */
	uint32_t log_level, log_target; /* enum log_level, enum log_target */
	char *values;			/* the file's, borrowed above */
};

extern const struct options config_options;

#endif
