/* SPDX-License-Identifier: MIT */
#include "lib/natpmp.h"

#include <errno.h>

#include "lib/cursor.h"

#define RESPONSE 0x80

int natpmp_request_decode(struct natpmp_request *out, const void *bytes, size_t len)
{
	struct reader r = { .at = bytes, .left = len };
	const uint8_t version = read_u8(&r);
	struct natpmp_request q = { .opcode = read_u8(&r) };

	if (r.overrun || q.opcode & RESPONSE || len > NATPMP_REQUEST_MAX)
		return -EBADMSG;
	if (version != 0)
		return -EPROTONOSUPPORT;
	if (q.opcode > NATPMP_MAP_TCP)
		return -EOPNOTSUPP;
	if (q.opcode != NATPMP_ADDRESS) {
		read_u16(&r); /* reserved: ignored, section 3.3 */
		q.internal_port = read_u16(&r);
		q.suggested_port = read_u16(&r);
		q.lifetime_s = read_u32(&r);
	}
	if (r.overrun || r.left != 0)
		return -EBADMSG;
	*out = q;
	return 0;
}

/* The 8 bytes that begin every answer. */
static struct writer answer(void *buf, uint8_t opcode, enum natpmp_result result, uint32_t epoch_s)
{
	struct writer w = writer_new(buf, NATPMP_ANSWER_MAX);

	write_u8(&w, 0); /* version */
	write_u8(&w, opcode | RESPONSE);
	write_u16(&w, (uint16_t)result);
	write_u32(&w, epoch_s);
	return w;
}

size_t natpmp_encode_address(void *buf, enum natpmp_result result, uint32_t epoch_s, uint32_t public_ip)
{
	struct writer w = answer(buf, NATPMP_ADDRESS, result, epoch_s);

	write_u32(&w, result == NATPMP_SUCCESS ? public_ip : 0);
	return w.used;
}

size_t natpmp_encode_map(void *buf, const struct natpmp_request *request, enum natpmp_result result, uint32_t epoch_s,
	uint16_t outer_port, uint32_t lifetime_s)
{
	struct writer w = answer(buf, request->opcode, result, epoch_s);

	write_u16(&w, request->internal_port); /* always: it tells the client which request failed, section 3.5 */
	write_u16(&w, result == NATPMP_SUCCESS ? outer_port : 0);
	write_u32(&w, result == NATPMP_SUCCESS ? lifetime_s : 0);
	return w.used;
}

size_t natpmp_encode_version_error(void *buf, uint32_t epoch_s)
{
	return answer(buf, 0, NATPMP_UNSUPPORTED_VERSION, epoch_s).used;
}

size_t natpmp_encode_echo(void *buf, const void *request, size_t len, uint32_t epoch_s)
{
	const uint8_t opcode = ((const uint8_t *)request)[1];
	struct writer w = answer(buf, opcode, NATPMP_UNSUPPORTED_OPCODE, epoch_s);

	if (len > w.used)
		write_bytes(&w, (const uint8_t *)request + w.used, len - w.used);
	return w.used;
}

const char *natpmp_result_text(enum natpmp_result result)
{
	static const char *const texts[] = {
		[NATPMP_SUCCESS] = "success",
		[NATPMP_UNSUPPORTED_VERSION] = "unsupported version",
		[NATPMP_REFUSED] = "not authorized",
		[NATPMP_NETWORK_FAILURE] = "network failure",
		[NATPMP_OUT_OF_RESOURCES] = "out of resources",
		[NATPMP_UNSUPPORTED_OPCODE] = "unsupported opcode",
	};

	return (size_t)result < sizeof(texts) / sizeof(texts[0]) ? texts[result] : "?";
}

void natpmp_announcer_start(struct natpmp_announcer *a, uint64_t now_ms)
{
	*a = (struct natpmp_announcer){ .left = NATPMP_ANNOUNCEMENTS, .interval_ms = 250, .wake_ms = now_ms };
}

int natpmp_announcer_step(struct natpmp_announcer *a, uint64_t now_ms)
{
	if (a->left == 0) {
		a->wake_ms = UINT64_MAX;
		return 0;
	}
	if (now_ms < a->wake_ms)
		return 0;
	a->left--;
	a->wake_ms = a->left ? now_ms + a->interval_ms : UINT64_MAX;
	a->interval_ms *= 2;
	return 1;
}
