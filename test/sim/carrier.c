/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/carrier.h"

#include <stdlib.h>
#include <string.h>

#include "test/sim/sim.h"

#define PACKETS_MAX 8192
#define CLOSED_MS   10000 /* a mapping whose last stream has ended */
#define RESEND_MS   200	  /* doubling … */
#define RESENDS_MAX 8	  /* … so often */
#define WEB	    80
#define SECOND	    3479 /* a second port */

struct carrier carrier;

struct packet {
	struct loop_event event;
	struct packet *next; /* free */
	struct endpoint local, remote;
	uint32_t stream; /* 0: UDP */
	enum carrier_kind kind;
	unsigned resends;
	size_t len;
	uint8_t bytes[400];
};

/* By protocol and local port. */
static struct binding {
	uint32_t local_ip;
	uint16_t outer_port;
	uint64_t serial; /* 0: never was */
	uint64_t used_ms;
	unsigned streams;
} bindings[2][65536];
static uint16_t inner[2][65536]; /* by protocol and outer port: the local one, if its binding says the same */
static uint64_t serial, flushed; /* bindings up to this one are gone */

/* --- the NAT --- */

static bool is_alive(const struct binding *b, bool tcp)
{
	const uint64_t idle_ms = loop_true_ms() - b->used_ms;

	return b->serial > flushed && b->local_ip == carrier.wan_ip &&
		idle_ms <= (!tcp ? carrier.udp_timeout_ms : b->streams ? carrier.tcp_timeout_ms : CLOSED_MS);
}

static struct binding *binding_of(bool tcp, uint16_t outer_port)
{
	struct binding *b = &bindings[tcp][inner[tcp][outer_port]];

	return inner[tcp][outer_port] && b->outer_port == outer_port && is_alive(b, tcp) ? b : NULL;
}

static void bind_anew(bool tcp, uint16_t local_port)
{
	struct binding *b = &bindings[tcp][local_port];
	uint16_t port;

	do
		port = (uint16_t)(1024 + sim_below(64512));
	while (binding_of(tcp, port));
	*b = (struct binding){ .local_ip = carrier.wan_ip, .outer_port = port, .serial = ++serial, .used_ms = loop_true_ms() };
	inner[tcp][port] = local_port;
}

static struct binding *nat_out(bool tcp, const struct endpoint *local)
{
	struct binding *b = &bindings[tcp][local->port];

	if (!is_alive(b, tcp))
		bind_anew(tcp, local->port);
	b->used_ms = loop_true_ms();
	return b;
}

void carrier_flush(void)
{
	flushed = serial;
}

void carrier_change_port(enum lease_protocol protocol, uint16_t local_port)
{
	const bool tcp = protocol == LEASE_TCP;

	if (is_alive(&bindings[tcp][local_port], tcp))
		bind_anew(tcp, local_port);
}

struct endpoint carrier_outer(enum lease_protocol protocol, uint16_t local_port)
{
	const bool tcp = protocol == LEASE_TCP;
	const struct binding *b = &bindings[tcp][local_port];

	if (carrier.wan_ip && !carrier.nat)
		return endpoint_ipv4(carrier.wan_ip, local_port);
	return is_alive(b, tcp) ? endpoint_ipv4(carrier.public_ip, b->outer_port) : (struct endpoint){ 0 };
}

bool carrier_stranger(enum lease_protocol protocol, const struct endpoint *outer, struct endpoint *local)
{
	const bool tcp = protocol == LEASE_TCP;

	if (!carrier.nat) {
		*local = *outer;
		return carrier.wan_ip && endpoint_ip32(outer) == carrier.wan_ip;
	}
	if (endpoint_ip32(outer) != carrier.public_ip || !binding_of(tcp, outer->port))
		return false;
	*local = endpoint_ipv4(carrier.wan_ip, inner[tcp][outer->port]);
	return true;
}

/* --- packets on their way --- */

static struct packet *spare_packets;

static struct packet *new_packet(void)
{
	static struct packet all[PACKETS_MAX];
	static size_t used;
	struct packet *p = spare_packets;

	if (p)
		spare_packets = p->next;
	else if (used < PACKETS_MAX)
		p = &all[used++];
	else
		abort();
	memset(&p->event, 0, sizeof(p->event));
	return p;
}

static void free_packet(struct packet *p)
{
	p->next = spare_packets;
	spare_packets = p;
}

static uint32_t way_ms(void)
{
	const uint32_t half_ms = carrier.rtt_ms / 2;

	return half_ms + (carrier.jitter_ms && sim_below(100) < 30 ? sim_below(carrier.jitter_ms) : 0);
}

static bool is_lost(void)
{
	return carrier.down || (carrier.loss && sim_below(100) < carrier.loss);
}

static void at_nat(struct loop_event *e);
static void at_router(struct loop_event *e);

/* What is lost of a stream is sent again, until there is no stream. True: the packet lives on. */
static bool goes_again(struct packet *p, void (*happens)(struct loop_event *e))
{
	if (p->stream == 0 || !sockets_stream(p->stream) || p->resends == RESENDS_MAX)
		return false;
	loop_in(&p->event, (uint64_t)RESEND_MS << p->resends++, happens);
	return true;
}

static void dispatch(const struct endpoint *local, const struct endpoint *remote, uint32_t stream, enum carrier_kind kind, const void *bytes,
	size_t len, uint64_t ms, void (*happens)(struct loop_event *e))
{
	struct packet *p = new_packet();

	if (len > sizeof(p->bytes))
		abort();
	p->local = *local;
	p->remote = *remote;
	p->stream = stream;
	p->kind = kind;
	p->resends = 0;
	p->len = len;
	if (len)
		memcpy(p->bytes, bytes, len);
	loop_in(&p->event, ms, happens);
}

static void at_router(struct loop_event *e)
{
	struct packet *p = (struct packet *)e;

	if (is_lost() && goes_again(p, at_router))
		return;
	if (!carrier.down && endpoint_ip32(&p->local) == carrier.wan_ip) {
		if (p->stream)
			sockets_arrived_tcp(p->stream, p->kind, p->bytes, p->len);
		else
			sockets_arrived_udp(&p->local, &p->remote, p->bytes, p->len);
	}
	free_packet(p);
}

static void back(const struct packet *p, const struct endpoint *from, enum carrier_kind kind, const void *bytes, size_t len, uint32_t later_ms)
{
	if (p->stream || !is_lost())
		dispatch(&p->local, from, p->stream, kind, bytes, len, way_ms() + later_ms, at_router);
}

/* --- servers --- */

static struct carrier_host *host_at(const struct endpoint *e)
{
	for (struct carrier_host *h = carrier.hosts; h < carrier.hosts + carrier.host_count; h++)
		if (endpoint_same_ip(&h->at, e) || endpoint_same_ip(&h->other, e))
			return h;
	return NULL;
}

/* Whence CHANGE-REQUEST wants the answer. */
static struct endpoint across(const struct carrier_host *h, const struct endpoint *asked, uint32_t change)
{
	struct endpoint from = *asked;

	if (change & STUN_CHANGE_IP)
		from = endpoint_same_ip(asked, &h->at) ? h->other : h->at;
	from.port = (asked->port == h->at.port) == !(change & STUN_CHANGE_PORT) ? h->at.port : SECOND;
	return from;
}

static void answer_stun(const struct carrier_host *h, const struct packet *p, const struct endpoint *outer)
{
	const bool two = h->other.family != ENDPOINT_NONE;
	struct stun_message m;
	struct stun_value change;
	struct endpoint from = p->remote, other = h->other;
	uint8_t buf[256];

	if (stun_decode(&m, p->bytes, p->len) < 0)
		abort(); /* what the gateway sends always decodes */
	other.port = SECOND;
	if (two && stun_get(&m, STUN_CHANGE_REQUEST, &change) == 0)
		from = across(h, &p->remote, change.u32);
	back(p, &from, CARRIER_DATA, buf, sim_answer(buf, p->bytes, p->len, outer, two ? &other : NULL), 0);
}

static void serve(const struct packet *p, const struct endpoint *outer)
{
	static const char web[] = "HTTP/1.1 200 OK\r\nServer: sim\r\n\r\n";
	const struct carrier_host *h = host_at(&p->remote);

	if (!h || h->silent)
		return;
	if (p->kind == CARRIER_SYN)
		back(p, &p->remote, CARRIER_ACCEPTED, NULL, 0, 0);
	else if (h->at.port == WEB)
		back(p, &p->remote, CARRIER_DATA, web, sizeof(web) - 1, 0);
	else
		answer_stun(h, p, outer);
	if (p->kind == CARRIER_DATA && p->stream && h->hangs_up)
		back(p, &p->remote, CARRIER_END, NULL, 0, 1 + carrier.jitter_ms);
}

/* A stream's segments pass by the mapping that its first one made, or not at all. */
static bool passes(struct packet *p, struct carrier_stream *s)
{
	struct binding *b = &bindings[1][p->local.port];

	if (!s)
		return false;
	if (!carrier.nat)
		return true;
	if (p->kind == CARRIER_SYN && s->binding == 0) {
		b = nat_out(true, &p->local);
		b->streams++;
		s->binding = b->serial;
	}
	if (s->binding != b->serial || !is_alive(b, true))
		return false;
	b->used_ms = loop_true_ms();
	return true;
}

static void at_nat(struct loop_event *e)
{
	struct packet *p = (struct packet *)e;
	struct endpoint outer = p->local;

	if (is_lost() && goes_again(p, at_nat))
		return;
	if (!carrier.down && endpoint_ip32(&p->local) == carrier.wan_ip) {
		if (p->stream ? passes(p, sockets_stream(p->stream)) : !carrier.nat || nat_out(false, &p->local)) {
			if (carrier.nat)
				outer = endpoint_ipv4(carrier.public_ip, bindings[p->stream != 0][p->local.port].outer_port);
			serve(p, &outer);
		}
	}
	free_packet(p);
}

static void count(const struct endpoint *to, bool tcp)
{
	struct carrier_host *h = host_at(to);

	carrier.questions++;
	if (h)
		h->asked[tcp]++;
}

void carrier_count_rates(void)
{
	for (struct carrier_host *h = carrier.hosts; h < carrier.hosts + carrier.host_count; h++)
		for (int tcp = 0; tcp < 2; tcp++) {
			h->worst[tcp] = h->asked[tcp] > h->worst[tcp] ? h->asked[tcp] : h->worst[tcp];
			h->asked[tcp] = 0;
		}
}

void carrier_send_udp(const struct endpoint *local, const struct endpoint *to, const void *bytes, size_t len)
{
	count(to, false);
	if (!is_lost())
		dispatch(local, to, 0, CARRIER_DATA, bytes, len, way_ms(), at_nat);
}

void carrier_send_tcp(struct carrier_stream *s, enum carrier_kind kind, const void *bytes, size_t len)
{
	if (kind == CARRIER_DATA)
		count(&s->server, true);
	dispatch(&s->local, &s->server, s->id, kind, bytes, len, way_ms(), at_nat);
}

void carrier_end_stream(struct carrier_stream *s)
{
	struct binding *b = &bindings[1][s->local.port];

	if (s->binding && s->binding == b->serial && b->streams > 0) {
		b->streams--;
		b->used_ms = loop_true_ms();
	}
	s->id = 0;
}
