/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stunway/stunway.h>

#include "lib/lifetime.h"
#include "lib/stun.h"
#include "sys/options.h"

static int port_read(uint16_t *port, const char *text)
{
	char *end;
	unsigned long v;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	v = strtoul(text, &end, 10);
	if (*end || v < 1 || v > 65535)
		return -EINVAL;
	*port = (uint16_t)v;
	return 0;
}

int config_host_read(char host[CONFIG_HOST_MAX], uint16_t *port, const char *text)
{
	const bool brackets = text[0] == '[';
	const char *begin = text + brackets;
	const char *end = brackets ? strchr(begin, ']') : strchr(begin, ':');
	struct endpoint e;
	size_t len;

	if (!end || (!brackets && strchr(end + 1, ':'))) /* more colons than one: an IPv6 literal */
		end = brackets ? begin : begin + strlen(begin);
	len = (size_t)(end - begin);
	if (len == 0 || len >= CONFIG_HOST_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)begin[i] <= ' ' || begin[i] == '/' || begin[i] == 0x7f)
			return -EINVAL;
	memcpy(host, begin, len);
	host[len] = '\0';
	if ((brackets || strchr(host, ':')) && (endpoint_parse_ip(&e, host, 0) < 0 || e.family != ENDPOINT_IPV6))
		return -EINVAL;
	end += brackets;
	if (!*end)
		return 0;
	return *end == ':' ? port_read(port, end + 1) : -EINVAL;
}

static int bind_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	char host[CONFIG_HOST_MAX];
	uint16_t port = 0;

	*why = "an address of this host, with a port or without: 192.0.2.7, 192.0.2.7:5000, [2001:db8::7]:5000";
	return config_host_read(host, &port, value) < 0 ? -EINVAL : endpoint_parse_ip(&c->bind, host, port);
}

/* Seconds, decimals allowed. */
static int timeout_read(void *config, const char *value, const char **why)
{
	struct config *c = config;
	const size_t whole = strspn(value, "0123456789");
	const size_t decimals = value[whole] == '.' ? strspn(value + whole + 1, "0123456789") : 0;
	uint32_t ms;

	*why = "seconds from 0.1 to 600";
	if (whole < 1 || whole > 3 || value[whole + (value[whole] == '.') + decimals] || (value[whole] == '.' && decimals == 0))
		return -EINVAL;
	ms = (uint32_t)strtoul(value, NULL, 10) * 1000;
	for (size_t i = 0, weight = 100; i < decimals && weight > 0; i++, weight /= 10)
		ms += (uint32_t)((size_t)(value[whole + 1 + i] - '0') * weight);
	if (ms < STUNWAY_TIMEOUT_MIN_MS || ms > STUNWAY_TIMEOUT_MAX_MS)
		return -EINVAL;
	c->timeout_ms = ms;
	return 0;
}

static const struct option_row rows[] = {
	{ .name = "ipv4", .letter = '4', .kind = OPTION_FLAG, .offset = offsetof(struct config, ipv4),
		.help = "Ask over IPv4; without -4 and -6: over IPv4 if there is any, else over IPv6" },
	{ .name = "ipv6", .letter = '6', .kind = OPTION_FLAG, .offset = offsetof(struct config, ipv6), .help = "Ask over IPv6" },
	{ .name = "bind", .letter = 'b', .kind = OPTION_READ, .argument = "ADDR[:PORT]", .read = bind_read,
		.help = "The local address, and port, to ask from" },
	{ .name = "timeout", .letter = 't', .kind = OPTION_READ, .argument = "SECONDS", .read = timeout_read, .fallback = "5",
		.help = "Have a verdict by then; without losses it comes far sooner" },
	{ .name = "port-mode", .letter = 'p', .kind = OPTION_FLAG, .offset = offsetof(struct config, port_mode),
		.help = "Find out how ports are chosen: Increment, Decrement, Random, Preserved" },
	{ .name = "tcp", .kind = OPTION_FLAG, .offset = offsetof(struct config, tcp), .help = "Find out how TCP is mapped, too" },
	{ .name = "hairpin", .kind = OPTION_FLAG, .offset = offsetof(struct config, hairpin),
		.help = "Can hosts behind the NAT reach each other by their outer addresses?" },
	{ .name = "lifetime", .kind = OPTION_FLAG, .offset = offsetof(struct config, lifetime),
		.help = "How long does an unused mapping live? Takes about twice as long; Ctrl-C says what is known" },
	{ .name = "lifetime-max", .kind = OPTION_U32, .offset = offsetof(struct config, lifetime_max_s), .argument = "SECONDS",
		.min = LIFETIME_MAX_S_MIN, .max = LIFETIME_MAX_S_MAX, .fallback = "600",
		.help = "Longer lifetimes are not told apart" },
	{ .name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct config, json), .help = "Print one JSON object" },
	{ .name = "verbose", .letter = 'v', .kind = OPTION_FLAG, .offset = offsetof(struct config, verbose),
		.help = "Say on stderr what happens" },
	OPTIONS_END,
};

static const struct options options = {
	.program = "stunway-probe",
	.usage = "[options] SERVER[:PORT]",
	.about = "Says what the NAT before this machine does: its type, the outer address, how it maps and filters.\n"
		 "SERVER is a STUN server with two addresses (RFC 5780 or RFC 3489), a name or an address; port 3478.\n"
		 "Exit code: 0 a verdict, 1 unknown or error, 2 wrong usage, 3 no answer.",
	.rows = rows,
};

static int fault(const char *what, const char *must)
{
	fprintf(stderr, "stunway-probe: %s: %s; see --help\n", what, must);
	return -EINVAL;
}

static int whole_check(const struct config *c)
{
	struct endpoint e = { 0 };

	if (c->ipv4 && c->ipv6)
		return fault("-4 -6", "only one of them");
	if (c->bind.family == (c->ipv4 ? ENDPOINT_IPV6 : c->ipv6 ? ENDPOINT_IPV4 : 255))
		return fault("--bind", c->ipv4 ? "an IPv6 address, but -4 is given" : "an IPv4 address, but -6 is given");
	if (endpoint_parse_ip(&e, c->host, 0) < 0)
		return 0;
	if (e.family == (c->ipv4 ? ENDPOINT_IPV6 : c->ipv6 ? ENDPOINT_IPV4 : 255))
		return fault(c->host, c->ipv4 ? "an IPv6 address, but -4 is given" : "an IPv4 address, but -6 is given");
	if (c->bind.family != ENDPOINT_NONE && c->bind.family != e.family)
		return fault(c->host, "not of the family of --bind's address");
	return 0;
}

int config_read(struct config *config, int argc, char **argv)
{
	int operand, err;

	*config = (struct config){ .port = STUN_PORT };
	err = options_read(&options, config, argc, argv, &operand);
	if (err != 0)
		return err;
	if (operand == argc)
		return fault("SERVER[:PORT]", "missing");
	if (operand + 1 < argc)
		return fault(argv[operand + 1], "one server is asked, and it is named already");
	if (config_host_read(config->host, &config->port, argv[operand]) < 0) {
		fprintf(stderr, "stunway-probe: '%s': must be HOST, HOST:PORT or [IPV6]:PORT, with a port from 1 to 65535\n", argv[operand]);
		return -EINVAL;
	}
	return whole_check(config);
}
