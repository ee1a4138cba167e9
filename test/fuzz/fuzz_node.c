/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whatever arrives from the peer's address: without the key nothing is genuine, and
 * what a holder of the key signs is either refused for its form or comes back from
 * node_sign as the same bytes. What was taken once is never taken again.
 *
 * The input is a message without its HMAC; the first byte picks whether it gets one,
 * and the clock's error.
 */
#include <nettle/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "server/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct node_key key = { "0123456789abcdef", 16 };

static void must(bool yes)
{
	if (!yes)
		abort();
}

static struct node_identity identity(uint32_t ip)
{
	return (struct node_identity){ { endpoint_ipv4(ip, 3478), endpoint_ipv4(ip, 3479) } };
}

/* node.h's picture, by other hands: A speaks to B. */
static void sign(uint8_t *bytes, size_t len)
{
	static const uint8_t parties[] = { 4, 198, 51, 100, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3478 >> 8, 3478 & 0xff, 3479 >> 8,
		3479 & 0xff, 4, 198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3478 >> 8, 3478 & 0xff, 3479 >> 8, 3479 & 0xff };
	struct hmac_sha256_ctx h;

	hmac_sha256_set_key(&h, key.len, key.bytes);
	hmac_sha256_update(&h, sizeof(parties), parties);
	hmac_sha256_update(&h, len, bytes);
	hmac_sha256_digest(&h, SHA256_DIGEST_SIZE, bytes + len);
}

static void taken_once(const struct node_message *m, uint64_t wall_ms)
{
	struct node *n;
	struct node_news news;

	must(node_new(&n, 1, 0) == 0);
	const enum node_verdict first = node_accept(n, m, 0, wall_ms, &news);

	must(first == NODE_FINE || news.answer_run == 0);
	must(first != NODE_FINE || node_accept(n, m, 1, wall_ms, &news) == NODE_REPLAYED);
	must(node_tick(n, 1).wait_ms > 0);
	must(node_alive(n) == (first == NODE_FINE && m->peer_run == 1));
	node_free(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct node_identity a = identity(0xc6336401u), b = identity(0xc6336402u);
	static uint8_t bytes[70000], again[70000];
	struct node_seal *from, *to;
	struct node_message m;

	if (size < 1 || size > 66000)
		return 0;
	must(node_seal_new(&from, &a, &b, &key, 1) == 0);
	must(node_seal_new(&to, &b, &a, &key, 1) == 0);
	const size_t len = size - 1;

	memcpy(bytes, data + 1, len);
	memset(bytes + len, 0, SHA256_DIGEST_SIZE);
	if (data[0] & 1)
		sign(bytes, len);
	const enum node_verdict v = node_check(to, &m, &a.at[0], bytes, len + SHA256_DIGEST_SIZE);

	must(v == NODE_MALFORMED || v == (data[0] & 1 ? NODE_FINE : NODE_FORGED));
	if (v == NODE_FINE) {
		must(node_sign(from, &m, again, sizeof(again)) == len + SHA256_DIGEST_SIZE);
		must(memcmp(bytes, again, len + SHA256_DIGEST_SIZE) == 0);
		must(node_check(to, &m, &b.at[0], bytes, len + SHA256_DIGEST_SIZE) == NODE_STRANGER);
		must(node_check(from, &m, &b.at[0], bytes, len + SHA256_DIGEST_SIZE) == NODE_FORGED);
		taken_once(&m, m.time_ms + (uint64_t)(data[0] >> 1) * 500);
	}
	node_seal_free(from);
	node_seal_free(to);
	return 0;
}
