/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * permanent - mappings of the configuration file, one a [mapping NAME] section.
 *
 *	[mapping web]
 *	protocol = tcp
 *	internal_ip = 192.168.1.20
 *	internal_port = 443
 *	relay_port = 20443           ; optional
 *
 * internal_ip may be one of the router's own addresses, too: what comes is then handed to
 * the service that listens there. "wan" is the line's address, whatever it is; a UDP
 * service that listens on every address wants that, for it answers from there.
 */
#ifndef GATEWAY_PERMANENT_H
#define GATEWAY_PERMANENT_H

#include "lib/leases.h"
#include "sys/options.h"

#define PERMANENTS_MAX 128

struct permanent {
	const char *name;	/* borrowed */
	uint32_t protocol;	/* enum lease_protocol; 0: not said yet */
	uint32_t internal_ip;	/* host order */
	bool on_wan;		/* internal_ip is the line's, whatever it is */
	uint32_t internal_port; /* 0: not said yet */
	uint32_t relay_port;	/* 0: any */
};

/* The keys of a section; they set a struct permanent. */
extern const struct option_row permanent_rows[];

/* Another one in an array of PERMANENTS_MAX; NULL, and in why what would be right. */
struct permanent *permanent_add(struct permanent *all, size_t *count, const char *name, char why[OPTION_WHY_MAX]);
bool permanents_equal(const struct permanent *a, size_t a_count, const struct permanent *b, size_t b_count);
/* Whether p, the last of all, is whole, and in the way of none before it. -EINVAL, and in why what is wrong. */
int permanent_check(const struct permanent *all, const struct permanent *p, char why[OPTION_WHY_MAX]);

#endif
