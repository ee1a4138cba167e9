/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What decodes lies within the packet, and packed again decodes to the same. */
#include <stdlib.h>
#include <string.h>

#include "lib/cursor.h"
#include "lib/datagram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void holds(bool yes)
{
	if (!yes)
		abort();
}

static size_t pack(const struct datagram *d, uint8_t *buf, size_t max)
{
	struct writer w = writer_new(buf, max);

	write_u16(&w, 0x4500);
	write_u16(&w, (uint16_t)(28 + d->len));
	write_zeros(&w, 5);
	write_u8(&w, 17);
	write_u16(&w, 0);
	write_u32(&w, endpoint_ip32(&d->from));
	write_u32(&w, endpoint_ip32(&d->to));
	write_u16(&w, d->from.port);
	write_u16(&w, d->to.port);
	write_u16(&w, (uint16_t)(8 + d->len));
	write_u16(&w, 0);
	write_bytes(&w, d->bytes, d->len);
	return w.overrun ? 0 : w.used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[65536];
	struct datagram d, again;
	size_t len;

	if (datagram_decode(&d, data, size) < 0)
		return 0;
	holds(d.bytes >= data && d.bytes + d.len <= data + size);
	len = pack(&d, buf, sizeof(buf));
	holds(len > 0 && datagram_decode(&again, buf, len) == 0);
	holds(endpoint_equal(&d.from, &again.from) && endpoint_equal(&d.to, &again.to));
	holds(d.len == again.len && memcmp(d.bytes, again.bytes, d.len) == 0);
	return 0;
}
