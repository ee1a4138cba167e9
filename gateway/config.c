/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/config.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/log.h"

static bool is_interface_name(const char *name)
{
	return name[0] && strlen(name) < IF_NAMESIZE && !strpbrk(name, "\"\\/ \t\n");
}

static int wan_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "an interface's name";
	if (!is_interface_name(value))
		return -EINVAL;
	c->wan = value;
	return 0;
}

static int lan_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "an interface's name, given at most 8 times";
	if (!is_interface_name(value) || c->lan_count == CONFIG_LANS_MAX)
		return -EINVAL;
	c->lans[c->lan_count++] = value;
	return 0;
}

static int stun_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "[udp:|tcp:]HOST[:PORT], given at most 32 times";
	if (c->server_count == SERVERS_NAMES_MAX)
		return -EINVAL;
	if (server_name_parse(&c->servers[c->server_count], value) < 0)
		return -EINVAL;
	c->server_count++;
	return 0;
}

static int mark_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	unsigned long mark, mask = 0;
	char *end;

	*why = "VALUE/MASK with VALUE inside MASK, e.g. 0x00400000/0x00400000";
	mark = strtoul(value, &end, 0);
	if (*end == '/')
		mask = strtoul(end + 1, &end, 0);
	if (*end || mark == 0 || mask > UINT32_MAX || mark & ~mask)
		return -EINVAL;
	c->mark = (uint32_t)mark;
	c->mark_mask = (uint32_t)mask;
	return 0;
}

static int accept_chain_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "'FAMILY TABLE CHAIN', e.g. 'inet filter forward', given at most 8 times";
	if (!firewall_chain_valid(value) || c->accept_chain_count == FIREWALL_ACCEPT_CHAINS)
		return -EINVAL;
	c->accept_chains[c->accept_chain_count++] = value;
	return 0;
}

static int relay_ports_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	unsigned low, high;
	int used = 0;

	*why = "LOW-HIGH within 1024-65535";
	if (sscanf(value, "%5u-%5u%n", &low, &high, &used) != 2 || value[used] || low < 1024 || high > 65535 || low > high)
		return -EINVAL;
	c->relay_low = (uint16_t)low;
	c->relay_high = (uint16_t)high;
	return 0;
}

static int access_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "'allow|deny EXTERNAL_PORTS CLIENT_NET INTERNAL_PORTS', e.g. 'allow 1024-65535 192.168.1.0/24 1024-65535', at most 64 times";
	return access_add(&c->access, value) < 0 ? -EINVAL : 0;
}

static int firewall_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	const bool automatic = strcmp(value, "auto") == 0;

	*why = "auto, nftables, iptables, iptables-nft, iptables-legacy or none";
	c->firewall = automatic ? &firewall_nftables : firewall_backend(value);
	c->firewall_otherwise = automatic ? &firewall_iptables : NULL;
	return c->firewall ? 0 : -EINVAL;
}

static int log_level_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	const int level = log_level_parse(value);

	*why = "error, warn, info or debug";
	if (level >= 0)
		c->log_level = (uint32_t)level;
	return level < 0 ? level : 0;
}

static int log_target_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	const int target = log_target_parse(value);

	*why = "stderr or syslog";
	if (target >= 0)
		c->log_target = (uint32_t)target;
	return target < 0 ? target : 0;
}

#define AT(field) offsetof(struct config, field)

static const struct option_row rows[] = {
	{ .name = "wan", .kind = OPTION_READ, .read = wan_read, .argument = "IFNAME",
		.help = "Interface of the line (that of the default route)" },
	{ .name = "lan", .kind = OPTION_READ, .repeatable = true, .read = lan_read, .argument = "IFNAME",
		.help = "Interface to serve, repeatable (every other one with a private address)" },
	{ .name = "stun", .kind = OPTION_READ, .repeatable = true, .read = stun_read, .argument = "[udp:|tcp:]HOST[:PORT]",
		.help = "STUN server, repeatable (a list of public ones)" },
	{ .name = "watch", .kind = OPTION_U32, .offset = AT(watch_s), .min = 1, .max = 300, .fallback = "5", .argument = "SECONDS",
		.help = "How often the line is looked at" },
	{ .name = "mark", .kind = OPTION_READ, .read = mark_read, .fallback = "0x00400000/0x00400000", .argument = "VALUE/MASK",
		.help = "Connection mark of our flows" },
	{ .name = "accept-chain", .kind = OPTION_READ, .repeatable = true, .read = accept_chain_read, .argument = "'FAMILY TABLE CHAIN'",
		.help = "Foreign chain, forward or input, that must let our flows pass, repeatable (iptables: 'ip filter CHAIN')" },
	{ .name = "relay-ports", .kind = OPTION_READ, .read = relay_ports_read, .fallback = "20000-29999", .argument = "LOW-HIGH",
		.help = "Ports of the line's address that holes use" },
	{ .name = "lease", .kind = OPTION_U32, .offset = AT(lease_s), .min = 10, .max = 86400, .fallback = "120", .argument = "SECONDS",
		.help = "Longest lease told to a client" },
	{ .name = "hold-max", .kind = OPTION_U32, .offset = AT(hold_max_s), .min = 120, .max = 604800, .fallback = "86400",
		.argument = "SECONDS", .help = "Longest time a mapping is held for one request" },
	{ .name = "keepalive", .kind = OPTION_U32, .offset = AT(keepalive_s), .min = 5, .max = 300, .fallback = "20",
		.argument = "SECONDS", .help = "How often a hole is held open" },
	{ .name = "fault-grace", .kind = OPTION_U32, .offset = AT(fault_grace_s), .min = 1, .max = 3600, .fallback = "60",
		.argument = "SECONDS", .help = "How long a fault of the line is met with silence before clients are told" },
	{ .name = "max-mappings", .kind = OPTION_U32, .offset = AT(max_mappings), .min = 1, .max = 65535, .fallback = "1024",
		.argument = "N", .help = "Mappings in all" },
	{ .name = "max-mappings-per-client", .kind = OPTION_U32, .offset = AT(max_mappings_per_client), .min = 1, .max = 65535,
		.fallback = "64", .argument = "N", .help = "Mappings of one LAN address" },
	{ .name = "access", .kind = OPTION_READ, .repeatable = true, .read = access_read,
		.argument = "'allow|deny EXTERNAL_PORTS CLIENT_NET INTERNAL_PORTS'",
		.help = "Who may map what, repeatable: the first rule that fits decides, without one all may. "
			"External ports are relay ports: what a carrier's NAT makes of them is its choice" },
	{ .name = "firewall", .kind = OPTION_READ, .read = firewall_read, .fallback = "auto", .argument = "auto|nftables|iptables|none",
		.help = "Who lets strangers through; auto: nftables, else iptables (also iptables-nft, iptables-legacy)" },
	{ .name = "log-level", .kind = OPTION_READ, .read = log_level_read, .fallback = "info", .argument = "error|warn|info|debug",
		.help = "How much is logged" },
	{ .name = "log-target", .kind = OPTION_READ, .read = log_target_read, .fallback = "stderr", .argument = "stderr|syslog",
		.help = "Where it is logged" },
	OPTIONS_END,
};

const struct options config_options = {
	.program = "stunway-gateway",
	.usage = "[options]",
	.about = "Answers NAT-PMP on the LAN with ports that strangers can reach through the carrier's NAT.\n",
	.rows = rows,
	.section = "gateway",
	.file = "/etc/stunway/gateway.conf",
	.values = offsetof(struct config, values),
};
