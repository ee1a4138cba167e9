/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whatever a state file holds: it is refused, or what was read of it, written again, reads as the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/state/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct netif lan = { .name = "lan", .ip = 0xc0a80101, .subnets = { { 0xc0a80101, 0xffffff00 } }, .subnet_count = 1 };
static const struct state_limits limits = { .lans = &lan, .lan_count = 1, .max = 3, .max_per_client = 2 };

static void same(bool yes)
{
	if (!yes)
		abort();
}

static void same_mapping(const struct state_mapping *a, const struct state_mapping *b)
{
	same(a->key.protocol == b->key.protocol && a->key.client_ip == b->key.client_ip && a->key.internal_port == b->key.internal_port);
	same(a->relay_port == b->relay_port && a->relay_port >= 1024 && a->origin == b->origin);
	same(a->lifetime_s == b->lifetime_s && a->expires_ms == b->expires_ms);
	same(endpoint_equal(&a->outer, &b->outer) && strcmp(a->description, b->description) == 0);
}

static void read_again(const struct state *s)
{
	struct state again;
	struct state_dropped dropped;
	char why[STATE_WHY], *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	same(out && state_encode(s, out) == 0 && fclose(out) == 0);
	same(state_decode(&again, text, len, &limits, &dropped, why) == 0 && dropped.count == 0);
	same(s->count == again.count && s->epoch_ms == again.epoch_ms && s->public_ip == again.public_ip);
	same(strcmp(s->boot_id, again.boot_id) == 0);
	for (size_t i = 0; i < s->count; i++)
		same_mapping(&s->mappings[i], &again.mappings[i]);
	state_clear(&again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state s;
	struct state_dropped dropped;
	char why[STATE_WHY] = "", *text = malloc(size ? size : 1); /* of its own, so that reading beyond it shows */
	int err;

	if (!text)
		return 0;
	memcpy(text, data, size);
	err = state_decode(&s, text, size, &limits, &dropped, why);
	same(err == 0 || (err == -EBADMSG && why[0]));
	if (err == 0) {
		same(!dropped.count == !dropped.why[0]);
		read_again(&s);
		state_clear(&s);
	}
	free(text);
	return 0;
}
