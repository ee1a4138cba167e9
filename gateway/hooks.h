/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hooks - runs the user's program (--hook) when a mapping opens, changes or closes.
 *
 *	hooks_tell: this mapping is now …  →  queue (the latest state wins)  →  helper: at most 4 at a time
 *
 * What the program is told follows from what it was told last and what is true when its
 * turn comes: a mapping that came and went meanwhile is not mentioned. Of one mapping
 * one run is under way at a time. Words as natmap's script has them:
 *
 *	public_ip public_port ip4p private_port protocol private_ip
 *
 * and variables: STUNWAY_EVENT (open, change, close), _PROTOCOL (tcp, udp), _PUBLIC_IP, _PUBLIC_PORT,
 * _OLD_PUBLIC_IP and _OLD_PUBLIC_PORT (change), _RELAY_PORT, _INTERNAL_IP, _INTERNAL_PORT, _LIFETIME (seconds; 0: closed),
 * _DESCRIPTION. At a close the words are those of the open mapping. What the program
 * writes is logged at level debug.
 */
#ifndef GATEWAY_HOOKS_H
#define GATEWAY_HOOKS_H

#include <uv.h>

#include "lib/endpoint.h"
#include "lib/leases.h"
#include "sys/helper.h"

#define HOOKS_RUNNING_MAX 4
#define HOOKS_QUEUE_MAX	  1024	/* beyond: not told, and said in the log */
#define HOOKS_LIMIT_MS	  30000 /* then SIGTERM, then SIGKILL (sys/helper.h) */

struct hooks;
struct hooked; /* a mapping, as the program knows it */

struct hooks_state {
	struct lease_key key;
	uint16_t relay_port;
	struct endpoint outer; /* family NONE: closed */
	uint32_t lifetime_s;
	const char *description; /* NULL: none; copied */
};

/* limit_ms: 0 for HOOKS_LIMIT_MS. Negative errno. */
int hooks_open(struct hooks **out, uv_loop_t *loop, struct helper *helper, uint32_t limit_ms);
/* Of the next runs; as above. */
void hooks_limit(struct hooks *hooks, uint32_t limit_ms);
/*
 * What a mapping is now; to be said as often as one likes. *hooked belongs to the mapping,
 * begins as NULL and is NULL again after a close. hooks NULL: nothing happens.
 */
void hooks_tell(struct hooks *hooks, struct hooked **hooked, const struct hooks_state *now);
/* The mapping goes without its close being told: the gateway ends, and brings it back. */
void hooks_forget(struct hooked **hooked);
/* Ends what runs and forgets what waits. NULL is fine. */
void hooks_close(struct hooks *hooks);

#endif
