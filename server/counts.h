/* SPDX-License-Identifier: GPL-2.0-or-later */
/* counts - what the server did and why it did not: one number per row, logged at exit and at SIGUSR1. */
#ifndef SERVER_COUNTS_H
#define SERVER_COUNTS_H

#include <stddef.h>
#include <stdint.h>

enum count {
	COUNT_ANSWERED,		  /* a Binding with success */
	COUNT_BAD_REQUEST,	  /* answered 400 */
	COUNT_UNKNOWN_ATTRIBUTE,  /* answered 420 */
	COUNT_NOT_STUN,		  /* dropped: bytes that are no STUN message */
	COUNT_NOT_REQUEST,	  /* dropped: an indication, or somebody's answer */
	COUNT_UNKNOWN_METHOD,	  /* dropped: not Binding */
	COUNT_SEND_FAILED,	  /* an answer the kernel did not take */
	COUNT_TCP_ACCEPTED,	  /* connections */
	COUNT_TCP_ACCEPT_FAILED,  /* out of descriptors or memory: accepting pauses */
	COUNT_TCP_REFUSED,	  /* closed at once: --tcp-max reached */
	COUNT_TCP_REFUSED_SOURCE, /* closed at once: --tcp-max-per-address reached */
	COUNT_TCP_NOT_STUN,	  /* closed: bytes that are no STUN message, or one too long */
	COUNT_TCP_IDLE,		  /* closed: no whole message for --tcp-idle */
	COUNT_TCP_SLOW,		  /* closed: does not read its answers */
	COUNT_KINDS
};

struct counts {
	uint64_t of[COUNT_KINDS];
};

#define COUNTS_TEXT_MAX 768

/* "answered=12 bad-request=0 ...", every row. Returns buf. */
const char *counts_text(const struct counts *counts, char buf[COUNTS_TEXT_MAX]);

#endif
