/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nftables - looks at a ruleset by asking the kernel itself.
 *
 * libnftables reads all elements of a machine's sets before it answers almost anything: 150 ms
 * with 10,000 of them, on a fast machine. What is asked here costs the same with any number.
 */
#ifndef SYS_NFTABLES_H
#define SYS_NFTABLES_H

#include <stddef.h>
#include <stdint.h>

struct nftables;

/* Negative errno. */
int nftables_open(struct nftables **out);
/*
 * A set of a table of family inet. key: its fields in network order, each filled up with zeros to
 * four bytes. 1: it has it. 0: it has not, or there is no such set or table. Negative errno.
 */
int nftables_has(struct nftables *s, const char *table, const char *set, const void *key, size_t len);

struct nftables_rules {
	uint64_t fingerprint; /* of all that they are, their handles included: another for other rules */
	size_t count;
	size_t commented; /* with the comment that was asked for */
};

/*
 * The rules of a chain, or with chain NULL of a whole table; family is "ip" or "inet". comment
 * may be NULL. Without such a chain there are none. Negative errno.
 */
int nftables_rules(struct nftables *s, const char *family, const char *table, const char *chain, const char *comment,
	struct nftables_rules *out);
void nftables_close(struct nftables *s); /* NULL is fine */

#endif
