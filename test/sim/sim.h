/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim - a simulated network for the machines without I/O: chance that repeats
 * itself, datagrams on their way, and a STUN server's answer.
 *
 * The test owns the clock (now_ms) and plays servers and NATs; it moves on to
 * sim_wake_ms or the machine's own wake time, whichever is first.
 */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H

#include "lib/stun.h"

#define SIM_PACKETS 512 /* on their way at once */

struct sim_packet {
	uint64_t at_ms;
	unsigned slot;
	struct endpoint from;
	size_t len;
	uint8_t bytes[256];
};

struct sim {
	uint64_t now_ms;
	unsigned loss; /* percent, of each packet */
	struct sim_packet packets[SIM_PACKETS];
	uint64_t due[SIM_PACKETS]; /* of each: its time, then its turn, so that one does not overtake another by chance */
	size_t count;
	uint32_t turn;
};

/* One chance for the whole program: struct hole_config's random has no argument. */
void sim_seed(uint32_t seed);
void sim_random(void *buf, size_t len);
uint32_t sim_below(uint32_t bound);
/* Whether this packet is the unlucky one. */
bool sim_lost(const struct sim *s);

/* Delivers the bytes delay_ms from now, if they are not lost. A full network loses too. */
void sim_put(struct sim *s, uint64_t delay_ms, unsigned slot, const struct endpoint *from, const void *bytes, size_t len);
/* The next packet that is due; false when there is none. */
bool sim_take(struct sim *s, struct sim_packet *out);
uint64_t sim_wake_ms(const struct sim *s); /* UINT64_MAX: nothing is on its way */

/* A success response to the request: XOR-MAPPED-ADDRESS, and OTHER-ADDRESS unless NULL. Returns its length. */
size_t sim_answer(uint8_t buf[256], const void *request, size_t len, const struct endpoint *mapped,
	const struct endpoint *other);
/* A response with the request's id, whose attributes are at most `max` of the reader's bytes: a fuzzer's. Returns its length. */
size_t sim_garbage(uint8_t buf[STUN_HEADER_LEN + 255], const void *request, uint8_t max, struct reader *r);
size_t sim_refusal(uint8_t buf[256], const void *request, size_t len, uint16_t code);

#endif
