/* SPDX-License-Identifier: MIT */
/*
 * portmode - how a NAT chooses outer ports, from a series of mappings made one after the other.
 *
 * Pure. Counters of NATs wrap (at 65535, or at the end of their range), step by more than
 * one, skip what is taken, are moved on by other customers meanwhile, and may be one for
 * all outer addresses or one for each; a datagram may overtake another. So nothing is
 * asked of the size of a step, only of its direction, among samples of one outer address.
 */
#ifndef LIB_PORTMODE_H
#define LIB_PORTMODE_H

#include <stunway/stunway.h>

#include "lib/endpoint.h"

#define PORTMODE_SAMPLES_MIN 5 /* fewer of one outer address say nothing */

struct port_sample {
	uint16_t local_port;
	struct endpoint outer;
};

/* samples: in the order in which they were first sent. STUNWAY_PORTS_UNKNOWN when they do not suffice. */
enum stunway_port_mode port_mode(const struct port_sample *samples, size_t count);

#endif
