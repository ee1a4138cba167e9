/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nat - a NAT (or a firewall, or a cable) in the simulated network, with what stands
 * behind it on the Internet: a server of RFC 5780 with two addresses and two ports.
 *
 *	slot 0, 1, … ── up: loss, delay ──→ NAT ──→ server a, b
 *	             ←─ down: loss, delay ─ NAT ←──
 *
 * Loss, delay and overtaking happen between the client and the NAT, each way.
 */
#ifndef TEST_SIM_NAT_H
#define TEST_SIM_NAT_H

#include <stunway/stunway.h>

#include "test/sim/sim.h"

#define SIM_NAT_BINDINGS 160
#define SIM_NAT_SENT	 4

enum sim_line { LINE_NAT, LINE_FIREWALL, LINE_OPEN, LINE_BLOCKED };

struct sim_binding {
	unsigned slot;
	struct endpoint to; /* as much of the destination as the mapping depends on */
	struct endpoint outer;
	uint64_t used_ms; /* when it last sent something */
	struct endpoint sent[SIM_NAT_SENT]; /* destinations, for the filter */
	size_t sent_count;
};

struct sim_nat {
	enum sim_line line;
	enum stunway_behavior mapping, filtering;
	enum stunway_port_mode ports;
	unsigned step, others;	     /* a counter's step; how many ports others may take before each of ours */
	unsigned outer_count;	     /* outer addresses, each mapping takes the next; 0 is 1 */
	uint32_t outer_ip;	     /* IPv4, the first outer address; 0: 203.0.113.1 */
	uint16_t port_low, port_high; /* 0: 1024 to 65535 */
	uint32_t timeout_ms;	     /* of a mapping that sends nothing; 0: it stays */
	uint32_t rtt_ms;
	uint32_t jitter_ms; /* at most so much is added to some packets: they overtake each other */
	unsigned duplicates; /* percent */
	struct endpoint a, b; /* the server's addresses, both with the first port */
	uint16_t second_port;
	unsigned handover_loss; /* percent: of the answers that are to come from elsewhere */
	struct endpoint other;	/* what it says its other address is; family NONE: the truth */
	bool alone;		/* it says nothing of another address */
	bool a_dead, b_dead;	/* nobody answers at this address */
	bool ignores_change;	/* answers CHANGE-REQUEST from where it was asked */
	unsigned rate;		/* answers per second, and at once; 0: all */
	uint16_t code;		/* refuses all with this error */
	uint16_t change_code;	/* refuses CHANGE-REQUEST with this error */

	/* private */
	struct sim_binding bindings[SIM_NAT_BINDINGS];
	size_t count;
	uint16_t counter;
	uint64_t full_ms; /* when it would answer as many at once again */
};

/* Where a slot's socket is bound. */
struct endpoint sim_nat_local(const struct sim_nat *n, unsigned slot);
/* The client sends. */
void sim_nat_send(struct sim_nat *n, struct sim *s, unsigned slot, const struct endpoint *to, const void *bytes, size_t len);
/* The next packet that reaches the client now; what reaches the NAT meanwhile is carried on. False: none. */
bool sim_nat_take(struct sim_nat *n, struct sim *s, struct sim_packet *out);
/* All mappings are gone. */
void sim_nat_flush(struct sim_nat *n);
/* The truth about a slot whose mapping is endpoint-independent: its outer endpoint, NULL while it has none. */
const struct endpoint *sim_nat_outer(const struct sim_nat *n, unsigned slot, uint64_t now_ms);

#endif
