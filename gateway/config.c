/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/config.h"

#include <errno.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/hole/pool.h"
#include "sys/cleanup.h"
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

static int tcp_keepalive_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "HOST[:PORT], given at most 32 times";
	if (c->host_count == SERVERS_NAMES_MAX)
		return -EINVAL;
	if (server_name_parse_web(&c->hosts[c->host_count], value) < 0)
		return -EINVAL;
	c->host_count++;
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

static int state_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "a file's path, or none";
	if (!value[0] || value[strlen(value) - 1] == '/')
		return -EINVAL;
	c->state = strcmp(value, "none") == 0 ? NULL : value;
	return 0;
}

static void *permanent_begin(void *config, const char *name, char why[OPTION_WHY_MAX])
{
	struct config *c = config;

	return permanent_add(c->permanents, &c->permanent_count, name, why);
}

static int permanent_end(void *config, const void *element, char why[OPTION_WHY_MAX])
{
	const struct config *c = config;

	return permanent_check(c->permanents, element, why);
}

static const struct option_group permanents = { .kind = "mapping", .help = "A section of the file for each permanent mapping",
	.rows = permanent_rows, .begin = permanent_begin, .end = permanent_end };

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

static int hook_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "a program's path that begins with /";
	c->hook = value;
	return value[0] == '/' ? 0 : -EINVAL;
}

static int http_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "ADDR:PORT, e.g. 192.168.1.1:9699 or [::1]:9699, given at most 8 times, or none alone";
	if (c->http_none || c->http_count == CONFIG_HTTP_MAX)
		return -EINVAL;
	c->http_none = strcmp(value, "none") == 0;
	if (c->http_none)
		return c->http_count ? -EINVAL : 0;
	return endpoint_parse(&c->http[c->http_count], value) < 0 ? -EINVAL : (c->http_count++, 0);
}

static int http_host_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "a host's name or address without a port, given at most 8 times";
	if (!value[0] || strpbrk(value, "/:@ ") || c->http_host_count == CONFIG_HTTP_MAX)
		return -EINVAL;
	c->http_hosts[c->http_host_count++] = value;
	return 0;
}

static int user_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	const struct passwd *user = getpwnam(value);

	*why = "a user of this system";
	if (!user)
		return -EINVAL;
	c->user = value;
	c->uid = user->pw_uid;
	c->gid = user->pw_gid;
	return 0;
}

#define AT(field) offsetof(struct config, field)

static const struct option_row rows[] = {
	{ .name = "wan", .kind = OPTION_READ, .read = wan_read, .argument = "IFNAME",
		.help = "Interface of the line (that of the default route)" },
	{ .name = "lan", .kind = OPTION_READ, .repeatable = true, .read = lan_read, .argument = "IFNAME",
		.help = "Interface to serve, repeatable (every other one with a private address)" },
	{ .name = "stun", .kind = OPTION_READ, .repeatable = true, .read = stun_read, .argument = "[udp:|tcp:]HOST[:PORT]",
		.help = "STUN server, repeatable (a list of public ones)" },
	{ .name = "stun-rate", .kind = OPTION_U32, .offset = AT(stun_rate), .min = 1, .max = 10000, .fallback = "100", .argument = "N",
		.help = "Questions a second to one STUN server" },
	{ .name = "tcp-keepalive", .kind = OPTION_READ, .repeatable = true, .read = tcp_keepalive_read, .argument = "HOST[:PORT]",
		.help = "Web server that holds TCP ports where no STUN server keeps connections, repeatable (a list of public ones)" },
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
		.argument = "SECONDS", .help = "How often a hole is asked at least; more often where the NAT forgets sooner" },
	{ .name = "fault-grace", .kind = OPTION_U32, .offset = AT(fault_grace_s), .min = 1, .max = 3600, .fallback = "60",
		.argument = "SECONDS", .help = "How long a fault of the line is met with silence before clients are told" },
	{ .name = "pool", .kind = OPTION_U32, .offset = AT(pool), .min = 0, .max = POOL_MAX, .fallback = "2", .argument = "N",
		.help = "Holes punched ahead, per protocol" },
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
	{ .name = "state", .kind = OPTION_READ, .read = state_read, .fallback = "/var/lib/stunway/gateway.json", .argument = "FILE|none",
		.help = "Where mappings outlast a restart" },
	{ .name = "state-lazy", .kind = OPTION_U32, .offset = AT(state_lazy_s), .min = 1, .max = 3600, .fallback = "60",
		.argument = "SECONDS", .help = "How long a renewal may wait to be written" },
	{ .name = "hook", .kind = OPTION_READ, .read = hook_read, .argument = "PROGRAM",
		.help = "Run when a mapping opens, changes or closes, with natmap's arguments" },
	{ .name = "hook-timeout", .kind = OPTION_U32, .offset = AT(hook_timeout_s), .min = 1, .max = 3600, .fallback = "30",
		.argument = "SECONDS", .help = "How long it may take" },
	{ .name = "http", .kind = OPTION_READ, .repeatable = true, .read = http_read, .argument = "ADDR:PORT|none",
		.help = "Where the web interface listens, repeatable (port 9699 on loopback and the LANs' addresses)" },
	{ .name = "http-host", .kind = OPTION_READ, .repeatable = true, .read = http_host_read, .argument = "NAME",
		.help = "Another name that it may be asked by, repeatable (besides addresses, localhost and the host's name)" },
	{ .name = "http-password-file", .kind = OPTION_TEXT, .offset = AT(http_password_file), .argument = "FILE",
		.help = "Its first line is the password that changes want (none: hosts of the LAN may change things)" },
	{ .name = "user", .kind = OPTION_READ, .read = user_read, .fallback = "nobody", .argument = "NAME",
		.help = "Whom to become after the start, and as whom the hook runs" },
	{ .name = "check", .kind = OPTION_FLAG, .offset = AT(check), .command_line_only = true,
		.help = "Say what would be done, and exit: 0, 2 for a wrong configuration, 4 for missing rights" },
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
	.group = &permanents,
	.file = "/etc/stunway/gateway.conf",
	.values = offsetof(struct config, values),
};

int config_read(struct config *c, int argc, char **argv)
{
	int operand;
	const int err = options_read(&config_options, c, argc, argv, &operand);

	if (err == 0 && operand < argc) {
		fprintf(stderr, "stunway-gateway: no word '%s' expected; see --help\n", argv[operand]);
		return -EINVAL;
	}
	return err;
}

int config_read_again(struct config *c, int argc, char **argv, struct helper *helper)
{
	const char *path = options_file(&config_options, argc, argv);
	CLEANUP(close_fd) int fd = helper_open(helper, 0);

	if (fd < 0 && !(fd == -ENOENT && path == config_options.file)) {
		fprintf(stderr, "stunway-gateway: --config '%s': %s\n", path, strerror(-fd));
		return -EINVAL;
	}
	return options_read_again(&config_options, c, argc, argv, fd);
}

void config_free(struct config *c)
{
	free(c->values);
	free(c->values_again);
	c->values = c->values_again = NULL;
}

/* What of the configuration belongs to an option: what is live is taken over at once, what is fixed waits for a restart. */
enum field_kind { LIVE, LIVE_TEXT, FIXED, FIXED_TEXTS };
#define FIELD(option, kind, field) { option, kind, AT(field), sizeof(((struct config *)0)->field) }

static const struct field {
	const char *option;
	enum field_kind kind;
	size_t offset, size;
} fields[] = {
	FIELD("wan", FIXED_TEXTS, wan),
	FIELD("lan", FIXED_TEXTS, lans),
	FIELD("stun", LIVE, servers),
	FIELD("stun", LIVE, server_count),
	FIELD("stun-rate", FIXED, stun_rate),
	FIELD("tcp-keepalive", FIXED, hosts),
	FIELD("tcp-keepalive", FIXED, host_count),
	FIELD("watch", FIXED, watch_s),
	FIELD("mark", FIXED, mark),
	FIELD("mark", FIXED, mark_mask),
	FIELD("accept-chain", FIXED_TEXTS, accept_chains),
	FIELD("relay-ports", LIVE, relay_low),
	FIELD("relay-ports", LIVE, relay_high),
	FIELD("lease", LIVE, lease_s),
	FIELD("hold-max", LIVE, hold_max_s),
	FIELD("keepalive", LIVE, keepalive_s),
	FIELD("fault-grace", LIVE, fault_grace_s),
	FIELD("pool", FIXED, pool),
	FIELD("max-mappings", FIXED, max_mappings),
	FIELD("max-mappings-per-client", FIXED, max_mappings_per_client),
	FIELD("access", LIVE, access),
	FIELD("firewall", FIXED, firewall),
	FIELD("state", FIXED_TEXTS, state),
	FIELD("state-lazy", FIXED, state_lazy_s),
	FIELD("hook", LIVE_TEXT, hook),
	FIELD("hook-timeout", LIVE, hook_timeout_s),
	FIELD("http", FIXED, http_none),
	FIELD("http", FIXED, http),
	FIELD("http-host", FIXED_TEXTS, http_hosts),
	FIELD("http-password-file", FIXED_TEXTS, http_password_file), /* what is in it is read again */
	FIELD("user", FIXED_TEXTS, user),
	FIELD("log-level", LIVE, log_level),
	FIELD("log-target", FIXED, log_target),
};

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_field(const struct field *f, const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	if (f->kind == LIVE || f->kind == FIXED)
		return memcmp(a, b, f->size) == 0;
	for (size_t i = 0; i < f->size / sizeof(*x); i++)
		if (!same_text(x[i], y[i]))
			return false;
	return true;
}

/* Once, though an option has several fields. */
static void name_option(char list[CONFIG_CHANGES_MAX], const char *option)
{
	const size_t used = strlen(list), len = strlen(option);

	if (used < len || strcmp(list + used - len, option) != 0)
		snprintf(list + used, CONFIG_CHANGES_MAX - used, "%s%s%s", used ? " " : "", option[0] == '[' ? "" : "--", option);
}

void config_apply(struct config *running, struct config *again, char changed[CONFIG_CHANGES_MAX], char fixed[CONFIG_CHANGES_MAX])
{
	changed[0] = fixed[0] = '\0';
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const struct field *f = &fields[i];
		char *to = (char *)running + f->offset;
		const char *from = (char *)again + f->offset;

		const bool live = f->kind == LIVE || f->kind == LIVE_TEXT;

		if (!same_field(f, to, from))
			name_option(live ? changed : fixed, f->option);
		if (live)
			memcpy(to, from, f->size); /* the same text stands elsewhere now */
	}
	if (!permanents_equal(running->permanents, running->permanent_count, again->permanents, again->permanent_count))
		name_option(changed, "[mapping NAME]");
	memcpy(running->permanents, again->permanents, sizeof(running->permanents));
	running->permanent_count = again->permanent_count;
	free(running->values_again); /* what was live of it has been replaced just now */
	running->values_again = again->values;
	again->values = NULL;
}
