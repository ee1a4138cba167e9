/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum kind { CHOICE, NUMBER, SWITCH, PERCENT, RANGE, OUTER, TEXT };

struct option {
	const char *name;
	enum kind kind;
	bool running; /* may be set at run time */
	size_t at;
	uint32_t min, max; /* NUMBER; TEXT: max is the room */
	const char *fallback;
	const char *value; /* CHOICE: the names in order, else how the value is called */
	const char *help;
};

#define AT(member) offsetof(struct config, member)

static const struct option options[] = {
	{ "mode", CHOICE, false, AT(mode), 0, 0, "nat", "nat|firewall",
		"translate, or only filter statefully (IPv6 is only filtered in either)" },
	{ "mapping", CHOICE, true, AT(mapping), 0, 0, "ei", "ei|ad|apd",
		"UDP and ICMP mapping: endpoint-independent, address-, address-and-port-dependent" },
	{ "filtering", CHOICE, true, AT(filtering), 0, 0, "ei", "ei|ad|apd", "UDP filtering, likewise" },
	{ "tcp-mapping", CHOICE, true, AT(tcp_mapping), 0, 0, "same", "ei|ad|apd|same", "same: as --mapping" },
	{ "tcp-filtering", CHOICE, true, AT(tcp_filtering), 0, 0, "same", "ei|ad|apd|same",
		"of inbound SYNs; same: as --filtering" },
	{ "ports", CHOICE, true, AT(ports), 0, 0, "preserve", "preserve|increment|decrement|random",
		"how the outer port is chosen; preserve takes the next free one when it is taken" },
	{ "port-range", RANGE, true, AT(port_low), 1, 65535, "1024-65535", "LOW-HIGH",
		"outer ports; increment begins at the low end, decrement at the high one" },
	{ "port-first", NUMBER, false, AT(port_first), 0, 65535, "0", "PORT",
		"where increment and decrement begin instead; 0: at their end of the range" },
	{ "port-step", NUMBER, true, AT(port_step), 1, 64, "1", "N", "increment and decrement take every Nth port" },
	{ "others", NUMBER, true, AT(others), 0, 1024, "0", "N",
		"before each mapping other customers have taken 0 to N ports of increment and decrement" },
	{ "seed", NUMBER, true, AT(seed), 0, UINT32_MAX, "1", "N", "of all that is random: ports, losses, jitter" },
	{ "outer", OUTER, false, AT(outer), 0, 0, NULL, "ADDR", "an outer IPv4 address; repeat for several" },
	{ "pooling", CHOICE, true, AT(pooling), 0, 0, "paired", "paired|arbitrary",
		"an inner address keeps one outer address, or every mapping takes the next" },
	{ "udp-timeout", NUMBER, true, AT(udp_timeout_s), 1, 86400, "120", "SECONDS", "of an idle UDP mapping" },
	{ "tcp-timeout", NUMBER, true, AT(tcp_timeout_s), 1, 864000, "7440", "SECONDS",
		"of an established TCP session" },
	{ "tcp-transitory", NUMBER, true, AT(tcp_transitory_s), 1, 86400, "240", "SECONDS",
		"of a TCP session half open or half closed" },
	{ "icmp-timeout", NUMBER, true, AT(icmp_timeout_s), 1, 86400, "60", "SECONDS", "of an idle ICMP echo mapping" },
	{ "inbound-refresh", SWITCH, true, AT(inbound_refresh), 0, 0, "off", "on|off",
		"inbound packets, too, refresh a UDP mapping" },
	{ "tcp-unknown", CHOICE, true, AT(tcp_unknown), 0, 0, "drop", "drop|rst",
		"what an outbound segment of no known session meets" },
	{ "icmp-unreachable", SWITCH, true, AT(icmp_unreachable), 0, 0, "off", "on|off",
		"tell the sender of UDP that is not let in" },
	{ "hairpin", SWITCH, true, AT(hairpin), 0, 0, "off", "on|off",
		"inside to an outer endpoint comes back inside" },
	{ "loss", PERCENT, true, AT(loss), 0, 0, "0", "PERCENT", "of the packets, in each direction" },
	{ "delay", NUMBER, true, AT(delay_ms), 0, 10000, "0", "MS", "added to every packet, in each direction" },
	{ "jitter", NUMBER, true, AT(jitter_ms), 0, 10000, "0", "MS",
		"up to so much more for each packet alone: later ones overtake" },
	{ "duplicate", PERCENT, true, AT(duplicate), 0, 0, "0", "PERCENT", "of the packets come twice" },
	{ "block-udp", SWITCH, true, AT(block_udp), 0, 0, "off", "on|off", "drop all UDP" },
	{ "alg", SWITCH, true, AT(alg), 0, 0, "off", "on|off",
		"write the inner address over the outer one wherever inbound UDP has it in its payload" },
	{ "inside", TEXT, false, AT(inside), 0, 16, "nat-in", "NAME", "the TUN device of the customers' side" },
	{ "outside", TEXT, false, AT(outside), 0, 16, "nat-out", "NAME", "the TUN device of the Internet's side" },
	{ "control", TEXT, false, AT(control), 0, CONFIG_TEXT_MAX, "", "PATH",
		"a unix socket to listen on for commands" },
};

enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };

static uint32_t *number_at(struct config *c, const struct option *o)
{
	return (uint32_t *)(void *)((char *)c + o->at);
}

/* The index of text among "a|b|c", -EINVAL. */
static int choice_index(const char *names, const char *text)
{
	const size_t len = strlen(text);

	for (int i = 0; len; i++) {
		const size_t n = strcspn(names, "|");

		if (n == len && strncmp(names, text, n) == 0)
			return i;
		if (!names[n])
			break;
		names += n + 1;
	}
	return -EINVAL;
}

static int read_number(uint32_t *out, const char *text, uint32_t min, uint32_t max)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	const unsigned long long value = strtoull(text, &end, 10);
	if (errno || *end || value < min || value > max)
		return -EINVAL;
	*out = (uint32_t)value;
	return 0;
}

static int set_choice(struct config *c, const struct option *o, const char *text)
{
	const int index = choice_index(o->kind == SWITCH ? "off|on" : o->value, text);

	if (index < 0)
		return index;
	*number_at(c, o) = (uint32_t)index;
	return 0;
}

static int set_percent(struct config *c, const struct option *o, const char *text)
{
	char *end;
	const double value = strtod(text, &end);

	if (end == text || *end || !(value >= 0 && value <= 100))
		return -EINVAL;
	*number_at(c, o) = (uint32_t)(value * 100 + 0.5);
	return 0;
}

static int set_range(struct config *c, const struct option *o, const char *text)
{
	char low_text[8] = "";
	uint32_t low, high;
	const size_t n = strcspn(text, "-");

	if (n >= sizeof(low_text) || text[n] != '-')
		return -EINVAL;
	memcpy(low_text, text, n);
	if (read_number(&low, low_text, o->min, o->max) < 0 || read_number(&high, text + n + 1, low, o->max) < 0)
		return -EINVAL;
	number_at(c, o)[0] = low; /* port_low, and port_high after it */
	number_at(c, o)[1] = high;
	return 0;
}

static int add_outer(struct config *c, const char *text)
{
	struct endpoint e;

	if (endpoint_parse_ip(&e, text, 0) < 0 || e.family != ENDPOINT_IPV4)
		return -EINVAL;
	if (c->outer_count == CONFIG_OUTER_MAX)
		return -E2BIG;
	c->outer[c->outer_count++] = e;
	return 0;
}

static int set_value(struct config *c, const struct option *o, const char *text)
{
	switch (o->kind) {
	case CHOICE:
	case SWITCH:
		return set_choice(c, o, text);
	case NUMBER:
		return read_number(number_at(c, o), text, o->min, o->max);
	case PERCENT:
		return set_percent(c, o, text);
	case RANGE:
		return set_range(c, o, text);
	case OUTER:
		return add_outer(c, text);
	case TEXT:
		if (strlen(text) >= o->max)
			return -EINVAL;
		strcpy((char *)c + o->at, text);
		return 0;
	}
	return -EINVAL;
}

static const struct option *option_find(const char *name, size_t len)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

void config_defaults(struct config *c)
{
	*c = (struct config){ 0 };
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (options[i].fallback)
			set_value(c, &options[i], options[i].fallback);
}

int config_set(struct config *c, const char *name, const char *value, bool running)
{
	const struct option *o = option_find(name, strlen(name));

	if (!o)
		return -ENOENT;
	if (running && !o->running)
		return -EPERM;
	return set_value(c, o, value);
}

int config_set_outer(struct config *c, char *const *texts, size_t count)
{
	struct config next = { 0 };

	for (size_t i = 0; i < count; i++) {
		const int r = add_outer(&next, texts[i]);

		if (r < 0)
			return r;
	}
	if (count == 0)
		return -EINVAL;
	memcpy(c->outer, next.outer, sizeof(c->outer));
	c->outer_count = next.outer_count;
	return 0;
}

/* One option of argv, "--name=value", "--name value" or a switch alone; returns how many words it took. */
static int read_option(struct config *c, char **argv, const char **bad, const char **reason)
{
	const char *word = argv[0], *next = argv[1];
	const size_t len = strcspn(word, "=");

	*bad = word;
	*reason = "no such option";
	if (strncmp(word, "--", 2) != 0)
		return -EINVAL;
	const struct option *o = option_find(word + 2, len - 2);
	if (!o)
		return -EINVAL;
	const bool attached = word[len] == '=';
	const char *value = attached ? word + len + 1 : next;
	bool taken = !attached;
	if (o->kind == SWITCH && !attached && !(next && choice_index("off|on", next) >= 0)) {
		value = "on";
		taken = false;
	}
	*reason = "it needs a value";
	if (!value)
		return -EINVAL;
	*bad = value;
	*reason = o->name;
	return set_value(c, o, value) < 0 ? -EINVAL : taken ? 2 : 1;
}

int config_args(struct config *c, int argc, char **argv, const char **bad, const char **reason)
{
	config_defaults(c);
	for (int i = 1; i < argc;) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return 1;
		const int words = read_option(c, argv + i, bad, reason);
		if (words < 0)
			return words;
		i += words;
	}
	if (c->mode == MODE_NAT && c->outer_count == 0) {
		*bad = "--outer";
		*reason = "a NAT needs an outer address";
		return -EINVAL;
	}
	return 0;
}

void config_help(FILE *out)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *o = &options[i];

		fprintf(out, "  --%s %s\n        %s", o->name, o->value, o->help);
		if (o->fallback && o->fallback[0])
			fprintf(out, " (default %s)", o->fallback);
		fprintf(out, "%s\n", o->running ? " *" : "");
	}
}

static void choice_json(FILE *out, const char *names, uint32_t index)
{
	for (; index; index--)
		names += strcspn(names, "|") + 1;
	fprintf(out, "\"%.*s\"", (int)strcspn(names, "|"), names);
}

void config_json(FILE *out, const struct config *c)
{
	const char *comma = "";

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *o = &options[i];
		const uint32_t *value = (const uint32_t *)(const void *)((const char *)c + o->at);

		if (o->kind == OUTER || o->kind == TEXT)
			continue; /* the dump has the addresses of its own; names are the caller's */
		fprintf(out, "%s\"%s\":", comma, o->name);
		comma = ",";
		if (o->kind == CHOICE)
			choice_json(out, o->value, *value);
		else if (o->kind == SWITCH)
			fputs(*value ? "true" : "false", out);
		else if (o->kind == RANGE)
			fprintf(out, "[%u,%u]", value[0], value[1]);
		else if (o->kind == PERCENT)
			fprintf(out, "%.2f", *value / 100.0);
		else
			fprintf(out, "%u", *value);
	}
}
