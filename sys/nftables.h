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

/* The handle of a table of family inet, which no other table of this network namespace ever has again. -ENOENT. */
int nftables_table(struct nftables *s, const char *table, uint64_t *handle);

/* key: as for nftables_has. */
typedef void nftables_counter_fn(void *owner, const uint8_t *key, size_t len, uint64_t packets, uint64_t bytes);

/*
 * The counter of each element of a set of family inet. What others change meanwhile may be told twice or not at
 * all. Unlike the rest it takes time with many of them: some 5 ms for 10,000. Negative errno.
 */
int nftables_counters(struct nftables *s, const char *table, const char *set, nftables_counter_fn *seen, void *owner);

/*
 * Names the flowtables that rules lead flows to, as "table inet fw4 flowtable ft", joined by ", "; "" when there are
 * none. What they took passes no chain any more. Negative errno.
 */
int nftables_offloads(struct nftables *s, char *buf, size_t max);
struct nlmsghdr;
/* Adds what one rule, as the kernel tells it, says of them to buf, unless it is there already. */
void nftables_offload_read(const struct nlmsghdr *rule, char *buf, size_t max);

void nftables_close(struct nftables *s); /* NULL is fine */

#endif
