/* SPDX-License-Identifier: MIT */
/* discovery - lib/discovery's machine with the kernel's addresses, for programs with a loop of their own. */
#include <errno.h>
#include <stdlib.h>

#include "lib/discovery.h"
#include "sys/info.h"
#include "sys/entropy.h"
#include "sys/sockaddr.h"

_Static_assert(STUNWAY_SLOTS == DISCOVERY_SLOTS, "the public number of slots is the machine's");
_Static_assert((int)STUNWAY_WAIT == INQUIRY_WAIT && (int)STUNWAY_SEND == INQUIRY_SEND && (int)STUNWAY_DONE == INQUIRY_DONE,
	"the public actions are the machine's");

struct stunway_discovery {
	struct discovery *machine;
	struct endpoint server;
	uint64_t started_ms;
};

int stunway_discovery_new(struct stunway_discovery **out, const struct sockaddr *server, unsigned timeout_ms, int port_mode,
	uint64_t now_ms)
{
	const struct discovery_config config = { .server = net_endpoint(server), .port_mode = port_mode != 0,
		.timeout_ms = timeout_ms ? timeout_ms : STUNWAY_TIMEOUT_MS, .random = random_bytes };
	struct stunway_discovery *d;

	if (!endpoint_is_host(&config.server) || config.timeout_ms < STUNWAY_TIMEOUT_MIN_MS || config.timeout_ms > STUNWAY_TIMEOUT_MAX_MS)
		return -EINVAL;
	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct stunway_discovery){ discovery_new(&config, now_ms), config.server, now_ms };
	if (!d->machine) {
		free(d);
		return -ENOMEM;
	}
	*out = d;
	return 0;
}

void stunway_discovery_free(struct stunway_discovery *d)
{
	if (!d)
		return;
	discovery_free(d->machine);
	free(d);
}

enum stunway_action stunway_discovery_step(struct stunway_discovery *d, uint64_t now_ms, struct stunway_step *step)
{
	struct inquiry_step s;
	const enum inquiry_action action = discovery_step(d->machine, now_ms, &s);

	if (action == INQUIRY_SEND) {
		*step = (struct stunway_step){ .slot = s.slot, .bytes = s.bytes, .len = s.len };
		step->to_len = net_sockaddr(&step->to, &s.to);
	}
	return (enum stunway_action)action;
}

int stunway_discovery_receive(struct stunway_discovery *d, unsigned slot, const struct sockaddr *from, const void *bytes,
	size_t len, uint64_t now_ms)
{
	const struct endpoint e = net_endpoint(from);

	return slot < STUNWAY_SLOTS && discovery_receive(d->machine, slot, &e, bytes, len, now_ms);
}

uint64_t stunway_discovery_wake_ms(const struct stunway_discovery *d)
{
	return discovery_wake_ms(d->machine);
}

void stunway_discovery_bound(struct stunway_discovery *d, unsigned slot, const struct sockaddr *local)
{
	const struct endpoint e = net_endpoint(local);

	if (slot < STUNWAY_SLOTS)
		discovery_bound(d->machine, slot, &e);
}

void stunway_discovery_reachable(struct stunway_discovery *d, unsigned rtt_ms, uint64_t now_ms)
{
	discovery_reachable(d->machine, rtt_ms, now_ms);
}

void stunway_discovery_result(const struct stunway_discovery *d, uint64_t now_ms, struct stunway_nat_info *out)
{
	struct discovery_verdict verdict;

	discovery_verdict(d->machine, now_ms, &verdict);
	info_of_verdict(out, &verdict, &d->server, (uint32_t)(now_ms - d->started_ms));
}
