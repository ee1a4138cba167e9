/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scout - a spare hole that finds out how long the carrier's NAT keeps a silent one (lib/cadence.h).
 *
 * No client ever gets it. One per protocol, while the line is suited.
 */
#ifndef GATEWAY_SCOUT_H
#define GATEWAY_SCOUT_H

#include "gateway/hole/punch.h"

struct scout;

/* scout_keepalive_ms says something new: every other hole is to follow. */
typedef void scout_event_fn(void *owner, enum lease_protocol protocol);

/* config: of the scout's hole; its keepalive_ms is the longest interval allowed, its event and owner are not used. */
int scout_open(struct scout **out, const struct punch_config *config, scout_event_fn *event, void *owner);
uint32_t scout_keepalive_ms(const struct scout *s);
/* Its hole's port; 0: there is no hole. */
uint16_t scout_port(const struct scout *s);
/* Whether the scout may ask: the line is suited. Begins, or ends, its hole. */
void scout_suited(struct scout *s, bool suited);
/* Another hole has HOLE_CHANGED: perhaps the silence before was too long. */
void scout_changed(struct scout *s, const struct hole *h);
/* Asks these from now on. */
void scout_servers(struct scout *s, struct servers *servers);
/* The public address is another, or the NAT forgot everything: what was learnt does not count. */
void scout_moved(struct scout *s);
/* The line has another address (host order). */
void scout_move(struct scout *s, uint32_t ip);
void scout_close(struct scout *s); /* NULL is fine */

#endif
