/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xdp - the fast path at one interface (--xdp): questions answered before the kernel's network stack.
 *
 * The program takes the questions that nearly everybody asks, of addresses that stand at
 * its interface or at a VLAN over it; everything else it leaves to the sockets, which are
 * bound as without it. What is answered where, and what may go wrong: docs/xdp.md.
 *
 *	xdp_new (with the capabilities) -> xdp_follow, xdp_counts (without) -> xdp_free
 *
 * A build without clang's BPF target, libbpf's headers or bpftool has none.c in its place.
 */
#ifndef SERVER_XDP_XDP_H
#define SERVER_XDP_XDP_H

#include <stdbool.h>

#include "server/config.h"
#include "server/counts.h"

struct xdp;

/* Whether this build has it; what follows may only be called then. */
extern const bool xdp_built;

/*
 * Attaches the program; places are borrowed until xdp_free. rate: answers per second and
 * source, 0 for no limit, counted apart from the sockets'. In native mode, or else in generic mode, which is
 * logged. Negative errno, which has been logged: no such interface, nothing served stands there,
 * another XDP program is attached.
 */
int xdp_new(struct xdp **out, const char *interface, const struct place *places, size_t count, uint32_t rate);
/* Nothing is answered by it any more. NULL is fine. */
void xdp_free(struct xdp *x);

/* Answers as the peers are alive or not; to be called when that may have changed. */
void xdp_follow(struct xdp *x);
/* From now on at this rate (not 0, and only where it began with one). */
void xdp_rate(struct xdp *x, uint32_t rate);
/* Adds what it did. */
void xdp_counts(const struct xdp *x, struct counts_sum *sum);

#endif
