/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netwatch - the kernel's word that something of the network is another now.
 *
 * Two kinds: interfaces, their IPv4 addresses and routes; and the nftables ruleset, changed
 * by somebody else. It says that, never what: whoever is told looks for himself, so nothing
 * can be missed. What comes in a burst is told once, NETWATCH_MS after its first. What the
 * kernel had no room to say counts as a change of that kind.
 *
 * Our own changes of the ruleset are known by this process' number, of the thread that makes them and is there still.
 * Where that is hidden (a PID namespace), or a child made them, they are told too: a look too many, no more.
 */
#ifndef SYS_NETWATCH_H
#define SYS_NETWATCH_H

#include <uv.h>

#define NETWATCH_MS 50

struct netwatch;

struct netwatch_callbacks {
	void (*interfaces)(void *owner);
	void (*ruleset)(void *owner); /* wants CAP_NET_ADMIN; NULL: not watched */
};

/* Neither callback is called before the loop runs. Negative errno. */
int netwatch_open(struct netwatch **out, uv_loop_t *loop, const struct netwatch_callbacks *callbacks, void *owner);
void netwatch_close(struct netwatch *w); /* NULL is fine */

#endif
