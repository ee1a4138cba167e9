/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What decodes, encodes again to a message that decodes to the same. */
#include <stdlib.h>
#include <string.h>

#include "lib/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(bool yes)
{
	if (!yes)
		abort();
}

static size_t encode(const struct stun_message *m, uint8_t *buf, size_t max)
{
	struct stun_builder b;
	struct stun_attr a;
	struct stun_value v;

	stun_begin(&b, buf, max, m->class, m->method, m->id);
	for (size_t offset = 0; stun_next(m, &offset, &a);) {
		if (a.type == STUN_FINGERPRINT && !m->classic)
			stun_put_fingerprint(&b);
		else if (stun_value_decode(&v, &a, m->id) == 0)
			stun_put(&b, a.type, &v);
	}
	return stun_end(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t once[8192], twice[8192];
	struct stun_message m, again;
	struct endpoint e;
	size_t len;

	if (size >= 4)
		stun_stream_len(data, size);
	if (size > 4096 || stun_decode(&m, data, size) < 0)
		return 0;
	stun_mapped(&m, &e);
	len = encode(&m, once, sizeof(once));
	same(len >= STUN_HEADER_LEN && stun_decode(&again, once, len) == 0);
	same(again.class == m.class && again.method == m.method && again.classic == m.classic);
	same(encode(&again, twice, sizeof(twice)) == len && memcmp(once, twice, len) == 0);
	return 0;
}
