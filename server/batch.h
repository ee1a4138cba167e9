/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * batch - datagrams by the dozen: one system call receives up to 64, one sends as many answers.
 *
 * A worker has one batch for all its sockets. Answers collect in lanes, one per socket
 * they leave from, and the sender's sockaddr goes back as it came. Memory is there from
 * the start; pages of long datagrams are touched only once such come.
 */
#ifndef SERVER_BATCH_H
#define SERVER_BATCH_H

#include "sys/net.h"

#define BATCH		64
#define BATCH_LANES	4
#define BATCH_IN_MAX	65535 /* a datagram is never longer */
#define BATCH_ROOM	512   /* for one short answer */

struct batch;

/* -ENOMEM. */
int batch_new(struct batch **out);
void batch_free(struct batch *b); /* NULL is fine */

/* Takes what waits in a socket, in place of what was taken before: how many datagrams, or a negative errno. */
int batch_receive(struct batch *b, int fd, bool pktinfo);

/* The i-th: its bytes, length and sender. */
const uint8_t *batch_bytes(const struct batch *b, unsigned i, size_t *len);
struct endpoint batch_from(const struct batch *b, unsigned i);
/* Which local address it came to and through which interface; with pktinfo only. */
void batch_to(struct batch *b, unsigned i, struct endpoint *to, unsigned *ifindex);

/* BATCH_ROOM bytes in which its answer may be written. */
uint8_t *batch_room(struct batch *b, unsigned i);
/* So many bytes of its room go to its sender, at that port, by a lane. At most once for each. */
void batch_put(struct batch *b, unsigned i, unsigned lane, size_t len, uint16_t port);
/* Likewise, but to somebody else than its sender. */
void batch_put_to(struct batch *b, unsigned i, unsigned lane, size_t len, const struct endpoint *to);
/* Likewise to its sender, from this local address and interface (0: the kernel's choice). */
void batch_put_from(struct batch *b, unsigned i, size_t len, uint16_t port, const struct endpoint *from, unsigned ifindex);
/* Sends a lane's answers by a socket, and empties it. How many the kernel did not take. */
unsigned batch_send(struct batch *b, unsigned lane, int fd);

#endif
