/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nftset - whether a set or map of nftables has a key, asked of the kernel itself.
 *
 * libnftables' "get element" reads all elements of all sets of the machine first: 30 µs for
 * each, on a router with thousands of them. This costs as much with one as with 10,000.
 */
#ifndef SYS_NFTSET_H
#define SYS_NFTSET_H

#include <stddef.h>
#include <stdint.h>

struct nftset;

/* Negative errno. */
int nftset_open(struct nftset **out);
/*
 * A set of a table of family inet. key: its fields in network order, each filled up with zeros to
 * four bytes. 1: it has it. 0: it has not, or there is no such set or table. Negative errno.
 */
int nftset_has(struct nftset *s, const char *table, const char *set, const void *key, size_t len);
void nftset_close(struct nftset *s); /* NULL is fine */

#endif
