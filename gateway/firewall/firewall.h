/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall - lets strangers reach mapped clients, and clients leave by their mapped port.
 *
 * One interface, several backends: nftables, iptables, and "none" for those who route by
 * hand. What a mapping means to a firewall:
 *
 *	inbound:  WAN:relay_port → client_ip:internal_port, the stranger's address kept
 *	outbound: client_ip:internal_port → leaves as WAN:relay_port
 *	hairpin:  outer → client_ip:internal_port, for whoever does not come by WAN: LAN
 *	          hosts, also the client itself, and the router's own programs
 *
 * A hairpinned flow that is forwarded leaves with the router's address: the client would
 * answer a neighbour directly, past the router, who knows how to translate it back.
 *
 * The STUN servers in use are exempt from both, or the holes would be taken from the
 * sockets that hold them. Flows of ours, inbound and hairpinned, carry a ct mark, by which
 * a foreign chain that drops by default can let them pass (accept_chains). Those to a LAN client pass
 * the forward chains, those to the router's own address, for a service that runs there,
 * the input chains; both in the same way. A UDP service that listens on every address
 * answers strangers from the line's: that is then the client_ip to give.
 *
 * A change takes effect or fails whole, and what is there already may be added again. After
 * each the caller scrubs conntrack. Calls come from any thread, one at a time.
 *
 * Others change the ruleset too, and take ours with it. Then the caller asks mend, and when
 * mappings were lost builds anew: rebuild, then add for all of them, FIREWALL_BATCH at a
 * time so that nobody waits for long, then mend again. gateway/rules does that.
 */
#ifndef GATEWAY_FIREWALL_H
#define GATEWAY_FIREWALL_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/endpoint.h"
#include "lib/leases.h"

struct firewall_mapping {
	enum lease_protocol protocol;
	uint16_t relay_port;
	uint32_t client_ip; /* host order */
	uint16_t internal_port;
	struct endpoint outer; /* what strangers connect to; ENDPOINT_NONE: not known, no hairpin */
};

/* A mapping whose outer endpoint is another than it was. */
struct firewall_reach {
	const struct firewall_mapping *mapping;
	struct endpoint before; /* what the firewall was told last */
};

#define FIREWALL_ACCEPT_CHAINS 8
#define FIREWALL_BATCH	       100 /* mappings added at once */
#define FIREWALL_SERVERS       64

struct firewall_config {
	const char *wan; /* interface name, borrowed for the call; "" while it is not known: then nothing is let in */
	uint32_t mark, mark_mask;
	const char *accept_chains[FIREWALL_ACCEPT_CHAINS]; /* "inet filter forward", borrowed */
	size_t accept_chain_count;
	/*
	 * Runs firewall_commands[command] with input as its stdin: the exit status (127: no such program) or a
	 * negative errno, what it said in output, cut to max - 1 bytes. NULL: they are run from here, with our rights.
	 */
	int (*run)(void *owner, size_t command, const char *input, char *output, size_t max);
	void *run_owner;
};

/* By which chains a flow of ours goes on: to a LAN client, or to a service on the router itself. */
enum firewall_way { FIREWALL_FORWARD, FIREWALL_INPUT };

/* All that a backend ever runs, each a NULL-terminated argv; NULL at the end. */
extern const char *const *const firewall_commands[];

struct firewall;

/* What others left. */
enum firewall_health {
	FIREWALL_WELL,
	FIREWALL_MENDED, /* what of ours stands among other people's rules was gone, and is put back */
	FIREWALL_LOST,	 /* mappings are gone, or may be */
};

/* What is counted of a mapping; of connections only packets, one each. */
enum firewall_counted { FIREWALL_IN, FIREWALL_OUT, FIREWALL_CONNECTIONS };
#define FIREWALL_COUNTED 3

typedef void firewall_counted_fn(void *owner, const struct lease_key *key, enum firewall_counted what, uint64_t packets, uint64_t bytes);

/* A backend's row. Errors are negative errno; firewall_error says more. */
struct firewall_backend {
	const char *name;
	bool unheard; /* what others do to it is told by nobody: it is to be looked at every now and then */
	/* Builds everything anew: whatever an earlier run left is gone. A failure is told in why. */
	int (*open)(struct firewall **out, const struct firewall_config *config, char *why, size_t why_max);
	/*
	 * So many mappings (1 to FIREWALL_BATCH) in one change. Their outer endpoints are no other mapping's from now on, also
	 * when it fails.
	 */
	int (*add)(struct firewall *f, const struct firewall_mapping *m, size_t count);
	/* Likewise; what is not there is fine to take away, though slow. */
	int (*remove)(struct firewall *f, const struct firewall_mapping *m, size_t count);
	/*
	 * Hairpin follows, all of them at once. An outer endpoint that another mapping has is
	 * this one's from now on. NULL: the backend knows no hairpin, and may ignore `outer`.
	 */
	int (*reach)(struct firewall *f, const struct firewall_reach *changes, size_t count);
	/* The servers in use, all of them, per protocol; at most FIREWALL_SERVERS. */
	int (*exempt)(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count);
	/*
	 * Looks whether all is there that open or rebuild built, and, as a sample of the mappings, one that was
	 * added (NULL: none was); puts back alone what can be (accept_chains). Cheap: it is asked after each
	 * change of the ruleset by others, whatever the number of mappings. enum firewall_health or negative errno:
	 * something is missing and cannot be put back now; it is tried again at the next change.
	 */
	int (*mend)(struct firewall *f, const struct firewall_mapping *sample);
	/* As open, for an interface of this name, on what is there: without mappings, with the servers last exempted. */
	int (*rebuild)(struct firewall *f, const char *wan);
	/*
	 * Tells what the kernel counted of each mapping since its element was added; of what others change meanwhile something may
	 * be told twice or not at all. life: another when all counters began anew. offloads: names what takes flows past the
	 * counters, joined by ", "; "" when nothing does. Takes time, so it wants nothing of the loop's: for a
	 * thread. -EAGAIN: all began anew meanwhile. NULL: the backend does not count.
	 */
	int (*count)(firewall_counted_fn *counted, void *owner, uint64_t *life, char *offloads, size_t max);
	/* Names the foreign chains on that way that would drop our flows, joined by ", "; "" when none. */
	void (*obstacles)(struct firewall *f, enum firewall_way way, char *buf, size_t max);
	/* Likewise without opening, for --check: changes nothing. Negative errno. NULL: there are never any. */
	int (*look)(const struct firewall_config *config, enum firewall_way way, char *obstacles, size_t max);
	/* Leaves no trace. NULL is fine. */
	void (*close)(struct firewall *f);
	const char *(*error)(const struct firewall *f); /* of the last call that failed */
};

/* iptables is what the system calls so: the other two are its forms by name, where both are installed. */
extern const struct firewall_backend firewall_nftables, firewall_iptables, firewall_iptables_nft, firewall_iptables_legacy, firewall_none;

/* NULL for another name. */
const struct firewall_backend *firewall_backend(const char *name);
/* Whether a text is "FAMILY TABLE CHAIN" as --accept-chain wants it. */
bool firewall_chain_valid(const char *chain);

#endif
