/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/nat.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lab/random.h"
#include "lab/table.h"

enum { RULE_MAX = 16, TCP_LINGER_MS = 4000 };

enum slot { SLOT_UDP, SLOT_TCP, SLOT_ICMP, SLOT_COUNT }; /* what is allotted for each protocol alone */

struct rule {
	uint8_t proto;
	struct endpoint to;
};

struct nat {
	struct config config;
	struct table *table;
	uint64_t port_random, line_random;
	uint32_t next_port[SLOT_COUNT]; /* increment and decrement; 0: none given yet */
	uint32_t next_outer;
	struct rule rules[RULE_MAX];
	size_t rule_count;
	uint64_t received[2], sent[2], hairpinned, answered, drops[REASON_COUNT];
	uint8_t answer[PACKET_ANSWER_MAX];
};

static const struct endpoint no_endpoint;

static void seed(struct nat *n)
{
	n->port_random = n->config.seed;
	n->line_random = (uint64_t)n->config.seed << 32 | 1;
}

int nat_new(struct nat **out, const struct config *config)
{
	struct nat *n = calloc(1, sizeof(*n));

	if (!n || table_new(&n->table) < 0) {
		free(n);
		return -ENOMEM;
	}
	n->config = *config;
	seed(n);
	*out = n;
	return 0;
}

void nat_free(struct nat *n)
{
	if (n)
		table_free(n->table);
	free(n);
}

/* --- what the configuration says --- */

static bool translates(const struct nat *n, const struct packet *p)
{
	return n->config.mode == MODE_NAT && p->src.family == ENDPOINT_IPV4;
}

static uint32_t behaviour(const struct packet *p, uint32_t general, uint32_t tcp)
{
	return p->proto == IPPROTO_TCP && tcp != BEHAVIOUR_SAME ? tcp : general;
}

/* The remotes that share one mapping with this one. */
static struct endpoint scope_of(const struct nat *n, const struct packet *p, const struct endpoint *remote)
{
	const uint32_t mapping = behaviour(p, n->config.mapping, n->config.tcp_mapping);
	struct endpoint scope = *remote;

	if (!translates(n, p) || mapping == BEHAVIOUR_EI)
		return no_endpoint;
	if (mapping == BEHAVIOUR_AD)
		scope.port = 0;
	return scope;
}

static bool is_outer(const struct nat *n, const struct endpoint *e)
{
	for (uint32_t i = 0; i < n->config.outer_count; i++)
		if (endpoint_same_ip(&n->config.outer[i], e))
			return true;
	return false;
}

static bool is_unicast(const struct endpoint *e)
{
	if (e->family == ENDPOINT_IPV4)
		return e->ip[0] != 0 && e->ip[0] < 224;
	return e->ip[0] != 0xff && !(e->ip[0] == 0xfe && (e->ip[1] & 0xc0) == 0x80);
}

static bool rule_drops(const struct nat *n, const struct packet *p)
{
	for (size_t i = 0; i < n->rule_count; i++) {
		const struct rule *r = &n->rules[i];

		if (r->proto == p->proto && endpoint_same_ip(&r->to, &p->dst) &&
			(r->to.port == 0 || r->to.port == p->dst.port))
			return true;
	}
	return false;
}

/* --- outer endpoints --- */

static enum slot slot_of(uint8_t proto)
{
	return proto == IPPROTO_UDP ? SLOT_UDP : proto == IPPROTO_TCP ? SLOT_TCP : SLOT_ICMP;
}

static struct endpoint choose_outer(struct nat *n, const struct endpoint *inner)
{
	/* Paired: by the address alone, so that it lasts longer than any mapping. */
	const uint32_t i = n->config.pooling == POOLING_PAIRED ? endpoint_ip32(inner) : n->next_outer++;

	return n->config.outer[i % n->config.outer_count];
}

/* How many ports a counter leaves out before the next mapping. */
static uint32_t gap(struct nat *n)
{
	const uint32_t others = n->config.others ? random_next(&n->port_random) % (n->config.others + 1) : 0;

	return n->config.port_step - 1 + others;
}

/* The port so many further on, in the order and the range of this NAT. */
static uint32_t port_after(const struct nat *n, uint32_t port, uint32_t count)
{
	const uint32_t low = n->config.port_low, size = n->config.port_high - low + 1;

	count %= size;
	return low + (port - low + (n->config.ports == PORTS_DECREMENT ? size - count : count)) % size;
}

static bool in_range(const struct nat *n, uint32_t port)
{
	return port >= n->config.port_low && port <= n->config.port_high;
}

static uint32_t first_port(struct nat *n, enum slot slot, const struct endpoint *inner)
{
	const uint32_t low = n->config.port_low, high = n->config.port_high, next = n->next_port[slot];

	if (n->config.ports == PORTS_RANDOM)
		return low + random_next(&n->port_random) % (high - low + 1);
	if (n->config.ports == PORTS_PRESERVE)
		return in_range(n, inner->port) ? inner->port : low;
	if (in_range(n, next))
		return port_after(n, next, gap(n));
	if (in_range(n, n->config.port_first))
		return n->config.port_first;
	return n->config.ports == PORTS_DECREMENT ? high : low;
}

static enum reason allot(struct nat *n, struct endpoint *out, const struct packet *p, uint64_t now_ms)
{
	const enum slot slot = slot_of(p->proto);
	struct endpoint outer = choose_outer(n, &p->src);
	uint32_t port = first_port(n, slot, &p->src);

	for (uint32_t left = n->config.port_high - n->config.port_low + 1; left; left--) {
		outer.port = (uint16_t)port;
		port = port_after(n, port, 1);
		if (table_find_outer(n->table, p->proto, &outer, now_ms))
			continue;
		n->next_port[slot] = port;
		*out = outer;
		return REASON_NONE;
	}
	return REASON_NO_PORT;
}

static enum reason obtain_mapping(struct nat *n, struct mapping **out, const struct packet *p, uint64_t now_ms)
{
	const struct endpoint scope = scope_of(n, p, &p->dst);
	struct endpoint outer = p->src;

	*out = table_find_inner(n->table, p->proto, &p->src, &scope, now_ms);
	if (*out)
		return REASON_NONE;
	if (translates(n, p)) {
		const enum reason reason = allot(n, &outer, p, now_ms);

		if (reason != REASON_NONE)
			return reason;
	}
	*out = table_add_mapping(n->table, p->proto, &p->src, &scope, &outer);
	return *out ? REASON_NONE : REASON_TABLE_FULL;
}

/* --- sessions --- */

/* What a TCP session that is over leaves behind: late segments pass, nothing new begins. */
static bool is_closing(const struct session *s)
{
	const int both = SEEN_FIN_IN | SEEN_FIN_OUT;

	return s->seen & SEEN_RST || (s->seen & both) == both;
}

static bool is_opening(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

static uint64_t tcp_lifetime_ms(const struct nat *n, const struct session *s)
{
	const int open = SEEN_SYN_IN | SEEN_SYN_OUT;

	if (is_closing(s))
		return TCP_LINGER_MS;
	if ((s->seen & open) == open && !(s->seen & (SEEN_FIN_IN | SEEN_FIN_OUT)))
		return n->config.tcp_timeout_s * 1000ull;
	return n->config.tcp_transitory_s * 1000ull;
}

static void tcp_track(struct nat *n, struct session *s, const struct packet *p, bool outbound, uint64_t now_ms)
{
	if (is_closing(s) && is_opening(p)) { /* the same endpoints once more */
		s->seen = 0;
		s->from_inside = outbound;
	}
	s->last_ms = s->mapping->last_ms = now_ms;
	if (is_closing(s))
		return;
	if (p->tcp_flags & TCP_SYN)
		s->seen |= outbound ? SEEN_SYN_OUT : SEEN_SYN_IN;
	if (p->tcp_flags & TCP_FIN)
		s->seen |= outbound ? SEEN_FIN_OUT : SEEN_FIN_IN;
	if (p->tcp_flags & TCP_RST)
		s->seen |= SEEN_RST;
	s->expires_ms = now_ms + tcp_lifetime_ms(n, s);
}

/* UDP and echo: outbound packets keep session and mapping, inbound ones only where that is asked for. */
static void touch(struct nat *n, struct mapping *m, struct session *s, bool outbound, uint64_t now_ms)
{
	const uint64_t lifetime_s = m->proto == IPPROTO_UDP ? n->config.udp_timeout_s : n->config.icmp_timeout_s;

	m->last_ms = now_ms;
	if (s)
		s->last_ms = now_ms;
	if (!outbound && !(m->proto == IPPROTO_UDP && n->config.inbound_refresh))
		return;
	m->expires_ms = now_ms + lifetime_s * 1000;
	if (s)
		s->expires_ms = m->expires_ms;
}

static struct session *begin_session(struct nat *n, struct mapping *m, const struct endpoint *remote, bool outbound)
{
	struct session *s = table_add_session(n->table, m, remote);

	if (s)
		s->from_inside = outbound;
	return s;
}

/* --- ICMP errors: translated by the packet they quote --- */

static enum reason error_out(struct nat *n, struct packet *p, uint64_t now_ms)
{
	struct packet quote;
	const enum reason reason = packet_parse_quote(&quote, p);

	if (reason != REASON_NONE)
		return reason;
	/* The quoted packet was inbound: its destination is the inner endpoint. */
	const struct session *s = table_find_session(n->table, quote.proto, &quote.dst, &quote.src, now_ms);
	const struct endpoint scope = scope_of(n, &quote, &quote.src);
	const struct mapping *m = s ? s->mapping : table_find_inner(n->table, quote.proto, &quote.dst, &scope, now_ms);
	if (!m)
		return REASON_NO_SESSION;
	if (endpoint_equal(&m->inner, &m->outer))
		return REASON_NONE;
	struct endpoint from = m->outer;
	from.port = 0;
	packet_quote_set_dst(p, &quote, &m->outer);
	packet_set_src(p, &from);
	return REASON_NONE;
}

static enum reason error_in(struct nat *n, struct packet *p, uint64_t now_ms)
{
	struct packet quote;
	const enum reason reason = packet_parse_quote(&quote, p);

	if (reason != REASON_NONE)
		return reason;
	const struct mapping *m = table_find_outer(n->table, quote.proto, &quote.src, now_ms);
	if (!m || !endpoint_same_ip(&p->dst, &quote.src))
		return REASON_NO_SESSION;
	const struct session *s = table_find_session(n->table, quote.proto, &m->inner, &quote.dst, now_ms);
	if (!s || s->mapping != m)
		return REASON_NO_SESSION;
	struct endpoint to = m->inner;
	to.port = 0;
	packet_quote_set_src(p, &quote, &m->inner);
	packet_set_dst(p, &to);
	return REASON_NONE;
}

/* --- the two directions --- */

static bool is_live(const struct session *s)
{
	return !is_closing(s);
}

static bool is_live_contact(const struct session *s)
{
	return s->from_inside && !is_closing(s);
}

static bool has_live_session(const struct mapping *m)
{
	const struct session *s = NULL;

	while ((s = mapping_next_session(m, s)))
		if (is_live(s))
			return true;
	return false;
}

/* Filtering: may the sender of p reach mapping m? exact: m's session with that very sender, if there is one. */
static bool admits(
	struct nat *n, struct mapping *m, const struct packet *p, const struct session *exact, uint64_t now_ms)
{
	if (p->kind == PACKET_ECHO_REPLY)
		return exact != NULL;
	switch (behaviour(p, n->config.filtering, n->config.tcp_filtering)) {
	case BEHAVIOUR_EI:
		return p->kind != PACKET_TCP || has_live_session(m);
	case BEHAVIOUR_AD:
		return table_find_contact(n->table, m, &p->src, now_ms, is_live_contact) != NULL;
	default:
		return exact && is_live_contact(exact);
	}
}

static enum reason inbound_tcp(
	struct nat *n, struct mapping *m, struct session *s, const struct packet *p, uint64_t now_ms)
{
	const bool begins = is_opening(p) && (!s || is_closing(s));

	if (s && s->mapping != m) /* the inner host has this very connection by way of another mapping */
		return REASON_FILTERED;
	if (!s && !begins)
		return REASON_NO_SESSION;
	if (begins && !admits(n, m, p, s, now_ms))
		return REASON_FILTERED;
	if (!s)
		s = begin_session(n, m, &p->src, false);
	if (!s)
		return REASON_TABLE_FULL;
	tcp_track(n, s, p, false, now_ms);
	return REASON_NONE;
}

static enum reason inbound(struct nat *n, struct packet *p, uint64_t now_ms)
{
	enum reason reason = REASON_NONE;

	if (translates(n, p) && !is_outer(n, &p->dst))
		return REASON_NOT_OURS;
	if (p->kind == PACKET_ICMP_ERROR)
		return error_in(n, p, now_ms);
	if (p->kind == PACKET_ECHO_REQUEST)
		return REASON_NO_MAPPING;
	struct mapping *m = table_find_outer(n->table, p->proto, &p->dst, now_ms);
	if (!m)
		return REASON_NO_MAPPING;
	struct session *s = table_find_session(n->table, p->proto, &m->inner, &p->src, now_ms);
	if (p->kind != PACKET_TCP && s && s->mapping != m)
		s = NULL; /* another mapping's contact does not open this one */
	if (p->kind == PACKET_TCP)
		reason = inbound_tcp(n, m, s, p, now_ms);
	else if (!admits(n, m, p, s, now_ms))
		reason = REASON_FILTERED;
	else
		touch(n, m, s, false, now_ms);
	if (reason != REASON_NONE)
		return reason;
	if (n->config.alg && p->kind == PACKET_UDP && translates(n, p))
		packet_replace_in_payload(p, &m->outer, &m->inner);
	packet_set_dst(p, &m->inner);
	return REASON_NONE;
}

static enum reason outbound_session(struct nat *n, struct session **out, const struct packet *p, uint64_t now_ms)
{
	struct session *s = table_find_session(n->table, p->proto, &p->src, &p->dst, now_ms);
	struct mapping *m;

	if (!s) {
		if (p->kind == PACKET_TCP && !is_opening(p))
			return REASON_NO_SESSION;
		const enum reason reason = obtain_mapping(n, &m, p, now_ms);
		if (reason != REASON_NONE)
			return reason;
		s = begin_session(n, m, &p->dst, true);
	}
	*out = s;
	return s ? REASON_NONE : REASON_TABLE_FULL;
}

static enum reason outbound(struct nat *n, struct packet *p, uint64_t now_ms)
{
	struct session *s;

	if (p->kind == PACKET_ICMP_ERROR)
		return error_out(n, p, now_ms);
	if (p->kind == PACKET_ECHO_REPLY)
		return REASON_NO_SESSION;
	const enum reason reason = outbound_session(n, &s, p, now_ms);
	if (reason != REASON_NONE)
		return reason;
	if (p->kind == PACKET_TCP)
		tcp_track(n, s, p, true, now_ms);
	else
		touch(n, s->mapping, s, true, now_ms);
	packet_set_src(p, &s->mapping->outer);
	return REASON_NONE;
}

/* From inside to outside, or by way of an outer address back inside. */
static enum reason from_inside(struct nat *n, struct packet *p, enum side *to, uint64_t now_ms)
{
	const bool back = translates(n, p) && is_outer(n, &p->dst);

	if (rule_drops(n, p))
		return REASON_RULE;
	if (back && !n->config.hairpin)
		return REASON_HAIRPIN;
	enum reason reason = outbound(n, p, now_ms);
	if (!back || reason != REASON_NONE)
		return reason;
	reason = inbound(n, p, now_ms);
	if (reason == REASON_NONE)
		n->hairpinned++;
	*to = SIDE_INSIDE;
	return reason;
}

static enum reason judge(struct nat *n, struct packet *p, enum side from, enum side *to, uint64_t now_ms)
{
	if (!is_unicast(&p->src) || !is_unicast(&p->dst))
		return REASON_NOT_OURS;
	if (p->kind == PACKET_UDP && n->config.block_udp)
		return REASON_BLOCKED;
	*to = from == SIDE_INSIDE ? SIDE_OUTSIDE : SIDE_INSIDE;
	return from == SIDE_INSIDE ? from_inside(n, p, to, now_ms) : inbound(n, p, now_ms);
}

/* What the sender of a packet dropped is told, if anything; returns the length. */
static size_t make_answer(struct nat *n, enum side from, const struct packet *p, enum reason reason)
{
	const bool not_let_in = reason == REASON_NO_MAPPING || reason == REASON_FILTERED;

	if (from == SIDE_INSIDE && p->kind == PACKET_TCP && reason == REASON_NO_SESSION &&
		n->config.tcp_unknown == UNKNOWN_RST)
		return packet_make_rst(n->answer, p);
	if (from == SIDE_OUTSIDE && p->kind == PACKET_UDP && not_let_in && n->config.icmp_unreachable)
		return packet_make_unreachable(n->answer, p, reason == REASON_NO_MAPPING);
	return 0;
}

static struct verdict dropped(struct nat *n, enum side from, const struct packet *p, enum reason reason)
{
	struct verdict v = { .reason = reason, .to = from, .bytes = n->answer };

	n->drops[reason]++;
	if (p)
		v.len = make_answer(n, from, p, reason);
	if (v.len)
		n->answered++;
	return v;
}

/* Does it happen to this packet? hundredths: of a percent. */
static bool happens(struct nat *n, uint32_t hundredths)
{
	return hundredths && random_next(&n->line_random) % 10000 < hundredths;
}

static struct verdict onto_the_line(struct nat *n, struct verdict v)
{
	v.copies = v.len == 0 ? 0 : happens(n, n->config.duplicate) ? 2 : 1;
	for (unsigned i = 0; i < v.copies; i++) {
		v.delay_ms[i] = n->config.delay_ms;
		if (n->config.jitter_ms)
			v.delay_ms[i] += random_next(&n->line_random) % (n->config.jitter_ms + 1);
	}
	return v;
}

static struct verdict handle(struct nat *n, enum side from, uint8_t *bytes, size_t len, uint64_t now_ms)
{
	struct packet p;
	enum side to = from;

	n->received[from]++;
	if (happens(n, n->config.loss))
		return dropped(n, from, NULL, REASON_LOSS);
	enum reason reason = packet_parse(&p, bytes, len);
	if (reason != REASON_NONE)
		return dropped(n, from, NULL, reason);
	reason = judge(n, &p, from, &to, now_ms);
	if (reason != REASON_NONE)
		return dropped(n, from, &p, reason);
	n->sent[to]++;
	return (struct verdict){ .to = to, .bytes = p.bytes, .len = p.len };
}

struct verdict nat_handle(struct nat *n, enum side from, uint8_t *bytes, size_t len, uint64_t now_ms)
{
	return onto_the_line(n, handle(n, from, bytes, len, now_ms));
}

/* --- from outside the data path --- */

void nat_count(struct nat *n, enum reason reason)
{
	n->drops[reason]++;
}

int nat_set(struct nat *n, const char *name, const char *value)
{
	const int r = config_set(&n->config, name, value, true);

	if (r == 0 && strcmp(name, "seed") == 0)
		seed(n);
	return r;
}

int nat_renumber(struct nat *n, char *const *addresses, size_t count)
{
	const int r = config_set_outer(&n->config, addresses, count);

	if (r == 0)
		table_clear(n->table);
	return r;
}

void nat_flush(struct nat *n)
{
	table_clear(n->table);
}

int nat_drop(struct nat *n, uint8_t proto, const struct endpoint *to)
{
	if (n->rule_count == RULE_MAX)
		return -ENOSPC;
	n->rules[n->rule_count++] = (struct rule){ .proto = proto, .to = *to };
	return 0;
}

int nat_undrop(struct nat *n, uint8_t proto, const struct endpoint *to)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->rule_count; i++) {
		const struct rule *r = &n->rules[i];

		if (to && (r->proto != proto || !endpoint_equal(&r->to, to)))
			n->rules[kept++] = *r;
	}
	const bool found = kept < n->rule_count;
	n->rule_count = kept;
	return found || !to ? 0 : -ENOENT;
}

bool nat_expire(struct nat *n, uint64_t now_ms)
{
	table_expire(n->table, now_ms);
	return table_mapping_count(n->table) > 0;
}

/* --- the dump --- */

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_UDP ? "udp" : proto == IPPROTO_TCP ? "tcp" : "icmp";
}

static void dump_endpoint(FILE *out, const char *key, const struct endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	if (e->family == ENDPOINT_NONE)
		fprintf(out, "\"%s\":null", key);
	else
		fprintf(out, "\"%s\":\"%s\"", key, endpoint_text(e, text));
}

static const char *session_state(const struct session *s)
{
	const int open = SEEN_SYN_IN | SEEN_SYN_OUT;

	if (s->mapping->proto != IPPROTO_TCP)
		return "open";
	if (is_closing(s))
		return "closing";
	if ((s->seen & open) != open)
		return "opening";
	return s->seen & (SEEN_FIN_IN | SEEN_FIN_OUT) ? "half-closed" : "established";
}

static void dump_session(FILE *out, const struct session *s, uint64_t now_ms)
{
	fputc('{', out);
	dump_endpoint(out, "remote", &s->remote);
	fprintf(out, ",\"idle\":%.3f,\"state\":\"%s\",\"from\":\"%s\"}", (double)(now_ms - s->last_ms) / 1000,
		session_state(s), s->from_inside ? "inside" : "outside");
}

static void dump_mapping(FILE *out, const struct mapping *m, uint64_t now_ms)
{
	const struct session *s = NULL;
	const char *comma = "";

	fprintf(out, "{\"proto\":\"%s\",", proto_name(m->proto));
	dump_endpoint(out, "inner", &m->inner);
	fputc(',', out);
	dump_endpoint(out, "outer", &m->outer);
	fputc(',', out);
	dump_endpoint(out, "scope", &m->scope);
	fprintf(out, ",\"idle\":%.3f,\"sessions\":[", (double)(now_ms - m->last_ms) / 1000);
	while ((s = mapping_next_session(m, s))) {
		fputs(comma, out);
		comma = ",";
		dump_session(out, s, now_ms);
	}
	fputs("]}", out);
}

static void dump_counters(FILE *out, const struct nat *n)
{
	fprintf(out,
		"\"counters\":{\"from-inside\":%ju,\"from-outside\":%ju,\"to-inside\":%ju,\"to-outside\":%ju,"
		"\"hairpinned\":%ju,\"answered\":%ju,\"drops\":{",
		(uintmax_t)n->received[SIDE_INSIDE], (uintmax_t)n->received[SIDE_OUTSIDE],
		(uintmax_t)n->sent[SIDE_INSIDE], (uintmax_t)n->sent[SIDE_OUTSIDE], (uintmax_t)n->hairpinned,
		(uintmax_t)n->answered);
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++)
		fprintf(out, "%s\"%s\":%ju", i > 1 ? "," : "", reason_name((enum reason)i), (uintmax_t)n->drops[i]);
	fputs("}}", out);
}

static void dump_rules(FILE *out, const struct nat *n)
{
	char text[ENDPOINT_TEXT_MAX];

	fputs("\"dropping\":[", out);
	for (size_t i = 0; i < n->rule_count; i++)
		fprintf(out, "%s\"%s to %s\"", i ? "," : "", proto_name(n->rules[i].proto),
			endpoint_text(&n->rules[i].to, text));
	fputc(']', out);
}

void nat_dump(struct nat *n, FILE *out, uint64_t now_ms)
{
	char text[ENDPOINT_TEXT_MAX];
	const struct mapping *m = NULL;
	const char *comma = "";

	table_expire(n->table, now_ms);
	fputs("{\"config\":{", out);
	config_json(out, &n->config);
	fputs("},\"outer\":[", out);
	for (uint32_t i = 0; i < n->config.outer_count; i++)
		fprintf(out, "%s\"%s\"", i ? "," : "", endpoint_ip_text(&n->config.outer[i], text));
	fputs("],", out);
	dump_counters(out, n);
	fputc(',', out);
	dump_rules(out, n);
	fputs(",\"mappings\":[", out);
	while ((m = table_next_mapping(n->table, m))) {
		fputs(comma, out);
		comma = ",";
		dump_mapping(out, m, now_ms);
	}
	fputs("]}\n", out);
}
