/* SPDX-License-Identifier: MIT */
/*
 * inquiry - the one shape of the machines that ask the network something.
 *
 * Such a machine owns no socket and no clock. Whoever runs it opens a UDP socket for
 * each slot it names (the first time it names it, and says with bound() what its local
 * endpoint is), sends what step() says, hands what arrives to receive(), and calls
 * step() again at wake_ms() or when something arrived, whichever is first:
 *
 *	for (;;) {
 *		switch (m->step(machine, now_ms, &s)) {
 *		case INQUIRY_SEND: send s.bytes from slot s.slot to s.to; break;
 *		case INQUIRY_WAIT: wait for a datagram, until wake_ms(); break;
 *		case INQUIRY_DONE: return;
 *		}
 *	}
 */
#ifndef LIB_INQUIRY_H
#define LIB_INQUIRY_H

#include "lib/endpoint.h"

struct inquiry_step {
	unsigned slot; /* the local port to send from */
	struct endpoint to;
	const uint8_t *bytes; /* borrowed until the next call */
	size_t len;
};

enum inquiry_action { INQUIRY_WAIT, INQUIRY_SEND, INQUIRY_DONE };

/* A machine as those see it who run any of them. */
struct inquiry {
	enum inquiry_action (*step)(void *machine, uint64_t now_ms, struct inquiry_step *step);
	/* True when it was an answer that the machine waited for; all else is dropped and counted. */
	bool (*receive)(void *machine, unsigned slot, const struct endpoint *from, const void *bytes, size_t len, uint64_t now_ms);
	/* When step has something to say; UINT64_MAX once it is done. */
	uint64_t (*wake_ms)(const void *machine);
	/* A slot's own endpoint: the address the kernel sends from, never the wildcard. */
	void (*bound)(void *machine, unsigned slot, const struct endpoint *local);
};

#endif
