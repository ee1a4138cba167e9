/* SPDX-License-Identifier: GPL-2.0-or-later */
/* udp - one place's UDP sockets: datagrams in, answers out of whichever of them answer_to names. No state per client. */
#ifndef SERVER_UDP_H
#define SERVER_UDP_H

#include "server/config.h"
#include "server/counts.h"
#include "server/loop.h"

struct udp;

/* Binds and watches. place, loop and counts are borrowed until udp_free. Negative errno, which has been logged. */
int udp_new(struct udp **out, const struct place *place, struct loop *loop, struct counts *counts);
void udp_free(struct udp *udp); /* NULL is fine */

#endif
