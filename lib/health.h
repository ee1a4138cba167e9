/* SPDX-License-Identifier: MIT */
/*
 * health - what is known of one STUN server over one protocol, and which of several to ask.
 *
 *	well ⟲ answers: round trip smoothed, old failures forgiven by half every 10 minutes
 *	  │ a question fails
 *	 sick: not chosen while another is well; one trial when its pause is over,
 *	  │    10 s, doubled with each failure up to 10 minutes
 *	  └→ well, with the first answer
 *
 * Who asks has a seed of his own, and with it an order of the servers of his own (weighted
 * rendezvous hashing): the good ones get more of the load, none gets all, whoever asked a
 * server that falls ill goes elsewhere, each his own way, and comes back when it is well.
 *
 * Questions to one server are paced: each takes its place in a queue of so many a second,
 * of which a short burst may go at once.
 *
 * Pure state: time is an argument. All zero but the key is a server of which nothing is known.
 */
#ifndef LIB_HEALTH_H
#define LIB_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEALTH_BURST 20 /* questions that may go at once */

struct health {
	uint32_t key; /* given by the owner: tells this server from the others, and stays */
	uint64_t answered, failed; /* questions, so far */
	uint32_t rtt_ms;	   /* smoothed; 0: not known */
	bool hangs_up;		   /* TCP: closes the connection after one answer */

	/* private */
	uint32_t blame; /* failures, each 256 when fresh */
	uint64_t blamed_ms;
	uint64_t trial_ms; /* 0: well; else when it may be tried again */
	uint8_t pauses;
	uint8_t hung_up;   /* in a row */
	uint64_t hung_up_ms;
	uint64_t next_us;  /* when the queue is empty */
};

void health_answered(struct health *h, uint32_t rtt_ms, uint64_t now_ms); /* rtt_ms 0: not known */
void health_failed(struct health *h, uint64_t now_ms);
/* A TCP connection was closed after one answer. Many at one moment are one: a server that ended, which is no habit. */
void health_hung_up(struct health *h, uint64_t now_ms);
/* A TCP connection gave a second answer. */
void health_stayed(struct health *h);
bool health_sick(const struct health *h);
/* The line was down, not the servers: a sick one may be tried now. */
void health_forgive(struct health *h, uint64_t now_ms);

/*
 * The server that this seed asks. trial: it may be a sick one whose pause is over (only
 * who asks next tries it). 0 when count is 0.
 */
size_t health_choose(struct health *list, size_t count, uint32_t seed, bool trial, uint64_t now_ms);
/* The first from here on, around the end, that is not sick; here itself when all are. */
size_t health_next(const struct health *list, size_t count, size_t here);

/* Takes a place in the queue of so many questions a second (at least 1): when that question may go, now or later. */
uint64_t health_reserve(struct health *h, uint32_t per_second, uint64_t now_ms);

#endif
