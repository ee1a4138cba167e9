/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every NAT there is, on every line there is: does discovery tell the truth?
 *
 *	sim_discovery [RUNS]     of each NAT, loss, disorder and round trip; 1,000 unless told
 *
 * NATs: mapping × filtering × allocation; firewalls, a blocked line and an open one; IPv4
 * and IPv6. Once with time enough, and once with too little, where verdicts are doubtful
 * and their confidence must be worth what it says. Time is simulated; chance is seeded by
 * the run's number, so what fails once fails again. Two processes share the work. Speaks
 * TAP; what was counted stands beside.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/discovery.h"
#include "test/sim/nat.h"

static const unsigned losses[] = { 0, 5, 20, 30 };
static const uint32_t rtts[] = { 5, 50, 300 };

enum { LOSSES = 4, RTTS = 3, BINS = 5, PROCESSES = 2 };

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
	struct counts by_loss[LOSSES]; /* with time enough */
	struct bin bins[BINS];	       /* with too little */
};

static const double bin_from[BINS] = { 0.9, 0.95, 0.98, 0.99, 0.999 };

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

/* Of the servers of the world, most answer from elsewhere when asked to; some lose it between two hosts, some never do. */
static unsigned handover_loss(void)
{
	const unsigned chance = sim_below(100);

	return chance < 87 ? 0 : chance < 90 ? 10 : chance < 92 ? 30 : chance < 94 ? 50 : chance < 95 ? 90 : 100;
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

static void weigh(const struct behavior *b, const struct discovery_verdict *v, struct results *r)
{
	int i = BINS - 1;

	if (v->type == STUNWAY_UNKNOWN)
		return;
	while (i > 0 && v->confidence < bin_from[i])
		i--;
	r->bins[i].given++;
	r->bins[i].right += v->type == type_of(b);
	r->bins[i].promised += v->confidence;
}

static bool is_right(const struct behavior *b, const struct discovery_verdict *v)
{
	const enum stunway_behavior mapping = b->line == LINE_NAT ? b->mapping : STUNWAY_ENDPOINT_INDEPENDENT;
	const enum stunway_behavior filtering = b->line == LINE_OPEN ? STUNWAY_ENDPOINT_INDEPENDENT : b->filtering;

	if (b->line == LINE_BLOCKED)
		return v->type == STUNWAY_BLOCKED;
	return v->type == type_of(b) && v->mapping == mapping && v->filtering == filtering;
}

/* All that is said is right, it is honestly called unknown, or something is wrong. */
static void judge(const struct behavior *b, const struct discovery_verdict *v, struct counts *c)
{
	const enum stunway_port_mode mode = b->line == LINE_NAT ? b->ports : STUNWAY_PORTS_PRESERVED;

	if (is_right(b, v))
		c->right++;
	else if (v->type == STUNWAY_UNKNOWN || v->type == type_of(b))
		c->unknown++;
	else
		c->wrong++;
	if (b->line == LINE_BLOCKED)
		return;
	if (v->port_mode == mode)
		c->mode_right++;
	else if (v->port_mode == STUNWAY_PORTS_UNKNOWN)
		c->mode_unknown++;
	else
		c->mode_wrong++;
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

/* One NAT on one line; its number is its chance. */
static void run_one(unsigned number, const struct behavior *b, unsigned loss, bool disorder, uint32_t rtt_ms, bool hurried, struct results *r)
{
	struct counts scrap = { 0 }, *c = hurried ? &scrap : &r->by_loss[loss];
	struct discovery_verdict v;

	sim_seed(number * 2654435761u);
	struct sim_nat n = nat_of(b, rtt_ms, disorder);
	if (hurried)
		n.handover_loss = handover_loss();
	inquire(&n, losses[loss], hurried ? 150 + sim_below(1500) : 5000, &v, c);
	if (hurried)
		weigh(b, &v, r);
	else
		judge(b, &v, c);
}

/* Every PROCESSESth run, from `first` on; one of four is hurried besides. */
static void run(unsigned runs, unsigned first, struct results *r)
{
	struct behavior list[64];
	const size_t count = list_behaviors(list);

	for (unsigned i = first; i < runs; i += PROCESSES)
		for (unsigned j = 0; j < count * LOSSES * 2 * RTTS; j++) {
			const struct behavior *b = &list[j / (LOSSES * 2 * RTTS)];
			const unsigned loss = j / (2 * RTTS) % LOSSES, rtt = j / 2 % RTTS;

			run_one(i << 12 | j, b, loss, j & 1, rtts[rtt], false, r);
			if (i / PROCESSES % 4 == 0 && b->line != LINE_BLOCKED)
				run_one(i << 12 | j, b, loss, j & 1, rtts[rtt], true, r);
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

static bool ok(bool yes, const char *what)
{
	static int number;

	printf("%s %d - %s\n", yes ? "ok" : "not ok", ++number, what);
	return yes;
}

/* What each loss may cost: the share of right verdicts, at least. */
static bool check_loss(unsigned i, const struct counts *c)
{
	static const double bars[LOSSES] = { 1, 1, 0.9998, 0.98 };
	const unsigned total = c->right + c->wrong + c->unknown;
	const unsigned modes = c->mode_right + c->mode_wrong + c->mode_unknown;
	char what[200];
	bool good;

	printf("# loss %u %%: %u inquiries, %u right, %u wrong, %u unknown; port mode %u wrong, %u unknown; on average %.0f ms, %.0f datagrams\n",
		losses[i], total, c->right, c->wrong, c->unknown, c->mode_wrong, c->mode_unknown, (double)c->time_ms / total, (double)c->datagrams / total);
	snprintf(what, sizeof(what), "At %u %% loss at least %g %% of verdicts are right, and more are unknown than wrong", losses[i], 100 * bars[i]);
	good = ok(c->right >= bars[i] * total && c->wrong <= c->unknown, what);
	snprintf(what, sizeof(what), "At %u %% loss at least 99.5 %% of port modes are right", losses[i]);
	return ok(c->mode_right >= 0.995 * modes, what) && good;
}

/* Few were given with such a confidence, or about so many were right. */
static bool check_bin(unsigned i, const struct bin *b)
{
	const double promised = b->promised / (b->given ? b->given : 1);
	char what[200];

	printf("# confidence from %g: %u verdicts, %.5f promised, %.5f right\n", bin_from[i], b->given, promised,
		(double)b->right / (b->given ? b->given : 1));
	snprintf(what, sizeof(what), "Of the hurried verdicts given with a confidence from %g on about so many are right", bin_from[i]);
	return ok(fabs(b->right - b->promised) <= 0.03 * b->given + 3 * sqrt(b->given * promised * (1 - promised) + 1), what);
}

int main(int argc, char **argv)
{
	const unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	struct results *shared = mmap(NULL, PROCESSES * sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct results all = { 0 };
	bool good = shared != MAP_FAILED && runs > 0;
	int status;

	if (!good)
		return 2;
	for (unsigned i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			run(runs, i, &shared[i]);
			_exit(0);
		}
	while (wait(&status) > 0)
		good &= status == 0;
	for (unsigned i = 0; i < PROCESSES; i++)
		add(&all, &shared[i]);
	ok(good, "The simulation ran to its end");
	for (unsigned i = 0; i < LOSSES; i++)
		good &= check_loss(i, &all.by_loss[i]);
	for (unsigned i = 0; i < BINS; i++)
		good &= check_bin(i, &all.bins[i]);
	return !good;
}
