/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every NAT there is, on every line there is: does discovery tell the truth?
 *
 *	sim_discovery [RUNS]     of each NAT, loss, disorder and round trip; 1,000 unless told
 *
 * NATs: mapping × filtering × allocation; firewalls, a blocked line and an open one; IPv4
 * and IPv6. Two processes share the work. Time is simulated, chance is seeded by the run's number, so what
 * fails once fails again. Speaks TAP; what it counted goes to stderr.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/discovery.h"
#include "test/sim/nat.h"

static const unsigned losses[] = { 0, 5, 20, 30 };
static const uint32_t rtts[] = { 5, 50, 300 };

enum { LOSSES = 4, RTTS = 3, BINS = 6, PROCESSES = 2 };

struct behavior {
	enum sim_line line;
	enum stunway_behavior mapping, filtering;
	enum stunway_port_mode ports;
	bool ipv6;
};

struct counts {
	unsigned right, wrong, unknown;
	unsigned mode_right, mode_wrong, mode_unknown;
	uint64_t time_ms, datagrams;
};

struct bin {
	unsigned given, right;
	double promised;
};

struct results {
	struct counts by_loss[LOSSES];
	struct bin bins[BINS];
};

static const double bin_from[BINS] = { 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999 };

static struct sim_nat nat_of(const struct behavior *b, uint32_t rtt_ms, bool disorder)
{
	struct sim_nat n = { .line = b->line, .mapping = b->mapping, .filtering = b->filtering, .ports = b->ports,
		.rtt_ms = rtt_ms, .second_port = 3479, .step = 1 + sim_below(2), .others = sim_below(2) ? 20 : 0,
		.jitter_ms = disorder ? 10 + rtt_ms / 2 : 0, .duplicates = disorder ? 10 : 0 };

	if (b->ipv6) {
		endpoint_parse_ip(&n.a, "2001:db8:100::1", 3478);
		endpoint_parse_ip(&n.b, "2001:db8:100::2", 3478);
	} else {
		n.a = endpoint_ipv4(0xc6336401u, 3478);
		n.b = endpoint_ipv4(0xc6336402u, 3478);
	}
	return n;
}

static enum stunway_type type_of(const struct behavior *b)
{
	switch (b->line) {
	case LINE_BLOCKED: return STUNWAY_BLOCKED;
	case LINE_OPEN: return STUNWAY_OPEN_INTERNET;
	case LINE_FIREWALL: return b->filtering == STUNWAY_ENDPOINT_INDEPENDENT ? STUNWAY_OPEN_INTERNET : STUNWAY_SYMMETRIC_UDP_FIREWALL;
	case LINE_NAT: break;
	}
	if (b->mapping != STUNWAY_ENDPOINT_INDEPENDENT)
		return STUNWAY_SYMMETRIC_NAT;
	return b->filtering == STUNWAY_ENDPOINT_INDEPENDENT ? STUNWAY_FULL_CONE :
		b->filtering == STUNWAY_ADDRESS_DEPENDENT ? STUNWAY_RESTRICTED_CONE : STUNWAY_PORT_RESTRICTED_CONE;
}

static void inquire(struct sim_nat *n, unsigned loss, uint32_t timeout_ms, struct discovery_verdict *v, struct counts *c)
{
	static struct sim s;
	const struct discovery_config config = { .server = n->a, .timeout_ms = timeout_ms, .port_mode = true, .random = sim_random };
	struct discovery *d = discovery_new(&config, 1000000);
	enum inquiry_action action;
	struct inquiry_step step;
	struct sim_packet p;

	s.count = 0;
	s.now_ms = 1000000;
	s.loss = loss;
	for (;;) {
		while ((action = discovery_step(d, s.now_ms, &step)) == INQUIRY_SEND) {
			const struct endpoint local = sim_nat_local(n, step.slot);

			discovery_bound(d, step.slot, &local);
			sim_nat_send(n, &s, step.slot, &step.to, step.bytes, step.len);
			c->datagrams++;
		}
		if (action == INQUIRY_DONE)
			break;
		const uint64_t net_ms = sim_wake_ms(&s), wake_ms = discovery_wake_ms(d);
		const uint64_t next_ms = net_ms < wake_ms ? net_ms : wake_ms;
		if (next_ms > s.now_ms)
			s.now_ms = next_ms;
		while (sim_nat_take(n, &s, &p))
			discovery_receive(d, p.slot, &p.from, p.bytes, p.len, s.now_ms);
	}
	discovery_verdict(d, s.now_ms, v);
	c->time_ms += s.now_ms - 1000000;
	discovery_free(d);
}

static void bin_add(struct results *r, const struct discovery_verdict *v, bool right)
{
	for (int i = BINS - 1; i >= 0; i--)
		if (v->confidence >= bin_from[i]) {
			r->bins[i].given++;
			r->bins[i].right += right;
			r->bins[i].promised += v->confidence;
			return;
		}
}

static void judge(const struct behavior *b, unsigned loss_index, const struct discovery_verdict *v, struct results *r, const char *label)
{
	struct counts *c = &r->by_loss[loss_index];
	const enum stunway_behavior mapping = b->line == LINE_NAT ? b->mapping : STUNWAY_ENDPOINT_INDEPENDENT;
	const enum stunway_behavior filtering = b->line == LINE_OPEN ? STUNWAY_ENDPOINT_INDEPENDENT : b->filtering;
	const enum stunway_port_mode mode = b->line == LINE_NAT ? b->ports : STUNWAY_PORTS_PRESERVED;
	bool wrong = v->type != type_of(b) && v->type != STUNWAY_UNKNOWN;

	if (b->line == LINE_BLOCKED) {
		c->right += v->type == STUNWAY_BLOCKED;
		c->unknown += v->type == STUNWAY_UNKNOWN;
		c->wrong += wrong;
		return;
	}
	wrong |= v->mapping != STUNWAY_BEHAVIOR_UNKNOWN && v->mapping != mapping;
	wrong |= v->filtering != STUNWAY_BEHAVIOR_UNKNOWN && v->filtering != filtering;
	if (wrong && losses[loss_index] <= 20)
		fprintf(stderr, "# wrong: %s: type %d mapping %d filtering %d confidence %g\n", label, v->type, v->mapping, v->filtering, v->confidence);
	c->wrong += wrong;
	c->unknown += !wrong && v->type == STUNWAY_UNKNOWN;
	c->right += !wrong && v->type != STUNWAY_UNKNOWN;
	if (v->type != STUNWAY_UNKNOWN)
		bin_add(r, v, v->type == type_of(b));
	c->mode_right += v->port_mode == mode;
	c->mode_unknown += v->port_mode == STUNWAY_PORTS_UNKNOWN;
	c->mode_wrong += v->port_mode != mode && v->port_mode != STUNWAY_PORTS_UNKNOWN;
}

static size_t list_behaviors(struct behavior *list)
{
	size_t n = 0;

	for (enum stunway_behavior m = STUNWAY_ENDPOINT_INDEPENDENT; m <= STUNWAY_ADDRESS_AND_PORT_DEPENDENT; m++)
		for (enum stunway_behavior f = STUNWAY_ENDPOINT_INDEPENDENT; f <= STUNWAY_ADDRESS_AND_PORT_DEPENDENT; f++)
			for (enum stunway_port_mode p = STUNWAY_PORTS_PRESERVED; p <= STUNWAY_PORTS_RANDOM; p++)
				list[n++] = (struct behavior){ LINE_NAT, m, f, p, false };
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		for (enum stunway_behavior f = STUNWAY_ENDPOINT_INDEPENDENT; f <= STUNWAY_ADDRESS_AND_PORT_DEPENDENT; f++)
			list[n++] = (struct behavior){ LINE_FIREWALL, STUNWAY_ENDPOINT_INDEPENDENT, f, STUNWAY_PORTS_PRESERVED, ipv6 };
		list[n++] = (struct behavior){ .line = LINE_OPEN, .ipv6 = ipv6 };
		list[n++] = (struct behavior){ .line = LINE_BLOCKED, .ipv6 = ipv6 };
	}
	return n;
}

/* Every PROCESSESth run, from `first` on. */
static void run(unsigned runs, unsigned first, struct results *r)
{
	struct behavior list[64];
	const size_t count = list_behaviors(list);
	char label[80];

	for (unsigned i = first; i < runs; i += PROCESSES)
		for (size_t b = 0; b < count; b++)
			for (unsigned loss = 0; loss < LOSSES; loss++)
				for (unsigned disorder = 0; disorder < 2; disorder++)
					for (unsigned rtt = 0; rtt < RTTS; rtt++) {
						struct discovery_verdict v;

						sim_seed((uint32_t)((((i * 64 + b) * LOSSES + loss) * 2 + disorder) * RTTS + rtt) * 2654435761u);
						struct sim_nat n = nat_of(&list[b], rtts[rtt], disorder);
						snprintf(label, sizeof(label), "NAT %zu, loss %u %%, %s, %u ms, run %u", b, losses[loss], disorder ? "disorder" : "order", rtts[rtt], i);
						inquire(&n, losses[loss], 5000, &v, &r->by_loss[loss]);
						judge(&list[b], loss, &v, r, label);
					}
}

static void add(struct results *to, const struct results *r)
{
	for (unsigned i = 0; i < LOSSES; i++) {
		struct counts *a = &to->by_loss[i];
		const struct counts *b = &r->by_loss[i];

		a->right += b->right;
		a->wrong += b->wrong;
		a->unknown += b->unknown;
		a->mode_right += b->mode_right;
		a->mode_wrong += b->mode_wrong;
		a->mode_unknown += b->mode_unknown;
		a->time_ms += b->time_ms;
		a->datagrams += b->datagrams;
	}
	for (unsigned i = 0; i < BINS; i++) {
		to->bins[i].given += r->bins[i].given;
		to->bins[i].right += r->bins[i].right;
		to->bins[i].promised += r->bins[i].promised;
	}
}

int main(int argc, char **argv)
{
	const unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	struct results *shared = mmap(NULL, PROCESSES * sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct results all = { 0 };

	for (unsigned i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			run(runs, i, &shared[i]);
			_exit(0);
		}
	for (unsigned i = 0; i < PROCESSES; i++)
		wait(NULL);
	for (unsigned i = 0; i < PROCESSES; i++)
		add(&all, &shared[i]);
	for (unsigned i = 0; i < LOSSES; i++) {
		const struct counts *c = &all.by_loss[i];
		const unsigned total = c->right + c->wrong + c->unknown;

		fprintf(stderr, "# loss %2u %%: %u runs, right %.4f %%, wrong %u, unknown %u; mode wrong %u unknown %u; %.0f ms, %.0f datagrams\n", losses[i], total, 100.0 * c->right / total, c->wrong,
			c->unknown, c->mode_wrong, c->mode_unknown, (double)c->time_ms / total, (double)c->datagrams / total);
	}
	for (unsigned i = 0; i < BINS; i++)
		fprintf(stderr, "# confidence from %g: %u given, promised %.5f, right %.5f\n", bin_from[i], all.bins[i].given, all.bins[i].promised / all.bins[i].given, (double)all.bins[i].right / all.bins[i].given);
	return 0;
}
