/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/limit.h"
#include "server/worker.h"
#include "server/xdp/xdp.h"
#include "sys/cleanup.h"
#include "sys/log.h"
#include "sys/options.h"

static int ip_read(struct endpoint *out, enum endpoint_family family, const char *text)
{
	static const uint8_t unspecified[16];
	struct endpoint e;

	if (endpoint_parse_ip(&e, text, 0) < 0 || e.family != family || memcmp(e.ip, unspecified, endpoint_ip_len(&e)) == 0)
		return -EINVAL;
	*out = e;
	return 0;
}

/* PUBLIC[/LOCAL] */
static int address_read(struct config_address *out, enum endpoint_family family, const char *value)
{
	char text[2 * ENDPOINT_TEXT_MAX];
	struct config_address a;
	char *slash;

	if (strlen(value) >= sizeof(text))
		return -EINVAL;
	strcpy(text, value);
	slash = strchr(text, '/');
	if (slash)
		*slash = '\0';
	if (ip_read(&a.public, family, text) < 0 || ip_read(&a.local, family, slash ? slash + 1 : text) < 0)
		return -EINVAL;
	*out = a;
	return 0;
}

static int family_read(struct config_family *f, enum endpoint_family family, const char *value, const char **why)
{
	struct config_address a;

	*why = family == ENDPOINT_IPV4 ? "an IPv4 address, or PUBLIC/LOCAL" : "an IPv6 address, or PUBLIC/LOCAL";
	if (address_read(&a, family, value) < 0)
		return -EINVAL;
	*why = "given at most twice";
	if (f->count == SITE_ADDRESSES)
		return -EINVAL;
	*why = "another address than the first";
	for (size_t i = 0; i < f->count; i++)
		if (endpoint_same_ip(&f->addresses[i].public, &a.public) || endpoint_same_ip(&f->addresses[i].local, &a.local))
			return -EINVAL;
	f->addresses[f->count++] = a;
	return 0;
}

static int ipv4_read(void *config, const char *value, const char **why)
{
	return family_read(&((struct config *)config)->ipv4, ENDPOINT_IPV4, value, why);
}

static int ipv6_read(void *config, const char *value, const char **why)
{
	return family_read(&((struct config *)config)->ipv6, ENDPOINT_IPV6, value, why);
}

static int peer_read(struct config_family *f, enum endpoint_family family, const char *value, const char **why)
{
	struct endpoint e;

	*why = family == ENDPOINT_IPV4 ? "an IPv4 address" : "an IPv6 address";
	if (ip_read(&e, family, value) < 0)
		return -EINVAL;
	*why = "given once: there are two nodes";
	if (f->peer.family != ENDPOINT_NONE)
		return -EINVAL;
	f->peer = e;
	return 0;
}

static int peer_ipv4_read(void *config, const char *value, const char **why)
{
	return peer_read(&((struct config *)config)->ipv4, ENDPOINT_IPV4, value, why);
}

static int peer_ipv6_read(void *config, const char *value, const char **why)
{
	return peer_read(&((struct config *)config)->ipv6, ENDPOINT_IPV6, value, why);
}

/* Up to max bytes of a file that nobody but its owner and group may read, nor but its owner change. */
static ssize_t secret_read(const char *path, void *buf, size_t max, const char **why)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	*why = "a file that can be read";
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	*why = "a file that others can neither read nor change (chmod 600)";
	if (st.st_mode & (S_IRWXO | S_IWGRP))
		return -EINVAL;
	*why = "a file that can be read";
	n = read(fd, buf, max);
	return n < 0 ? -errno : n;
}

static int node_key_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	uint8_t bytes[NODE_KEY_MAX + 2]; /* the newline, and one more that says it is too long */
	ssize_t len;
	int err = -EINVAL;

	if (c->again) {
		*why = "given at most 4 times";
		return c->key_count++ < NODE_KEYS_MAX ? 0 : -EINVAL; /* the keys are those of the start */
	}
	len = secret_read(value, bytes, sizeof(bytes), why);
	if (len < 0)
		return -EINVAL;
	if (len > 0 && bytes[len - 1] == '\n')
		len--;
	if (len < NODE_KEY_MIN || len > NODE_KEY_MAX) {
		*why = "a key of 16 to 64 bytes (a newline at its end is not counted)";
	} else if (c->key_count == NODE_KEYS_MAX) {
		*why = "given at most 4 times";
	} else {
		memcpy(c->keys[c->key_count].bytes, bytes, (size_t)len);
		c->keys[c->key_count++].len = (size_t)len;
		err = 0;
	}
	explicit_bzero(bytes, sizeof(bytes));
	return err;
}

/* A port in decimal digits; *end is where it stops. 0 when it is none. */
static uint16_t port_read(const char *text, const char **end)
{
	unsigned long v = 0;

	for (*end = text; **end >= '0' && **end <= '9' && v <= 65535; (*end)++)
		v = 10 * v + (unsigned long)(**end - '0');
	return v <= 65535 ? (uint16_t)v : 0;
}

static int ports_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	uint16_t ports[SITE_PORTS] = { 0 };
	size_t count = 1;
	const char *end;

	*why = "a port or two different ones, as P1,P2";
	ports[0] = port_read(value, &end);
	if (*end == ',') {
		ports[1] = port_read(end + 1, &end);
		count = 2;
	}
	if (*end || ports[0] == 0 || ports[count - 1] == 0 || (count == 2 && ports[0] == ports[1]))
		return -EINVAL;
	memcpy(c->ports, ports, sizeof(ports));
	c->port_count = count;
	return 0;
}

static int user_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	const struct passwd *user;

	c->user = value;
	if (c->again)
		return 0;
	user = getpwnam(value);
	*why = "a user of this system";
	if (!user)
		return -EINVAL;
	c->drop_user = true;
	c->uid = user->pw_uid;
	c->gid = user->pw_gid;
	return 0;
}

static int metrics_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "ADDR:PORT, e.g. 127.0.0.1:9690 or [::1]:9690";
	return endpoint_parse(&c->metrics, value);
}

static int xdp_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "an interface, and this stunway-server was built without XDP";
	if (!xdp_built)
		return -EINVAL;
	*why = "the name of a network interface";
	if (value[0] == '\0' || strlen(value) >= IF_NAMESIZE)
		return -EINVAL;
	*why = "given at most 4 times, each another";
	for (size_t i = 0; i < c->xdp_count; i++)
		if (strcmp(c->xdp[i], value) == 0)
			return -EINVAL;
	if (c->xdp_count == CONFIG_XDP_MAX)
		return -EINVAL;
	c->xdp[c->xdp_count++] = value;
	return 0;
}

static int log_level_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "error, warn, info or debug";
	c->log_level = log_level_parse(value);
	return c->log_level < 0 ? -EINVAL : 0;
}

static int log_target_read(void *config, const char *value, const char **why)
{
	struct config *c = config;

	*why = "stderr or syslog";
	c->log_target = log_target_parse(value);
	return c->log_target < 0 ? -EINVAL : 0;
}

static const struct option_row rows[] = {
	{ .name = "ipv4", .kind = OPTION_READ, .argument = "PUBLIC[/LOCAL]", .read = ipv4_read,
		.repeatable = true, .help = "An IPv4 address of this host, LOCAL where a 1:1 NAT stands before it; once or twice" },
	{ .name = "ipv6", .kind = OPTION_READ, .argument = "PUBLIC[/LOCAL]", .read = ipv6_read,
		.repeatable = true, .help = "An IPv6 address, likewise" },
	{ .name = "peer-ipv4", .kind = OPTION_READ, .argument = "PUBLIC", .read = peer_ipv4_read,
		.help = "The other node's IPv4 address: two servers of one address each answer for one another" },
	{ .name = "peer-ipv6", .kind = OPTION_READ, .argument = "PUBLIC", .read = peer_ipv6_read,
		.help = "The other node's IPv6 address, likewise" },
	{ .name = "node-key-file", .kind = OPTION_READ, .argument = "FILE", .read = node_key_read,
		.repeatable = true, .help = "The key of both nodes, 16 to 64 bytes; the first given signs, all verify" },
	{ .name = "ports", .kind = OPTION_READ, .argument = "P1[,P2]", .read = ports_read, .fallback = "3478,3479",
		.help = "Ports served; with one there is no CHANGE-REQUEST of the port" },
	{ .name = "no-tcp", .kind = OPTION_FLAG, .offset = offsetof(struct config, no_tcp), .help = "Serve UDP only" },
	{ .name = "tcp-max", .kind = OPTION_U32, .offset = offsetof(struct config, tcp_max), .min = 1, .max = 1000000,
		.fallback = "4096", .argument = "N", .help = "TCP connections at a time" },
	{ .name = "tcp-max-per-address", .kind = OPTION_U32, .offset = offsetof(struct config, tcp_max_per_address), .min = 1,
		.max = 1000000, .fallback = "256", .argument = "N", .help = "of one client address (IPv6: of one /64)" },
	{ .name = "tcp-idle", .kind = OPTION_U32, .offset = offsetof(struct config, tcp_idle_s), .min = 1, .max = 86400,
		.fallback = "300", .argument = "SECONDS", .help = "until a TCP connection without a request is closed" },
	{ .name = "workers", .kind = OPTION_U32, .offset = offsetof(struct config, workers), .min = 1, .max = WORKERS_MAX,
		.argument = "N", .help = "Threads that answer UDP; by default as many as there are CPUs" },
	{ .name = "rate", .kind = OPTION_U32, .offset = offsetof(struct config, rate), .max = LIMIT_RATE_MAX,
		.fallback = "200", .argument = "N",
		.help = "UDP answers per second and client address (IPv6: /64); 0 for no limit" },
	{ .name = "metrics", .kind = OPTION_READ, .argument = "ADDR:PORT", .read = metrics_read,
		.help = "Tell Prometheus the counters at http://ADDR:PORT/metrics; off by default" },
	{ .name = "xdp", .kind = OPTION_READ, .argument = "IFNAME", .read = xdp_read, .repeatable = true,
		.help = "Answer what comes in at this interface before the kernel's network stack; see docs/xdp.md" },
	{ .name = "user", .kind = OPTION_READ, .argument = "NAME", .read = user_read,
		.help = "Whom to become once the ports are bound" },
	{ .name = "log-level", .kind = OPTION_READ, .argument = "LEVEL", .read = log_level_read, .fallback = "info",
		.help = "error, warn, info or debug" },
	{ .name = "log-target", .kind = OPTION_READ, .argument = "TARGET", .read = log_target_read, .fallback = "stderr",
		.help = "stderr or syslog" },
	{ .name = "check", .kind = OPTION_FLAG, .offset = offsetof(struct config, check), .command_line_only = true,
		.help = "Read the configuration, say what would be done, and exit" },
	OPTIONS_END,
};

static const struct options options = {
	.program = "stunway-server",
	.usage = "[options]",
	.about = "STUN server for RFC 8489, 5780 and 3489, over UDP and TCP. Without any address it serves plain\n"
		 "Binding on the first port of every local address.",
	.rows = rows,
	.section = "server",
	.file = "/etc/stunway/server.conf",
	.values = offsetof(struct config, values),
};

static struct place place_of(const struct config_family *f, const struct config *config)
{
	struct place p = { 0 };

	for (size_t i = 0; i < f->count; i++) {
		for (size_t k = 0; k < config->port_count; k++) {
			p.site.origin[i][k] = f->addresses[i].public;
			p.site.origin[i][k].port = config->ports[k];
			p.local[i][k] = f->addresses[i].local;
			p.local[i][k].port = config->ports[k];
		}
	}
	p.peered = f->peer.family != ENDPOINT_NONE;
	for (size_t k = 0; p.peered && k < config->port_count; k++) {
		p.site.origin[1][k] = f->peer;
		p.site.origin[1][k].port = config->ports[k];
	}
	return p;
}

static struct place place_any(enum endpoint_family family, uint16_t port)
{
	return (struct place){ .any = true, .local = { { { .family = (uint8_t)family, .port = port } } } };
}

size_t config_places(const struct config *config, struct place out[PLACES])
{
	size_t n = 0;

	if (config->ipv4.count == 0 && config->ipv6.count == 0) {
		out[n++] = place_any(ENDPOINT_IPV4, config->ports[0]);
		out[n++] = place_any(ENDPOINT_IPV6, config->ports[0]);
		return n;
	}
	if (config->ipv4.count > 0)
		out[n++] = place_of(&config->ipv4, config);
	if (config->ipv6.count > 0)
		out[n++] = place_of(&config->ipv6, config);
	return n;
}

/* The CPUs this process may run on. */
static uint32_t workers_default(void)
{
	cpu_set_t set;
	const int n = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return n < WORKERS_MAX ? (uint32_t)n : WORKERS_MAX;
}

/* What is wrong with a peer of one family, NULL for nothing. */
static const char *peer_fault(const struct config *config, const struct config_family *f)
{
	if (f->peer.family == ENDPOINT_NONE)
		return NULL;
	if (f->count != 1)
		return f->count ? "goes with one address of this host, there are two" : "goes with an address of this host, there is none";
	if (endpoint_same_ip(&f->peer, &f->addresses[0].public))
		return "must be another address than this host's";
	return config->key_count == 0 ? "needs --node-key-file" : NULL;
}

/* What only the whole can be wrong in. */
static int whole_check(const struct config *config)
{
	const struct config_family *families[] = { &config->ipv4, &config->ipv6 };
	char text[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < 2; i++) {
		const char *fault = peer_fault(config, families[i]);

		if (fault) {
			fprintf(stderr, "stunway-server: --peer-ipv%d '%s': %s\n", i ? 6 : 4, endpoint_ip_text(&families[i]->peer, text), fault);
			return -EINVAL;
		}
	}
	if (config->xdp_count > 0 && config->ipv4.count == 0 && config->ipv6.count == 0) {
		fprintf(stderr, "stunway-server: --xdp '%s': needs --ipv4 or --ipv6\n", config->xdp[0]);
		return -EINVAL;
	}
	if (config->key_count > 0 && config->ipv4.peer.family == ENDPOINT_NONE && config->ipv6.peer.family == ENDPOINT_NONE) {
		fprintf(stderr, "stunway-server: --node-key-file: needs --peer-ipv4 or --peer-ipv6\n");
		return -EINVAL;
	}
	return 0;
}

static int read_all(struct config *config, int argc, char **argv)
{
	int operand;
	const int err = options_read(&options, config, argc, argv, &operand);

	if (err != 0)
		return err;
	if (operand < argc) {
		fprintf(stderr, "stunway-server: '%s': takes no operand; see --help\n", argv[operand]);
		return -EINVAL;
	}
	return whole_check(config);
}

int config_read(struct config *config, int argc, char **argv)
{
	*config = (struct config){ .workers = workers_default() };
	return read_all(config, argc, argv);
}

int config_read_again(struct config *config, int argc, char **argv)
{
	*config = (struct config){ .workers = workers_default(), .again = true };
	return read_all(config, argc, argv);
}

static bool same_family(const struct config_family *a, const struct config_family *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!endpoint_same_ip(&a->addresses[i].public, &b->addresses[i].public) ||
			!endpoint_same_ip(&a->addresses[i].local, &b->addresses[i].local))
			return false;
	return true;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_xdp(const struct config *a, const struct config *b)
{
	for (size_t i = 0; i < CONFIG_XDP_MAX; i++)
		if (!same_text(a->xdp[i], b->xdp[i]))
			return false;
	return true;
}

const char *config_fixed(const struct config *a, const struct config *b, char buf[CONFIG_CHANGES_MAX])
{
	const struct {
		const char *option;
		bool same;
	} list[] = {
		{ "--ipv4", same_family(&a->ipv4, &b->ipv4) },
		{ "--ipv6", same_family(&a->ipv6, &b->ipv6) },
		{ "--peer-ipv4", endpoint_same_ip(&a->ipv4.peer, &b->ipv4.peer) },
		{ "--peer-ipv6", endpoint_same_ip(&a->ipv6.peer, &b->ipv6.peer) },
		{ "--node-key-file", a->key_count == b->key_count },
		{ "--ports", a->port_count == b->port_count && memcmp(a->ports, b->ports, sizeof(a->ports)) == 0 },
		{ "--no-tcp", a->no_tcp == b->no_tcp },
		{ "--tcp-max", b->tcp_max <= a->tcp_max }, /* the descriptors have been asked for at the start */
		{ "--workers", a->workers == b->workers },
		{ "--rate", !a->rate == !b->rate }, /* between two rates it can be changed */
		{ "--xdp", same_xdp(a, b) },
		{ "--metrics", endpoint_equal(&a->metrics, &b->metrics) },
		{ "--user", same_text(a->user, b->user) },
		{ "--log-target", a->log_target == b->log_target },
	};
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (!list[i].same)
			used += (size_t)snprintf(buf + used, CONFIG_CHANGES_MAX - used, "%s%s", used ? " " : "", list[i].option);
	return buf;
}

void config_free(struct config *config)
{
	free(config->values);
	config->values = NULL;
}
