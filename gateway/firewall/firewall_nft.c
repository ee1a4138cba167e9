/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The nftables backend: a table of our own with three maps, and three sets that count. A mapping is an
 * element of each, never a rule, so a packet's way costs the same with 1 or 10,000 mappings.
 */
#include "gateway/firewall/firewall.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/cleanup.h"
#include "sys/nftables.h"

#define COMMENT	    "stunway"
#define NOWHERE	    "/" /* no interface can be called so */

struct firewall {
	struct nft_ctx *nft;
	struct nftables *kernel;
	struct firewall_config config; /* but for wan */
	uint64_t built;		       /* fingerprint of our table as it was built */
	struct endpoint servers[2][FIREWALL_SERVERS]; /* UDP, TCP */
	size_t server_count[2];
	char error[512];
};

/*
 * open: only flows that begin (for TCP a SYN), to the line's own address, to a mapped port.
 * Whatever belongs to a STUN server in use is left to the socket that holds the hole,
 * also after somebody flushed conntrack. turn: the same endpoint from inside; iifname in
 * postrouting wants Linux 5.7, and the router's own flows have none.
 */
static const char skeleton[] =
	"add table inet stunway\n"
	"delete table inet stunway\n"
	"table inet stunway {\n"
	"	set servers { type inet_proto . ipv4_addr . inet_service; }\n"
	"	map inbound { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
	"	map outbound { type inet_proto . ipv4_addr . inet_service : inet_service; }\n"
	"	map hairpin { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }\n"
	"	chain prerouting {\n"
	"		type nat hook prerouting priority dstnat - 5; policy accept;\n"
	"		iifname \"%s\" meta nfproto ipv4 meta l4proto { tcp, udp } fib daddr . iif type local jump open\n"
	"		iifname != \"%s\" meta nfproto ipv4 meta l4proto { tcp, udp } jump turn\n"
	"	}\n"
	"	chain output {\n"
	"		type nat hook output priority -105; policy accept;\n"
	"		meta nfproto ipv4 meta l4proto { tcp, udp } jump turn\n"
	"	}\n"
	"	chain open {\n"
	"		meta l4proto . ip saddr . th sport @servers return\n"
	"		meta l4proto tcp tcp flags & (fin|syn|rst|ack) != syn return\n"
	"		meta l4proto . th dport @inbound ct mark set ct mark & 0x%08x | 0x%08x\n"
	"		meta l4proto { tcp, udp } dnat ip to meta l4proto . th dport map @inbound\n"
	"	}\n"
	"	chain turn {\n"
	"		meta l4proto . ip daddr . th dport @hairpin ct mark set ct mark & 0x%08x | 0x%08x\n"
	"		meta l4proto { tcp, udp } dnat ip to meta l4proto . ip daddr . th dport map @hairpin\n"
	"	}\n"
	"	chain postrouting {\n"
	"		type nat hook postrouting priority srcnat - 5; policy accept;\n"
	"		oifname \"%s\" meta nfproto ipv4 meta l4proto { tcp, udp } jump leave\n"
	"		iifname != \"%s\" oifname != \"%s\" ct status dnat ct mark & 0x%08x == 0x%08x masquerade\n"
	"	}\n"
	"	chain leave {\n"
	"		meta l4proto . ip daddr . th dport @servers return\n"
	"		meta l4proto { tcp, udp } masquerade to :meta l4proto . ip saddr . th sport map @outbound\n"
	"	}\n"
	"}\n";

/*
 * What is counted: all that crosses the line to or from a mapped client's port, past those who may drop it; and once
 * each flow that begins by the mapping, since the kernel asks nat chains of first packets only: that is where it was let
 * in, not where its destination was changed. Sets count since Linux 5.7, too.
 */
static const char counters[] =
	"table inet stunway {\n"
	"	set traffic_in { type inet_proto . ipv4_addr . inet_service; counter; }\n"
	"	set traffic_out { type inet_proto . ipv4_addr . inet_service; counter; }\n"
	"	set connections { type inet_proto . ipv4_addr . inet_service; counter; }\n"
	"	chain forwarded {\n"
	"		type filter hook forward priority security; policy accept;\n"
	"		iifname \"%s\" meta l4proto . ip daddr . th dport @traffic_in\n"
	"		oifname \"%s\" meta l4proto . ip saddr . th sport @traffic_out\n"
	"	}\n"
	"	chain received {\n"
	"		type filter hook input priority security; policy accept;\n"
	"		iifname \"%s\" meta l4proto . ip daddr . th dport @traffic_in\n"
	"	}\n"
	"	chain sent {\n"
	"		type filter hook output priority security; policy accept;\n"
	"		oifname \"%s\" meta l4proto . ip saddr . th sport @traffic_out\n"
	"	}\n"
	"	chain begun {\n"
	"		type nat hook postrouting priority srcnat - 6; policy accept;\n"
	"		iifname \"%s\" ct mark & 0x%08x == 0x%08x meta l4proto . ip daddr . th dport @connections\n"
	"	}\n"
	"	chain begun_here {\n"
	"		type nat hook input priority 94; policy accept;\n"
	"		iifname \"%s\" ct mark & 0x%08x == 0x%08x meta l4proto . ip daddr . th dport @connections\n"
	"	}\n"
	"}\n";

/* The sets whose elements count. Their keys are those of the map outbound: protocol, client, its port. */
static const char *const counting[] = {
	[FIREWALL_IN] = "traffic_in", [FIREWALL_OUT] = "traffic_out", [FIREWALL_CONNECTIONS] = "connections" };
#define COUNTING (sizeof(counting) / sizeof(counting[0]))

static const char *protocol_name(enum lease_protocol protocol)
{
	return protocol == LEASE_TCP ? "tcp" : "udp";
}

static const char *ip_text(uint32_t ip, char buf[ENDPOINT_TEXT_MAX])
{
	const struct endpoint e = endpoint_ipv4(ip, 0);

	return endpoint_ip_text(&e, buf);
}

/* One transaction. Keeps the first line of libnftables' complaint. */
static int run(struct firewall *f, const char *text)
{
	const char *said;

	if (nft_run_cmd_from_buffer(f->nft, text) == 0)
		return 0;
	said = nft_ctx_get_error_buffer(f->nft);
	snprintf(f->error, sizeof(f->error), "%.*s", (int)strcspn(said, "\n"), said);
	return strstr(said, "Operation not permitted") ? -EPERM : -EIO;
}

__attribute__((format(printf, 2, 3))) static int runf(struct firewall *f, const char *format, ...)
{
	char text[4096];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return n < (int)sizeof(text) ? run(f, text) : -EMSGSIZE;
}

/* Runs a listing; its text is borrowed until the next run. */
static const char *list(struct firewall *f, const char *what)
{
	return runf(f, "list %s", what) == 0 ? nft_ctx_get_output_buffer(f->nft) : NULL;
}

/* Removes our accept rules from a foreign chain, also those an earlier run left. A chain that is gone is fine. */
static void unaccept(struct firewall *f, const char *chain)
{
	char what[300];
	const char *line;
	CLEANUP(free_text) char *text = NULL;

	snprintf(what, sizeof(what), "chain %s", chain);
	line = list(f, what);
	text = line ? strdup(line) : NULL;
	for (line = text; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *ours = strstr(line, "comment \"" COMMENT "\"");
		const char *handle = strstr(line, "# handle ");

		if (ours && handle && ours < line + strcspn(line, "\n") && handle < line + strcspn(line, "\n"))
			runf(f, "delete rule %s handle %lu\n", chain, strtoul(handle + 9, NULL, 10));
	}
}

/* As FORWARD or DOCKER-USER; who writes nftables' own rules uses small letters, also in a table ip filter. */
static bool is_of_iptables(const char *chain)
{
	return strncmp(chain, "ip filter ", 10) == 0 && !strpbrk(chain + 10, "abcdefghijklmnopqrstuvwxyz");
}

/* A rule of nftables' in a table that iptables-nft keeps, and iptables would neither list nor save it any more. */
static int accept(struct firewall *f, const char *chain)
{
	if (is_of_iptables(chain)) {
		snprintf(f->error, sizeof(f->error), "chain '%s' is iptables': use --firewall iptables", chain);
		return -EINVAL;
	}
	unaccept(f, chain);
	return runf(f, "insert rule %s ct mark & 0x%08x == 0x%08x accept comment \"" COMMENT "\"\n", chain, f->config.mark_mask,
		f->config.mark);
}

static void write_hairpin(FILE *out, const char *verb, const struct firewall_mapping *m, const struct endpoint *outer)
{
	char ip[ENDPOINT_TEXT_MAX], client[ENDPOINT_TEXT_MAX];

	if (outer->family == ENDPOINT_IPV4)
		fprintf(out, "%s element inet stunway hairpin { %s . %s . %u : %s . %u }\n", verb, protocol_name(m->protocol),
			endpoint_ip_text(outer, ip), outer->port, ip_text(m->client_ip, client), m->internal_port);
}

static void write_client(FILE *out, const struct firewall_mapping *m)
{
	char ip[ENDPOINT_TEXT_MAX];

	fprintf(out, "%s . %s . %u", protocol_name(m->protocol), ip_text(m->client_ip, ip), m->internal_port);
}

static void write_inbound(FILE *out, const struct firewall_mapping *m)
{
	char ip[ENDPOINT_TEXT_MAX];

	fprintf(out, "%s . %u : %s . %u", protocol_name(m->protocol), m->relay_port, ip_text(m->client_ip, ip), m->internal_port);
}

static void write_outbound(FILE *out, const struct firewall_mapping *m)
{
	write_client(out, m);
	fprintf(out, " : %u", m->relay_port);
}

/* What a mapping always has an element of. */
static const struct {
	const char *set;
	void (*write)(FILE *out, const struct firewall_mapping *m);
} parts[] = {
	{ "inbound", write_inbound },
	{ "outbound", write_outbound },
	{ "traffic_in", write_client },
	{ "traffic_out", write_client },
	{ "connections", write_client },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* Many elements in one command: libnftables takes half the time of as many commands. */
static void write_part(FILE *out, const char *verb, size_t part, const struct firewall_mapping *m, size_t count)
{
	fprintf(out, "%s element inet stunway %s {", verb, parts[part].set);
	for (size_t i = 0; i < count; i++) {
		fputs(i ? ", " : " ", out);
		parts[part].write(out, &m[i]);
	}
	fputs(" }\n", out);
}

/* As run, of what was written to out, which is closed. */
static int run_written(struct firewall *f, FILE *out, char *const *text)
{
	return fclose(out) == 0 ? run(f, *text) : -ENOMEM;
}

/* Takes an outer endpoint, whosever it is. It is fine when it is nobody's. */
static void free_outer(struct firewall *f, enum lease_protocol protocol, const struct endpoint *outer)
{
	char ip[ENDPOINT_TEXT_MAX];

	if (outer->family == ENDPOINT_IPV4)
		runf(f, "delete element inet stunway hairpin { %s . %s . %u }\n", protocol_name(protocol), endpoint_ip_text(outer, ip),
			outer->port);
}

static int change(struct firewall *f, const char *verb, const struct firewall_mapping *m, size_t count)
{
	CLEANUP(free_text) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -errno;
	for (size_t part = 0; part < PARTS; part++)
		write_part(out, verb, part, m, count);
	for (size_t i = 0; i < count; i++)
		write_hairpin(out, verb, &m[i], &m[i].outer);
	return run_written(f, out, &text);
}

static int nft_add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	const int err = change(f, "add", m, count);

	if (err == 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		free_outer(f, m[i].protocol, &m[i].outer); /* the carrier gave us what was another's */
	return change(f, "add", m, count);
}

/* One part of a mapping, where others may be gone. It is fine when it is gone, too. */
static void remove_part(struct firewall *f, size_t part, const struct firewall_mapping *m)
{
	CLEANUP(free_text) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	write_part(out, "delete", part, m, 1);
	run_written(f, out, &text);
}

/* Where somebody took one part already, the others must go all the same, or nobody gets their keys again. */
static void remove_parts(struct firewall *f, const struct firewall_mapping *m)
{
	for (size_t part = 0; part < PARTS; part++)
		remove_part(f, part, m);
	free_outer(f, m->protocol, &m->outer);
}

/* A removal waits some 16 ms for the kernel's readers, however many it is of. */
static int nft_remove(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	const int err = change(f, "delete", m, count);

	for (size_t i = 0; i < count && err < 0; i++)
		if (count == 1 || change(f, "delete", &m[i], 1) < 0)
			remove_parts(f, &m[i]);
	return err;
}

static int reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	CLEANUP(free_text) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -errno;
	for (size_t i = 0; i < count; i++)
		write_hairpin(out, "delete", changes[i].mapping, &changes[i].before);
	for (size_t i = 0; i < count; i++)
		write_hairpin(out, "add", changes[i].mapping, &changes[i].mapping->outer);
	return run_written(f, out, &text);
}

/* One that cannot be done must not keep the others: then each goes alone, by force. */
static int nft_reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	int err = reach(f, changes, count);

	if (err == 0)
		return 0;
	for (size_t i = 0; i < count; i++) { /* all of them first: what one had may be another's now */
		free_outer(f, changes[i].mapping->protocol, &changes[i].before);
		free_outer(f, changes[i].mapping->protocol, &changes[i].mapping->outer);
	}
	err = 0;
	for (size_t i = 0; i < count; i++) {
		const struct firewall_reach forced = { .mapping = changes[i].mapping };
		const int one = reach(f, &forced, 1);

		if (one < 0)
			err = one;
	}
	return err;
}

static void write_servers(FILE *out, const char *protocol, const struct endpoint *servers, size_t count)
{
	char ip[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		if (servers[i].family == ENDPOINT_IPV4)
			fprintf(out, "add element inet stunway servers { %s . %s . %u }\n", protocol, endpoint_ip_text(&servers[i], ip),
				servers[i].port);
}

/* Both protocols share a set: it is written anew from what was last said of each. */
static int nft_exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	const size_t which = protocol == LEASE_TCP;
	CLEANUP(free_text) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -errno;
	f->server_count[which] = count < FIREWALL_SERVERS ? count : FIREWALL_SERVERS;
	if (count)
		memcpy(f->servers[which], servers, f->server_count[which] * sizeof(*servers));
	fputs("flush set inet stunway servers\n", out);
	write_servers(out, "udp", f->servers[0], f->server_count[0]);
	write_servers(out, "tcp", f->servers[1], f->server_count[1]);
	return run_written(f, out, &text);
}

/* Of our table's rules: the handles in it tell it from one that somebody else made of the same text. 0: it cannot be asked. */
static uint64_t fingerprint(struct firewall *f)
{
	struct nftables_rules rules;

	return nftables_rules(f->kernel, "inet", "stunway", NULL, NULL, &rules) < 0 ? 0 : rules.fingerprint;
}

static void write_skeleton(FILE *out, const struct firewall_config *c, const char *wan)
{
	fprintf(out, skeleton, wan, wan, ~c->mark_mask, c->mark, ~c->mark_mask, c->mark, wan, wan, wan, c->mark_mask, c->mark);
	fprintf(out, counters, wan, wan, wan, wan, wan, c->mark_mask, c->mark, wan, c->mark_mask, c->mark);
}

static int nft_rebuild(struct firewall *f, const char *wan)
{
	const char *name = wan[0] ? wan : NOWHERE;
	CLEANUP(free_text) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	int err;

	if (!out)
		return -errno;
	write_skeleton(out, &f->config, name);
	write_servers(out, "udp", f->servers[0], f->server_count[0]);
	write_servers(out, "tcp", f->servers[1], f->server_count[1]);
	err = run_written(f, out, &text);
	if (err == 0)
		f->built = fingerprint(f);
	return err;
}

/* A key of our maps: protocol, and what else there is of address and port. */
static size_t write_key(uint8_t key[12], enum lease_protocol protocol, const uint8_t *ip, uint16_t port)
{
	const size_t at = ip ? 8 : 4;

	memset(key, 0, 12);
	key[0] = (uint8_t)protocol;
	if (ip)
		memcpy(key + 4, ip, 4);
	key[at] = (uint8_t)(port >> 8);
	key[at + 1] = (uint8_t)port;
	return at + 4;
}

/* What cannot be asked is taken to be there: a failure to look is no reason to tear down. */
static bool has(struct firewall *f, const char *set, enum lease_protocol protocol, const uint8_t *ip, uint16_t port)
{
	uint8_t key[12];
	const size_t len = write_key(key, protocol, ip, port);

	return nftables_has(f->kernel, "stunway", set, key, len) != 0;
}

static bool has_mapping(struct firewall *f, const struct firewall_mapping *m)
{
	const struct endpoint client = endpoint_ipv4(m->client_ip, 0);

	for (size_t i = 0; i < COUNTING; i++)
		if (!has(f, counting[i], m->protocol, client.ip, m->internal_port))
			return false;
	return has(f, "inbound", m->protocol, NULL, m->relay_port) && has(f, "outbound", m->protocol, client.ip, m->internal_port);
}

static bool has_servers(struct firewall *f)
{
	for (size_t i = 0; i < 2; i++) {
		const struct endpoint *e = &f->servers[i][0];

		if (f->server_count[i] && e->family == ENDPOINT_IPV4 && !has(f, "servers", i ? LEASE_TCP : LEASE_UDP, e->ip, e->port))
			return false;
	}
	return true;
}

/* Of two, where somebody restored a ruleset that he had saved, one is too many. */
static bool accepts(struct firewall *f, const char *where)
{
	char family[8], table[200], chain[200];
	struct nftables_rules rules;

	return sscanf(where, "%7s %199s %199s", family, table, chain) == 3 &&
		nftables_rules(f->kernel, family, table, chain, COMMENT, &rules) == 0 && rules.commented == 1;
}

static int nft_mend(struct firewall *f, const struct firewall_mapping *sample)
{
	const uint64_t now = fingerprint(f);
	int health = FIREWALL_WELL;

	if ((now && now != f->built) || !has_servers(f) || (sample && !has_mapping(f, sample)))
		return FIREWALL_LOST;
	for (size_t i = 0; i < f->config.accept_chain_count; i++) {
		int err;

		if (accepts(f, f->config.accept_chains[i]))
			continue;
		err = accept(f, f->config.accept_chains[i]);
		if (err < 0) {
			const size_t used = strlen(f->error);

			snprintf(f->error + used, sizeof(f->error) - used, ": %s", f->config.accept_chains[i]);
			return err;
		}
		health = FIREWALL_MENDED;
	}
	return health;
}

/* A walk over the sets that count. */
struct count {
	enum firewall_counted what;
	firewall_counted_fn *counted;
	void *owner;
};

/* The key as write_key lays it out. */
static void element_counted(void *owner, const uint8_t *key, size_t len, uint64_t packets, uint64_t bytes)
{
	const struct count *c = owner;
	struct lease_key k;

	if (len != 12 || (key[0] != LEASE_TCP && key[0] != LEASE_UDP))
		return; /* none of ours */
	k = (struct lease_key){ .protocol = key[0],
		.client_ip = (uint32_t)key[4] << 24 | (uint32_t)key[5] << 16 | (uint32_t)key[6] << 8 | key[7],
		.internal_port = (uint16_t)(key[8] << 8 | key[9]) };
	c->counted(c->owner, &k, c->what, packets, bytes);
}

static int nft_count(firewall_counted_fn *counted, void *owner, uint64_t *life, char *offloads, size_t max)
{
	struct nftables *kernel;
	uint64_t before = 0, after = 0;
	int err = nftables_open(&kernel);

	if (err < 0)
		return err;
	err = nftables_table(kernel, "stunway", &before);
	for (size_t i = 0; i < COUNTING && err == 0; i++) {
		struct count c = { (enum firewall_counted)i, counted, owner };

		err = nftables_counters(kernel, "stunway", counting[i], element_counted, &c);
	}
	if (err == 0)
		err = nftables_table(kernel, "stunway", &after);
	if (err == 0)
		err = nftables_offloads(kernel, offloads, max);
	nftables_close(kernel);
	*life = before;
	return err == 0 && before != after ? -EAGAIN : err;
}

static void nft_close(struct firewall *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->config.accept_chain_count; i++)
		unaccept(f, f->config.accept_chains[i]);
	run(f, "add table inet stunway\ndelete table inet stunway\n");
	nft_ctx_free(f->nft);
	nftables_close(f->kernel);
	free(f);
}

/* What can look and change, and has done neither yet. */
static int begin(struct firewall **out, const struct firewall_config *config)
{
	struct firewall *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->config = *config;
	err = nftables_open(&f->kernel);
	f->nft = err < 0 ? NULL : nft_ctx_new(NFT_CTX_DEFAULT);
	if (!f->nft) {
		nftables_close(f->kernel);
		free(f);
		return err < 0 ? err : -ENOMEM;
	}
	nft_ctx_buffer_output(f->nft);
	nft_ctx_buffer_error(f->nft);
	nft_ctx_output_set_flags(f->nft, NFT_CTX_OUTPUT_HANDLE | NFT_CTX_OUTPUT_TERSE);
	*out = f;
	return 0;
}

static int nft_open(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max)
{
	struct firewall *f;
	int err = begin(&f, config);

	if (err < 0)
		return err;
	err = nft_rebuild(f, config->wan);
	for (size_t i = 0; i < config->accept_chain_count && err == 0; i++)
		err = accept(f, config->accept_chains[i]);
	if (err < 0) {
		snprintf(why, why_max, "%s", f->error);
		nft_close(f);
		return err;
	}
	*out = f;
	return 0;
}

static bool is_accepted(const struct firewall_config *c, const char *chain)
{
	for (size_t i = 0; i < c->accept_chain_count; i++)
		if (strcmp(c->accept_chains[i], chain) == 0)
			return true;
	return false;
}

/* Copies a line of text, without its indentation, and goes on to the next. False when there is none. */
static bool next_line(const char **text, char *line, size_t max)
{
	const char *at = *text;
	size_t len;

	if (!at || !*at)
		return false;
	at += strspn(at, " \t");
	len = strcspn(at, "\n");
	snprintf(line, max, "%.*s", (int)len, at);
	*text = at + len + (at[len] == '\n');
	return true;
}

/* Whether a rule, as listed, drops all that comes to it. */
static bool drops_all(const char *rule)
{
	int counter = 0;

	sscanf(rule, "counter packets %*u bytes %*u %n", &counter);
	rule += counter;
	return strncmp(rule, "drop", 4) == 0 || strncmp(rule, "reject", 6) == 0;
}

/* Whether a rule lets flows with our mark pass, or every flow that some DNAT let in. */
static bool lets_ours_pass(const struct firewall_config *c, const char *rule)
{
	char mark[16];

	snprintf(mark, sizeof(mark), "0x%08x", c->mark);
	return strncmp(rule, "ct status dnat accept", 21) == 0 ||
		(strncmp(rule, "ct mark ", 8) == 0 && strstr(rule, mark) && strstr(rule, " accept"));
}

/* Reads a base chain's own rules, not those it jumps to: its policy or a rule drops all, and none before lets ours pass. */
static bool would_drop(struct firewall *f, const char *chain)
{
	char what[600], line[1024];
	bool policy = false;
	const char *text;

	if (is_accepted(&f->config, chain))
		return false;
	snprintf(what, sizeof(what), "chain %s", chain);
	for (text = list(f, what); next_line(&text, line, sizeof(line));) {
		if (strncmp(line, "type ", 5) == 0)
			policy = strstr(line, "policy drop;") != NULL;
		else if (lets_ours_pass(&f->config, line))
			return false;
		else if (drops_all(line))
			return true;
	}
	return policy;
}

/*
 * Reads "list chains": a table's line, its chains' lines, and under each what it hooks. Our
 * flows are IPv4, so tables of other families do not matter.
 */
static void nft_obstacles(struct firewall *f, enum firewall_way way, char *buf, size_t max)
{
	const char *const hook = way == FIREWALL_INPUT ? "type filter hook input " : "type filter hook forward ";
	const char *said = list(f, "chains");
	CLEANUP(free_text) char *text = said ? strdup(said) : NULL;
	char line[256], table[256] = "", chain[520] = "";
	size_t used = 0;

	buf[0] = '\0';
	for (const char *at = text; next_line(&at, line, sizeof(line));) {
		char family[16], name[200];

		if (sscanf(line, "table %15s %199s", family, name) == 2)
			snprintf(table, sizeof(table), "%s %s", family, name);
		else if (sscanf(line, "chain %199s", name) == 1)
			snprintf(chain, sizeof(chain), "%s %s", table, name);
		else if (strncmp(line, hook, strlen(hook)) == 0 && firewall_chain_valid(chain) && used < max && would_drop(f, chain))
			used += (size_t)snprintf(buf + used, max - used, "%s'%s'", used ? ", " : "", chain);
	}
}

static int nft_look(const struct firewall_config *config, enum firewall_way way, char *obstacles, size_t max)
{
	struct firewall *f;
	int err = begin(&f, config);

	if (err < 0)
		return err;
	err = list(f, "chains") ? 0 : -EIO;
	nft_obstacles(f, way, obstacles, max);
	nftables_close(f->kernel);
	nft_ctx_free(f->nft);
	free(f);
	return err;
}

static const char *nft_error(const struct firewall *f)
{
	return f->error;
}

const struct firewall_backend firewall_nftables = {
	.name = "nftables",
	.open = nft_open,
	.add = nft_add,
	.remove = nft_remove,
	.reach = nft_reach,
	.exempt = nft_exempt,
	.mend = nft_mend,
	.rebuild = nft_rebuild,
	.count = nft_count,
	.obstacles = nft_obstacles,
	.look = nft_look,
	.close = nft_close,
	.error = nft_error,
};
