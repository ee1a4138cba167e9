/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What decodes is what the RFC's picture says, and every answer has the length and the first bytes of its kind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cursor.h"
#include "lib/natpmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void holds(bool yes)
{
	if (!yes)
		abort();
}

/* The request again, its reserved bytes as they came. */
static size_t encode(const struct natpmp_request *q, const uint8_t *data, uint8_t buf[12])
{
	struct writer w = writer_new(buf, 12);

	write_u8(&w, 0);
	write_u8(&w, q->opcode);
	if (q->opcode == NATPMP_ADDRESS)
		return w.used;
	write_bytes(&w, data + 2, 2);
	write_u16(&w, q->internal_port);
	write_u16(&w, q->suggested_port);
	write_u32(&w, q->lifetime_s);
	return w.used;
}

static void answered(const uint8_t *answer, size_t len, size_t want_len, uint8_t opcode, uint8_t result)
{
	const uint8_t head[8] = { 0, opcode | 128, 0, result, 0xa1, 0xb2, 0xc3, 0xd4 };

	holds(len == want_len && memcmp(answer, head, sizeof(head)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint32_t epoch_s = 0xa1b2c3d4;
	uint8_t answer[NATPMP_ANSWER_MAX], again[12];
	struct natpmp_request q;
	size_t len;

	switch (natpmp_request_decode(&q, data, size)) {
	case 0:
		holds(encode(&q, data, again) == size && memcmp(again, data, size) == 0);
		for (uint8_t result = 0; result <= NATPMP_UNSUPPORTED_OPCODE; result++) {
			len = q.opcode == NATPMP_ADDRESS
				? natpmp_encode_address(answer, (enum natpmp_result)result, epoch_s, 0xcb007109u)
				: natpmp_encode_map(answer, &q, (enum natpmp_result)result, epoch_s, 40001, 120);
			answered(answer, len, q.opcode == NATPMP_ADDRESS ? 12 : 16, q.opcode, result);
			if (q.opcode != NATPMP_ADDRESS)
				holds(memcmp(answer + 8, data + 4, 2) == 0);
		}
		break;
	case -EPROTONOSUPPORT:
		holds(size >= 2 && data[0] != 0 && data[1] < 128);
		answered(answer, natpmp_encode_version_error(answer, epoch_s), 8, 0, NATPMP_UNSUPPORTED_VERSION);
		break;
	case -EOPNOTSUPP:
		holds(size >= 2 && data[0] == 0 && data[1] > 2 && data[1] < 128);
		len = natpmp_encode_echo(answer, data, size, epoch_s);
		answered(answer, len, size < 8 ? 8 : size, data[1], NATPMP_UNSUPPORTED_OPCODE);
		holds(size <= 8 || memcmp(answer + 8, data + 8, size - 8) == 0);
		break;
	case -EBADMSG:
		holds(size < 2 || data[1] >= 128 || size > NATPMP_REQUEST_MAX || data[0] == 0);
		break;
	default:
		abort();
	}
	return 0;
}
