/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The iptables backend: chains of our own in the table nat, jumped to from the first place of
 * PREROUTING and POSTROUTING.
 *
 *	PREROUTING → STUNWAY-IN ─┬→ STUNWAY-UDP-IN ─→ STUNWAY-UDP-IN-4e: DNAT, a rule per mapping of ports 4e00-4eff (hex)
 *	                         └→ STUNWAY-TCP-IN ─→ …
 *	POSTROUTING → STUNWAY-OUT ─→ likewise by the client's port: MASQUERADE
 *
 * iptables has no maps, so a flow's way grows with the mappings. The chains by 256 ports keep
 * it short: the first packet of a flow (no other enters this table) passes about 20 + 13 rules with
 * 1,000 mappings in the default range, 20 + 128 with 10,000. ipset would not help: its sets cannot say where to
 * translate to.
 *
 * From inside the outer endpoint is looked for in STUNWAY-TURN, which PREROUTING and OUTPUT jump to; what goes on to
 * the LAN is masqueraded. POSTROUTING cannot see by which interface a packet came, so the first packet of such a
 * flow carries --mark's bits itself: they are ours in the packet's mark, too.
 *
 * A change is one iptables-restore, so it happens whole or not at all. It first checks that the jumps stand. A new
 * mapping's rules are added; any other change writes the chains it touches anew from what is known here, and so
 * mends what others did to them. What is there already is only asked for.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/firewall/firewall.h"
#include "sys/cleanup.h"

#define PREFIX	     "STUNWAY-"
#define COMMENT	     "stunway"
#define OURS	     "-m comment --comment " COMMENT " -j "
#define CHAIN_MAX    28 /* longest name of a chain */
#define BLOCKS	     256
#define BLOCK_PORTS  (65536 / BLOCKS)
#define CHAINS_MAX   (9 + 6 * BLOCKS)
#define NOT_FOUND    127 /* the exit status of a program that is not there */
#define SAVED_MAX    (4 << 20) /* iptables-save's text of a big ruleset */

/* The helper holds the lock of the tables (legacy), which their user may not open. */
#define UNLOCKED "XTABLES_LOCKFILE=/dev/null"
#define COMMANDS(name)                                                                           \
	(const char *const[]){ UNLOCKED, name "-restore", "--noflush", "--wait", "1", NULL },              \
		(const char *const[]){ UNLOCKED, name "-save", "-t", "nat", NULL },                        \
		(const char *const[]){ UNLOCKED, name "-save", "-t", "filter", NULL }

enum { RESTORE, SAVE_NAT, SAVE_FILTER, COMMANDS_EACH };

const char *const *const firewall_commands[] = { COMMANDS("iptables"), COMMANDS("iptables-nft"), COMMANDS("iptables-legacy"), NULL };

struct firewall {
	struct firewall_config config;
	char wan[IF_NAMESIZE];
	size_t commands; /* where ours begin in firewall_commands */
	struct firewall_mapping *mappings;
	size_t count, room;
	struct endpoint servers[2][FIREWALL_SERVERS]; /* UDP, TCP */
	size_t server_count[2];
	bool doubtful; /* a change failed: the next writes all */
	char error[512];
};

/* Of a mapping: from WAN, towards WAN, and the outer endpoint from inside (hairpin). */
enum way { IN, OUT, TURN, WAYS };

static const char *const way_names[] = { "IN", "OUT", "TURN" };
static const char *const protocol_names[] = { "udp", "tcp" };

/* The port that a way's rule is found by. */
static uint16_t port_of(const struct firewall_mapping *m, enum way way)
{
	return way == IN ? m->relay_port : way == OUT ? m->internal_port : m->outer.port;
}

/* Without a known outer endpoint nobody can mean it. */
static bool has(const struct firewall_mapping *m, enum way way)
{
	return way != TURN || m->outer.family == ENDPOINT_IPV4;
}

static const char *ip_text(uint32_t ip, char buf[ENDPOINT_TEXT_MAX])
{
	const struct endpoint e = endpoint_ipv4(ip, 0);

	return endpoint_ip_text(&e, buf);
}

/* --- running --- */

static int run(struct firewall *f, size_t which, const char *input, char *output, size_t max)
{
	const size_t command = f->commands + which;
	const char *program = firewall_commands[command][1];
	const int status = f->config.run(f->config.run_owner, command, input, output, max);

	if (status == NOT_FOUND)
		snprintf(output, max, "%s is not installed", program);
	else if (status < 0)
		snprintf(output, max, "%s: %s", program, strerror(-status));
	return status;
}

/* Keeps the first line of what was said that is no warning. */
static int failed(struct firewall *f, const char *said)
{
	while (*said == '#')
		said += strcspn(said, "\n"), said += *said == '\n';
	snprintf(f->error, sizeof(f->error), "%.*s", (int)strcspn(said, "\n"), said);
	return strstr(said, "Permission denied") || strstr(said, "not permitted") ? -EPERM : -EIO;
}

/* One transaction per table of the text; a failure names the line of the text, which helps to find what it was. */
static int restore(struct firewall *f, const char *text)
{
	char said[1024];

	return run(f, RESTORE, text, said, sizeof(said)) == 0 ? 0 : failed(f, said);
}

/* A text for iptables-restore in the making. */
struct text {
	FILE *out;
	char *bytes;
	size_t len;
};

static int text_begin(struct text *t)
{
	*t = (struct text){ 0 };
	t->out = open_memstream(&t->bytes, &t->len);
	return t->out ? 0 : -errno;
}

/* Runs what was written, if anything was, and frees it. */
static int text_end(struct firewall *f, struct text *t)
{
	const int err = fclose(t->out) != 0 ? -ENOMEM : t->len ? restore(f, t->bytes) : 0;

	free(t->bytes);
	return err;
}

/* What iptables-save says, to be freed. */
static int save(struct firewall *f, size_t which, char **out)
{
	char *text = malloc(SAVED_MAX), *fitting;
	int status;

	if (!text)
		return -ENOMEM;
	status = run(f, which, NULL, text, SAVED_MAX);
	if (status == 0 && strlen(text) == SAVED_MAX - 1) {
		snprintf(text, SAVED_MAX, "there are more than %u MiB of rules", SAVED_MAX >> 20);
		status = -EFBIG;
	}
	if (status != 0) {
		status = failed(f, text);
		free(text);
		return status;
	}
	fitting = realloc(text, strlen(text) + 1);
	*out = fitting ? fitting : text;
	return 0;
}

/* The next line of a text, cut out of it; NULL at its end. */
static char *next_line(char **text)
{
	return *text && **text ? strsep(text, "\n") : NULL;
}

/* --- what a text says --- */

/*
 * The same words say what a chain is to hold and ask whether it does: the verb is -A or -C (or -I for what
 * comes first). A -C that finds nothing fails the text as a whole.
 */
static void write_jumps(FILE *out, const struct firewall *f, const char *verb)
{
	const char *wan = f->wan;

	if (!*wan)
		return; /* not known yet: nothing is let in */
	fprintf(out, "%s PREROUTING ! -i \"%s\" " OURS PREFIX "TURN\n", verb, wan);
	fprintf(out, "%s PREROUTING -i \"%s\" -m addrtype --dst-type LOCAL --limit-iface-in " OURS PREFIX "IN\n", verb, wan);
	fprintf(out, "%s OUTPUT " OURS PREFIX "TURN\n", verb);
	fprintf(out, "%s POSTROUTING ! -o \"%s\" -m mark --mark 0x%x/0x%x -m conntrack --ctstate DNAT " OURS "MASQUERADE\n", verb, wan,
		f->config.mark, f->config.mark_mask);
	fprintf(out, "%s POSTROUTING -o \"%s\" " OURS PREFIX "OUT\n", verb, wan);
}

/* Our flows' way through a foreign chain of the table filter. */
static void write_accept(FILE *out, const struct firewall *f, const char *chain, const char *verb)
{
	fprintf(out, "%s %s -m connmark --mark 0x%x/0x%x " OURS "ACCEPT\n", verb, strrchr(chain, ' ') + 1, f->config.mark, f->config.mark_mask);
}

static void write_accepts(FILE *out, const struct firewall *f, const char *verb)
{
	if (f->config.accept_chain_count == 0)
		return;
	fputs("*filter\n", out);
	for (size_t i = 0; i < f->config.accept_chain_count; i++)
		write_accept(out, f, f->config.accept_chains[i], verb);
	fputs("COMMIT\n", out);
}

/* Whatever belongs to a STUN server in use is left to the socket that holds the hole. */
static void write_exemptions(FILE *out, const struct firewall *f, enum way way, const char *verb)
{
	char ip[ENDPOINT_TEXT_MAX];

	for (size_t p = 0; p < 2; p++)
		for (size_t i = 0; i < f->server_count[p]; i++)
			if (f->servers[p][i].family == ENDPOINT_IPV4)
				fprintf(out, "%s " PREFIX "%s -p %s -m %s %s %s/32 %s %u -j RETURN\n", verb, way_names[way], protocol_names[p],
					protocol_names[p], way == IN ? "-s" : "-d", endpoint_ip_text(&f->servers[p][i], ip),
					way == IN ? "--sport" : "--dport", f->servers[p][i].port);
}

/* Makes a chain, or empties it. */
static void write_chain(FILE *out, const char *name)
{
	fprintf(out, ":%s - [0:0]\n", name);
}

/* The protocols' chains of a way. */
static void write_fork(FILE *out, enum way way, const char *verb)
{
	const char *name = way_names[way];

	fprintf(out, "%s " PREFIX "%s -p udp -j " PREFIX "UDP-%s\n%s " PREFIX "%s -p tcp -j " PREFIX "TCP-%s\n", verb, name, name, verb, name, name);
}

/*
 * A flow that begins gets the mark before its mapping is looked for, since DNAT has the last word; whoever has no
 * mapping loses it again. TCP but no SYN is left alone, also after somebody flushed conntrack. A hairpinned flow's
 * first packet has the mark itself, too: POSTROUTING cannot see where it came from.
 */
static void write_trunk(FILE *out, const struct firewall *f, const char *verb)
{
	const unsigned mark = f->config.mark, mask = f->config.mark_mask;

	write_exemptions(out, f, IN, verb);
	fprintf(out, "%s " PREFIX "IN -p tcp -m tcp ! --syn -j RETURN\n", verb);
	fprintf(out, "%s " PREFIX "IN -j CONNMARK --set-xmark 0x%x/0x%x\n", verb, mark, mask);
	write_fork(out, IN, verb);
	fprintf(out, "%s " PREFIX "IN -j CONNMARK --set-xmark 0x0/0x%x\n", verb, mask);
	write_exemptions(out, f, OUT, verb);
	write_fork(out, OUT, verb);
}

/* That of the hairpin, which no server's address concerns. */
static void write_turn(FILE *out, const struct firewall *f, const char *verb)
{
	const unsigned mark = f->config.mark, mask = f->config.mark_mask;

	fprintf(out, "%s " PREFIX "TURN -j CONNMARK --set-xmark 0x%x/0x%x\n", verb, mark, mask);
	fprintf(out, "%s " PREFIX "TURN -j MARK --set-xmark 0x%x/0x%x\n", verb, mark, mask);
	write_fork(out, TURN, verb);
	fprintf(out, "%s " PREFIX "TURN -j MARK --set-xmark 0x0/0x%x\n", verb, mask);
	fprintf(out, "%s " PREFIX "TURN -j CONNMARK --set-xmark 0x0/0x%x\n", verb, mask);
}

static const char *block_name(const struct firewall_mapping *m, enum way way, char buf[CHAIN_MAX + 1])
{
	snprintf(buf, CHAIN_MAX + 1, PREFIX "%s-%s-%02x", m->protocol == LEASE_TCP ? "TCP" : "UDP", way_names[way],
		port_of(m, way) / BLOCK_PORTS);
	return buf;
}

/* The way to a mapping's block. */
static void write_branch(FILE *out, const struct firewall_mapping *m, enum way way, const char *verb)
{
	const char *p = protocol_names[m->protocol == LEASE_TCP];
	const unsigned low = port_of(m, way) / BLOCK_PORTS * BLOCK_PORTS;
	char name[CHAIN_MAX + 1];

	block_name(m, way, name);
	fprintf(out, "%s %.*s -p %s -m %s %s %u:%u -j %s\n", verb, (int)(strrchr(name, '-') - name), name, p, p,
		way == OUT ? "--sport" : "--dport", low, low + BLOCK_PORTS - 1, name);
}

static void write_rule(FILE *out, const struct firewall_mapping *m, enum way way, const char *verb)
{
	const char *p = protocol_names[m->protocol == LEASE_TCP];
	char ip[ENDPOINT_TEXT_MAX], outer[ENDPOINT_TEXT_MAX], name[CHAIN_MAX + 1];

	ip_text(m->client_ip, ip);
	fprintf(out, "%s %s -p %s -m %s ", verb, block_name(m, way, name), p, p);
	if (way == IN)
		fprintf(out, "--dport %u -j DNAT --to-destination %s:%u\n", m->relay_port, ip, m->internal_port);
	else if (way == TURN)
		fprintf(out, "-d %s/32 --dport %u -j DNAT --to-destination %s:%u\n", endpoint_ip_text(&m->outer, outer), m->outer.port, ip,
			m->internal_port);
	else
		fprintf(out, "-s %s/32 --sport %u -j MASQUERADE --to-ports %u\n", ip, m->internal_port, m->relay_port);
}

/* Which blocks have mappings, of the first so many. */
struct blocks {
	bool used[WAYS][2][BLOCKS]; /* by way and protocol */
};

static bool *block_of(struct blocks *b, const struct firewall_mapping *m, enum way way)
{
	return &b->used[way][m->protocol == LEASE_TCP][port_of(m, way) / BLOCK_PORTS];
}

static void find_blocks(struct blocks *b, const struct firewall *f, size_t count)
{
	memset(b, 0, sizeof(*b));
	for (size_t i = 0; i < count; i++)
		for (enum way way = IN; way < WAYS; way++)
			if (has(&f->mappings[i], way))
				*block_of(b, &f->mappings[i], way) = true;
}

/* A rule that was not there; where it is the first of its block, the block. */
static void write_added(FILE *out, const struct firewall_mapping *m, enum way way, struct blocks *there)
{
	char name[CHAIN_MAX + 1];

	if (!has(m, way))
		return;
	if (!*block_of(there, m, way)) {
		write_chain(out, block_name(m, way, name));
		write_branch(out, m, way, "-A");
	}
	*block_of(there, m, way) = true;
	write_rule(out, m, way, "-A");
}

static bool same_block(const struct firewall_mapping *a, const struct firewall_mapping *b, enum way way)
{
	return has(a, way) && has(b, way) && a->protocol == b->protocol && port_of(a, way) / BLOCK_PORTS == port_of(b, way) / BLOCK_PORTS;
}

/* Those of enum way first. */
static const char *const trunk[] = { PREFIX "IN", PREFIX "OUT", PREFIX "TURN", PREFIX "UDP-IN", PREFIX "UDP-OUT", PREFIX "UDP-TURN",
	PREFIX "TCP-IN", PREFIX "TCP-OUT", PREFIX "TCP-TURN" };

/* A way's blocks: the jumps to all, and the rules of the block that this mapping is in; NULL: of all. One without any has no chain. */
static void write_way(FILE *out, const struct firewall *f, enum way way, const struct firewall_mapping *touched)
{
	struct blocks written = { 0 };
	char name[CHAIN_MAX + 1];
	bool left = false;

	if (touched && has(touched, way))
		write_chain(out, block_name(touched, way, name));
	for (size_t i = 0; i < f->count; i++) {
		const struct firewall_mapping *m = &f->mappings[i];

		if (!has(m, way))
			continue;
		if (!*block_of(&written, m, way)) {
			if (!touched)
				write_chain(out, block_name(m, way, name));
			write_branch(out, m, way, "-A");
		}
		*block_of(&written, m, way) = true;
		if (touched && !same_block(m, touched, way))
			continue;
		write_rule(out, m, way, "-A");
		left = true;
	}
	if (touched && has(touched, way) && !left)
		fprintf(out, "-X %s\n", block_name(touched, way, name));
}

/* All as it is to be, of each way the block that this mapping is in; NULL: all. */
static void write_anew(FILE *out, const struct firewall *f, const struct firewall_mapping *touched)
{
	for (size_t i = 0; i < sizeof(trunk) / sizeof(trunk[0]); i++)
		write_chain(out, trunk[i]);
	write_trunk(out, f, "-A");
	write_turn(out, f, "-A");
	for (enum way way = IN; way < WAYS; way++)
		write_way(out, f, way, touched);
}

/* The chains of hairpin's blocks that had mappings before and have none now. */
static void write_emptied(FILE *out, const struct firewall *f, const struct blocks *before)
{
	struct blocks now;
	char name[CHAIN_MAX + 1];

	find_blocks(&now, f, f->count);
	for (size_t i = 0; i < 2 * BLOCKS; i++) {
		const struct firewall_mapping any = { .protocol = i < BLOCKS ? LEASE_UDP : LEASE_TCP,
			.outer = endpoint_ipv4(0, (uint16_t)(i % BLOCKS * BLOCK_PORTS)) };

		if (!before->used[TURN][i / BLOCKS][i % BLOCKS] || *block_of(&now, &any, TURN))
			continue;
		write_chain(out, block_name(&any, TURN, name));
		fprintf(out, "-X %s\n", name);
	}
}

/* Only asks: does all stand that is neither foreign nor another mapping's? */
static void write_question(FILE *out, const struct firewall *f, const struct firewall_mapping *m)
{
	write_trunk(out, f, "-C");
	write_turn(out, f, "-C");
	for (enum way way = IN; way < WAYS && m; way++) {
		if (!has(m, way))
			continue;
		write_branch(out, m, way, "-C");
		write_rule(out, m, way, "-C");
	}
}

/* --- what is there --- */

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/*
 * Turns a ruleset's text, table by table, into one that takes away what is ours of it: empties our chains, deletes the
 * rules of ours in others' chains, then the chains, that nothing jumps to any more.
 */
static void write_removal(FILE *out, char *saved)
{
	const char *table = "", *begun = "";
	char *chains[CHAINS_MAX];
	size_t count = 0;

	for (char *line = next_line(&saved); line; line = next_line(&saved)) {
		const bool chain = begins(line, ":" PREFIX) && strcmp(table, "*nat") == 0 && count < CHAINS_MAX;
		const bool rule = begins(line, "-A ") && !begins(line, "-A " PREFIX) && strstr(line, " --comment " COMMENT " ");

		if (*line == '*')
			table = line;
		if ((chain || rule) && begun != table)
			fprintf(out, "%s\n", begun = table);
		if (chain)
			fprintf(out, "%s\n", chains[count++] = line);
		if (rule)
			fprintf(out, "-D%s\n", line + 2);
		if (begun != table || strcmp(line, "COMMIT") != 0)
			continue;
		for (size_t i = 0; i < count; i++)
			fprintf(out, "-X %.*s\n", (int)strcspn(chains[i] + 1, " "), chains[i] + 1);
		count = 0;
		fputs("COMMIT\n", out);
	}
}

/* Leaves nothing of ours, whoever put it there. */
static int sweep(struct firewall *f)
{
	CLEANUP(free_text) char *filter = NULL;
	CLEANUP(free_text) char *nat = NULL;
	struct text t;
	int err = save(f, SAVE_FILTER, &filter);

	if (err == 0)
		err = save(f, SAVE_NAT, &nat);
	if (err == 0)
		err = text_begin(&t);
	if (err < 0)
		return err;
	write_removal(t.out, filter);
	write_removal(t.out, nat);
	return text_end(f, &t);
}

static bool is_accepted(const struct firewall_config *c, const char *chain)
{
	for (size_t i = 0; i < c->accept_chain_count; i++)
		if (strcmp(c->accept_chains[i], chain) == 0)
			return true;
	return false;
}

/* Whether a rule, as saved, lets flows with our mark pass, or every flow that some DNAT let in. */
static bool lets_ours_pass(const struct firewall_config *c, const char *rule)
{
	char mark[48];

	snprintf(mark, sizeof(mark), "-m connmark --mark 0x%x/0x%x ", c->mark, c->mark_mask);
	return strcmp(rule, "-m conntrack --ctstate DNAT -j ACCEPT") == 0 || (begins(rule, mark) && strstr(rule, "-j ACCEPT"));
}

/* The chain's own rules in their order, then its policy: do they drop what comes to them before they let ours pass? */
static bool would_drop(const struct firewall_config *c, char *saved, const char *chain)
{
	const size_t len = strlen(chain);
	const char *table = "";
	bool policy = false;

	for (char *line = next_line(&saved); line; line = next_line(&saved)) {
		if (*line == '*')
			table = line;
		if (strcmp(table, "*filter") != 0)
			continue;
		if (*line == ':' && begins(line + 1, chain))
			policy = begins(line + 1 + len, " DROP");
		if (!begins(line, "-A ") || !begins(line + 3, chain) || line[3 + len] != ' ')
			continue;
		if (lets_ours_pass(c, line + 4 + len))
			return false;
		if (begins(line + 4 + len, "-j DROP") || begins(line + 4 + len, "-j REJECT"))
			return true;
	}
	return policy;
}

static void iptables_obstacles(struct firewall *f, enum firewall_way way, char *buf, size_t max)
{
	const char *const chain = way == FIREWALL_INPUT ? "ip filter INPUT" : "ip filter FORWARD";
	CLEANUP(free_text) char *saved = NULL;

	if (max)
		buf[0] = '\0';
	if (!is_accepted(&f->config, chain) && save(f, SAVE_FILTER, &saved) == 0 && would_drop(&f->config, saved, strrchr(chain, ' ') + 1))
		snprintf(buf, max, "'%s'", chain);
}

/* --- opening and closing --- */

static void iptables_close(struct firewall *f)
{
	if (!f)
		return;
	sweep(f);
	free(f->mappings);
	free(f);
}

/* What would mean something else in iptables' words than it does here. */
static int check(struct firewall *f)
{
	const size_t len = strlen(f->wan);

	if (len > 0 && f->wan[len - 1] == '+') {
		snprintf(f->error, sizeof(f->error), "--wan '%s': iptables takes a name that ends in + for every interface that begins so",
			f->wan);
		return -EINVAL;
	}
	for (size_t i = 0; i < f->config.accept_chain_count; i++) {
		const char *chain = f->config.accept_chains[i];
		const char *name = strrchr(chain, ' ') + 1;

		if (begins(chain, "ip filter ") && *name != '-' && strlen(name) <= CHAIN_MAX)
			continue;
		snprintf(f->error, sizeof(f->error), "--accept-chain '%s': with iptables it is 'ip filter CHAIN', a chain of iptables' table filter",
			chain);
		return -EINVAL;
	}
	return 0;
}

/* Everything, where nothing of ours is. */
static int build(struct firewall *f)
{
	struct text t;
	const int err = text_begin(&t);

	if (err < 0)
		return err;
	fputs("*nat\n", t.out);
	write_anew(t.out, f, NULL);
	write_jumps(t.out, f, "-I");
	fputs("COMMIT\n", t.out);
	write_accepts(t.out, f, "-I");
	return text_end(f, &t);
}

static int open_with(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max, size_t commands)
{
	struct firewall *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->config = *config;
	snprintf(f->wan, sizeof(f->wan), "%s", config->wan);
	f->commands = commands;
	err = check(f);
	if (err == 0)
		err = sweep(f);
	if (err == 0)
		err = build(f);
	if (err == 0) {
		*out = f;
		return 0;
	}
	snprintf(why, why_max, "%s", f->error);
	if (err == -EINVAL)
		free(f); /* nothing was touched */
	else
		iptables_close(f);
	return err;
}

static int open_any(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max)
{
	return open_with(out, config, why, why_max, 0);
}

static int open_nft(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max)
{
	return open_with(out, config, why, why_max, COMMANDS_EACH);
}

static int open_legacy(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max)
{
	return open_with(out, config, why, why_max, 2 * COMMANDS_EACH);
}

/* --- changes --- */

/* Where the mapping of that relay port is; count when there is none. */
static size_t find(const struct firewall *f, const struct firewall_mapping *m)
{
	size_t i = 0;

	while (i < f->count && (f->mappings[i].protocol != m->protocol || f->mappings[i].relay_port != m->relay_port))
		i++;
	return i;
}

static int make_room(struct firewall *f, size_t more)
{
	const size_t room = 2 * (f->count + more);
	struct firewall_mapping *larger;

	if (f->count + more <= f->room)
		return 0;
	larger = realloc(f->mappings, room * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	f->mappings = larger;
	f->room = room;
	return 0;
}

/* A change of the table nat begins with the question whether the jumps stand. */
static int nat_begin(struct firewall *f, struct text *t)
{
	const int err = text_begin(t);

	if (err < 0)
		return err;
	fputs("*nat\n", t->out);
	write_jumps(t->out, f, "-C");
	return 0;
}

static int nat_end(struct firewall *f, struct text *t)
{
	int err;

	fputs("COMMIT\n", t->out);
	err = text_end(f, t);
	f->doubtful = err < 0;
	return err;
}

/* Our chains anew, of the blocks those that this mapping is in; all of them where something was found amiss before. */
static int change(struct firewall *f, const struct firewall_mapping *touched)
{
	struct text t;
	const int err = nat_begin(f, &t);

	if (err < 0)
		return err;
	write_anew(t.out, f, f->doubtful ? NULL : touched);
	return nat_end(f, &t);
}

/* Does this mapping stand, and what leads to it? */
static bool stands(struct firewall *f, const struct firewall_mapping *m)
{
	struct text t;

	if (f->doubtful || nat_begin(f, &t) < 0)
		return false;
	write_question(t.out, f, m);
	return nat_end(f, &t) == 0;
}

/* Of two mappings with one outer endpoint the later has it. Whether another had it. */
static bool take_outer(struct firewall *f, const struct firewall_mapping *m)
{
	bool taken = false;

	for (size_t i = 0; i < f->count && has(m, TURN); i++) {
		struct firewall_mapping *other = &f->mappings[i];

		if (other->protocol != m->protocol || other->relay_port == m->relay_port || !endpoint_equal(&other->outer, &m->outer))
			continue;
		other->outer = (struct endpoint){ 0 };
		taken = true;
	}
	return taken;
}

/*
 * A new mapping takes no rule away: with iptables-nft that costs ten times as much, since the kernel waits for who
 * may still read it.
 */
static int append(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	const size_t before = f->count;
	struct blocks there;
	struct text t;
	int err;

	find_blocks(&there, f, f->count);
	for (size_t i = 0; i < count; i++) {
		f->doubtful |= take_outer(f, &m[i]);
		f->mappings[f->count++] = m[i];
	}
	err = f->doubtful ? change(f, NULL) : nat_begin(f, &t);
	if (!f->doubtful && err == 0) {
		for (size_t i = 0; i < count; i++)
			for (enum way way = IN; way < WAYS; way++)
				write_added(t.out, &m[i], way, &there);
		err = nat_end(f, &t);
	}
	if (err < 0)
		f->count = before;
	return err;
}

static int iptables_remove(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	struct firewall_mapping gone;
	size_t known = 0;

	for (size_t i = 0; i < count; i++) {
		const size_t at = find(f, &m[i]);

		if (at == f->count)
			continue;
		gone = f->mappings[at];
		f->mappings[at] = f->mappings[--f->count];
		known++;
	}
	return known == 0 ? 0 : change(f, known == 1 ? &gone : NULL);
}

/* Hairpin as it is to be: new endpoints are added, any other change writes that way anew. */
static int iptables_reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	bool anew = false;
	struct blocks there;
	struct text t;
	int err;

	find_blocks(&there, f, f->count);
	for (size_t i = 0; i < count; i++) {
		const size_t at = find(f, changes[i].mapping);

		if (at == f->count)
			continue;
		anew |= take_outer(f, changes[i].mapping) || has(&f->mappings[at], TURN);
		f->mappings[at].outer = changes[i].mapping->outer;
	}
	if (f->doubtful)
		return change(f, NULL);
	err = nat_begin(f, &t);
	if (err < 0)
		return err;
	if (anew) {
		for (size_t i = 0; i < sizeof(trunk) / sizeof(trunk[0]); i += WAYS)
			write_chain(t.out, trunk[i + TURN]);
		write_turn(t.out, f, "-A");
		write_way(t.out, f, TURN, NULL);
		write_emptied(t.out, f, &there);
	}
	for (size_t i = 0; i < count && !anew; i++)
		if (find(f, changes[i].mapping) < f->count)
			write_added(t.out, changes[i].mapping, TURN, &there);
	return nat_end(f, &t);
}

static int add_one(struct firewall *f, const struct firewall_mapping *m)
{
	const size_t at = find(f, m);
	int err = make_room(f, 1);

	if (err < 0 || at == f->count)
		return err < 0 ? err : append(f, m, 1);
	if (f->mappings[at].client_ip != m->client_ip || f->mappings[at].internal_port != m->internal_port) {
		snprintf(f->error, sizeof(f->error), "relay port %u has another mapping", m->relay_port);
		return -EEXIST;
	}
	if (!endpoint_equal(&f->mappings[at].outer, &m->outer))
		err = iptables_reach(f, &(struct firewall_reach){ .mapping = m }, 1);
	return err < 0 || stands(f, m) ? err : change(f, m);
}

/* After a rebuild all are new; else they are few, and each for itself. */
static int iptables_add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	size_t known = 0;
	int err = make_room(f, count);

	for (size_t i = 0; i < count; i++)
		known += find(f, &m[i]) < f->count;
	if (err == 0 && known == 0)
		return append(f, m, count);
	for (size_t i = 0; i < count && err == 0; i++)
		err = add_one(f, &m[i]);
	return err;
}

/* Only asks, so that the question is no change of the ruleset itself. */
static bool accept_one(struct firewall *f, const char *chain, const char *verb)
{
	struct text t;

	if (text_begin(&t) < 0)
		return false;
	fputs("*filter\n", t.out);
	write_accept(t.out, f, chain, verb);
	fputs("COMMIT\n", t.out);
	return text_end(f, &t) == 0;
}

static int iptables_mend(struct firewall *f, const struct firewall_mapping *sample)
{
	int health = FIREWALL_WELL;

	if (!stands(f, sample))
		return FIREWALL_LOST;
	for (size_t i = 0; i < f->config.accept_chain_count; i++) {
		if (accept_one(f, f->config.accept_chains[i], "-C"))
			continue;
		if (!accept_one(f, f->config.accept_chains[i], "-I"))
			return -EIO;
		health = FIREWALL_MENDED;
	}
	return health;
}

static int iptables_rebuild(struct firewall *f, const char *wan)
{
	int err;

	snprintf(f->wan, sizeof(f->wan), "%s", wan);
	f->count = 0;
	f->doubtful = false;
	err = check(f);
	if (err == 0)
		err = sweep(f);
	return err < 0 ? err : build(f);
}

static int iptables_exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	const size_t which = protocol == LEASE_TCP;
	struct text t;
	int err;

	f->server_count[which] = count < FIREWALL_SERVERS ? count : FIREWALL_SERVERS;
	if (count)
		memcpy(f->servers[which], servers, f->server_count[which] * sizeof(*servers));
	if (f->doubtful)
		return change(f, NULL);
	err = nat_begin(f, &t);
	if (err < 0)
		return err;
	for (enum way way = IN; way <= OUT; way++)
		write_chain(t.out, trunk[way]);
	write_trunk(t.out, f, "-A");
	return nat_end(f, &t);
}

static const char *iptables_error(const struct firewall *f)
{
	return f->error;
}

#define BACKEND(called, legacy, opens)                                                                                              \
	{                                                                                                                   \
		.name = called, .unheard = legacy, .open = opens, .add = iptables_add, .remove = iptables_remove, .reach = iptables_reach, .mend = iptables_mend, .rebuild = iptables_rebuild, \
		.exempt = iptables_exempt,                                                                                  \
		.obstacles = iptables_obstacles, .close = iptables_close, .error = iptables_error                          \
	}

const struct firewall_backend firewall_iptables = BACKEND("iptables", true, open_any);
const struct firewall_backend firewall_iptables_nft = BACKEND("iptables-nft", false, open_nft);
const struct firewall_backend firewall_iptables_legacy = BACKEND("iptables-legacy", true, open_legacy);
