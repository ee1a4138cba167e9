/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines become rules, or are refused; a rule written out reads back the same; access_next says what asking each port says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void holds(bool yes)
{
	if (!yes)
		abort();
}

static void round_trip(const struct access_rule *r)
{
	struct access_rule again;
	char text[128];
	int bits = 0;

	while (bits < 32 && r->mask & 1u << (31 - bits))
		bits++;
	snprintf(text, sizeof(text), "%s %u-%u %u.%u.%u.%u/%d %u-%u", r->allow ? "allow" : "deny", r->external.low, r->external.high,
		r->net >> 24, r->net >> 16 & 255, r->net >> 8 & 255, r->net & 255, bits, r->internal.low, r->internal.high);
	holds(access_parse(&again, text) == 0);
	holds(again.allow == r->allow && again.net == r->net && again.mask == r->mask && again.external.low == r->external.low &&
		again.external.high == r->external.high && again.internal.low == r->internal.low && again.internal.high == r->internal.high);
}

/* Rule by rule, port by port: the definition. */
static bool plainly_allowed(const struct access *a, uint32_t ip, uint16_t internal, uint16_t external)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct access_rule *r = &a->rules[i];

		if ((ip & r->mask) == r->net && internal >= r->internal.low && internal <= r->internal.high && external >= r->external.low &&
			external <= r->external.high)
			return r->allow;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct access a = { 0 };
	char text[2048];
	uint32_t ip = 0;
	uint16_t port = 1, found;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		access_add(&a, line);
	for (size_t i = 0; i < a.count; i++) {
		round_trip(&a.rules[i]);
		ip = a.rules[i].net;
		port = a.rules[i].internal.high;
	}
	found = access_next(&a, ip, port, 1000, 2000);
	for (uint16_t p = 1000; p <= 2000; p++) {
		holds(access_allows(&a, ip, port, p) == plainly_allowed(&a, ip, port, p));
		if (found == 0 || p < found)
			holds(!plainly_allowed(&a, ip, port, p));
	}
	holds(found == 0 || plainly_allowed(&a, ip, port, found));
	return 0;
}
