/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * natbox's packets: a script of packets from both sides through every kind of NAT. What
 * passes is a packet still, no longer than it came, and its header's checksum is as right
 * as it was.
 *
 * Input: a byte that chooses the NAT, then records of side and flags (1 byte), length (1),
 * the packet.
 */
#include <stdlib.h>
#include <string.h>

#include "lab/nat.h"
#include "lib/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void holds(bool yes)
{
	if (!yes)
		abort();
}

/* One NAT for all runs, since its table is large; what a run leaves is flushed by the next. */
static struct nat *nat_of(uint8_t choice)
{
	static struct nat *n;
	static const char *const behaviors[] = { "ei", "ad", "apd", "ei" };
	static const char *const ports[] = { "preserve", "increment", "decrement", "random" };
	struct config config;
	const char *bad, *reason;
	char *argv[] = { (char *)"natbox", (char *)"--outer=203.0.113.1", (char *)"--outer=203.0.113.2", NULL };

	if (!n)
		holds(config_args(&config, 3, argv, &bad, &reason) == 0 && nat_new(&n, &config) == 0);
	nat_flush(n);
	holds(nat_set(n, "mapping", behaviors[choice & 3]) == 0 && nat_set(n, "filtering", behaviors[choice >> 2 & 3]) == 0);
	holds(nat_set(n, "ports", ports[choice >> 4 & 3]) == 0);
	holds(nat_set(n, "alg", (choice & 3) == 3 ? "on" : "off") == 0);
	holds(nat_set(n, "hairpin", choice & 0x40 ? "on" : "off") == 0);
	holds(nat_set(n, "icmp-unreachable", choice & 0x80 ? "on" : "off") == 0);
	return n;
}

static bool header_sound(const uint8_t *bytes, size_t len)
{
	const size_t header = (bytes[0] & 15u) * 4u;

	return bytes[0] >> 4 == 6 || (header <= len && packet_sum(0, bytes, header) == 0xffff);
}

static void one_packet(struct nat *n, enum side side, struct reader *r, uint64_t now_ms)
{
	const uint8_t len = read_u8(r);
	const uint8_t *bytes = read_bytes(r, len);
	struct packet before, after;
	struct verdict v;
	uint8_t *copy;
	bool sound;

	if (!bytes)
		return;
	copy = malloc(len ? len : 1); /* exact, so that the sanitizer sees one byte too many */
	holds(copy != NULL);
	memcpy(copy, bytes, len);
	sound = packet_parse(&before, copy, len) == REASON_NONE && header_sound(copy, len);
	v = nat_handle(n, side, copy, len, now_ms);
	if (v.reason == REASON_NONE && v.len > 0) {
		holds(v.len <= len);
		memcpy(copy, v.bytes, v.len);
		holds(packet_parse(&after, copy, v.len) == REASON_NONE);
		holds(!sound || header_sound(copy, v.len));
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = { .at = data, .left = size };
	struct nat *n = nat_of(read_u8(&r));
	static uint64_t now_ms; /* goes on from run to run, as a clock does */

	while (!r.overrun && r.left > 0) {
		const uint8_t how = read_u8(&r);

		now_ms += (how >> 1) * 100u;
		one_packet(n, how & 1 ? SIDE_OUTSIDE : SIDE_INSIDE, &r, now_ms);
		nat_expire(n, now_ms);
	}
	return 0;
}
