/* SPDX-License-Identifier: MIT */
/*
 * natpmp - the datagrams of NAT-PMP, RFC 6886.
 *
 * Decodes what clients send and encodes what a gateway answers. Every answer's
 * length is fixed by its kind: 8, 12 or 16 bytes, or the request's own (section 3.5).
 */
#ifndef LIB_NATPMP_H
#define LIB_NATPMP_H

#include <stddef.h>
#include <stdint.h>

#define NATPMP_PORT	     5351
#define NATPMP_ANNOUNCE_PORT 5350
#define NATPMP_ANNOUNCE_IP   0xe0000001u /* 224.0.0.1 */
#define NATPMP_ANNOUNCEMENTS 10

#define NATPMP_ANSWER_MAX  1100 /* of which only an echo (unsupported opcode) needs more than 16 */
#define NATPMP_REQUEST_MAX 1100 /* longer ones are no requests; PCP's bound, RFC 6887 section 7 */

enum natpmp_opcode { NATPMP_ADDRESS = 0, NATPMP_MAP_UDP = 1, NATPMP_MAP_TCP = 2 };

/* Section 3.5. */
enum natpmp_result {
	NATPMP_SUCCESS = 0,
	NATPMP_UNSUPPORTED_VERSION = 1,
	NATPMP_REFUSED = 2, /* Not Authorized/Refused */
	NATPMP_NETWORK_FAILURE = 3,
	NATPMP_OUT_OF_RESOURCES = 4,
	NATPMP_UNSUPPORTED_OPCODE = 5,
};

struct natpmp_request {
	uint8_t opcode;
	uint16_t internal_port;	 /* mappings only */
	uint16_t suggested_port; /* the outer port wished for; a carrier's NAT does not ask */
	uint32_t lifetime_s;	 /* 0 deletes */
};

/*
 * 0, or
 * -EBADMSG: not a request (too short or long, or a response): drop it, never answer
 * -EPROTONOSUPPORT: another version: answer natpmp_encode_version_error
 * -EOPNOTSUPP: another opcode: answer natpmp_encode_echo
 */
int natpmp_request_decode(struct natpmp_request *out, const void *bytes, size_t len);

/* Each returns the answer's length; epoch_s: seconds since the table of mappings began (section 3.6). */
size_t natpmp_encode_address(void *buf, enum natpmp_result result, uint32_t epoch_s, uint32_t public_ip);
size_t natpmp_encode_map(void *buf, const struct natpmp_request *request, enum natpmp_result result, uint32_t epoch_s,
	uint16_t outer_port, uint32_t lifetime_s);
/* The one answer to another version (section 3.5 with erratum 3618: opcode 128). */
size_t natpmp_encode_version_error(void *buf, uint32_t epoch_s);
/*
 * "The entire request MUST be returned" with the response bit and result 5; the epoch
 * takes its place in it too, as in every packet of a gateway (section 3.6), so a
 * request shorter than 8 bytes grows to that.
 */
size_t natpmp_encode_echo(void *buf, const void *request, size_t len, uint32_t epoch_s);

/* "unsupported opcode" and the like. */
const char *natpmp_result_text(enum natpmp_result result);

/*
 * Announcements (section 3.2.1): ten, the second 250 ms after the first, then each
 * interval twice the one before. {0} is idle.
 */
struct natpmp_announcer {
	uint8_t left;
	uint32_t interval_ms;
	uint64_t wake_ms;
};
/* Begins anew, from the first. */
void natpmp_announcer_start(struct natpmp_announcer *a, uint64_t now_ms);
/* Whether one is due now. When none are left wake_ms is UINT64_MAX. */
int natpmp_announcer_step(struct natpmp_announcer *a, uint64_t now_ms);

#endif
