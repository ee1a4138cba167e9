/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "server/counts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static const char *const names[COUNT_KINDS] = {
	[COUNT_ANSWERED] = "answered",
	[COUNT_BAD_REQUEST] = "bad-request",
	[COUNT_UNKNOWN_ATTRIBUTE] = "unknown-attribute",
	[COUNT_NOT_STUN] = "not-stun",
	[COUNT_NOT_REQUEST] = "not-request",
	[COUNT_UNKNOWN_METHOD] = "unknown-method",
	[COUNT_RATE_LIMITED] = "rate-limited",
	[COUNT_QUEUE_FULL] = "queue-full",
	[COUNT_SEND_FAILED] = "send-failed",
	[COUNT_NODE_HANDED] = "node-handed",
	[COUNT_NODE_ANSWERED] = "node-answered",
	[COUNT_NODE_REFUSED] = "node-refused",
	[COUNT_NODE_BEAT] = "node-beat",
	[COUNT_NODE_FOUND] = "node-found",
	[COUNT_NODE_LOST] = "node-lost",
	[COUNT_NODE_STRANGER] = "node-stranger",
	[COUNT_NODE_MALFORMED] = "node-malformed",
	[COUNT_NODE_FORGED] = "node-forged",
	[COUNT_NODE_REPLAYED] = "node-replayed",
	[COUNT_NODE_SKEWED] = "node-skewed",
	[COUNT_NODE_OTHER_RUN] = "node-other-run",
	[COUNT_NODE_FULL] = "node-full",
	[COUNT_XDP_ANSWERED] = "xdp-answered",
	[COUNT_XDP_RATE_LIMITED] = "xdp-rate-limited",
	[COUNT_XDP_PASSED] = "xdp-passed",
	[COUNT_TCP_ACCEPTED] = "tcp-accepted",
	[COUNT_TCP_ACCEPT_FAILED] = "tcp-accept-failed",
	[COUNT_TCP_REFUSED] = "tcp-refused",
	[COUNT_TCP_REFUSED_SOURCE] = "tcp-refused-source",
	[COUNT_TCP_NOT_STUN] = "tcp-not-stun",
	[COUNT_TCP_IDLE] = "tcp-idle",
	[COUNT_TCP_SLOW] = "tcp-slow",
};

static_assert(COUNT_KINDS * (sizeof("unknown-attribute= ") + 20) <= COUNTS_TEXT_MAX, "the longest line fits");

void counts_sum(struct counts_sum *sum, const struct counts *c)
{
	for (size_t i = 0; i < COUNT_KINDS; i++)
		sum->of[i] += atomic_load_explicit(&c->of[i], memory_order_relaxed);
}

const char *count_name(enum count row)
{
	return names[row];
}

const char *counts_text(const struct counts_sum *sum, char buf[COUNTS_TEXT_MAX])
{
	size_t used = 0;

	for (size_t i = 0; i < COUNT_KINDS; i++)
		used += (size_t)snprintf(buf + used, COUNTS_TEXT_MAX - used, "%s%s=%" PRIu64, i ? " " : "", names[i],
			sum->of[i]);
	return buf;
}
