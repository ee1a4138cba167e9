/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config - what natbox can be told, at the start or later: one table row per option.
 *
 * The row serves the command line, the control command `set`, --help and the dump.
 */
#ifndef LAB_CONFIG_H
#define LAB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/endpoint.h"

enum { MODE_NAT, MODE_FIREWALL };
enum { BEHAVIOUR_EI, BEHAVIOUR_AD, BEHAVIOUR_APD, BEHAVIOUR_SAME };
enum { PORTS_PRESERVE, PORTS_INCREMENT, PORTS_DECREMENT, PORTS_RANDOM };
enum { POOLING_PAIRED, POOLING_ARBITRARY };
enum { UNKNOWN_DROP, UNKNOWN_RST };

enum { CONFIG_OUTER_MAX = 16, CONFIG_TEXT_MAX = 108 };

struct config {
	uint32_t mode, mapping, filtering, tcp_mapping, tcp_filtering; /* tcp_: BEHAVIOUR_SAME follows the other */
	uint32_t ports, port_low, port_high, port_first, port_step, others, pooling, seed;
	struct endpoint outer[CONFIG_OUTER_MAX]; /* IPv4, port 0 */
	uint32_t outer_count;
	uint32_t udp_timeout_s, tcp_timeout_s, tcp_transitory_s, icmp_timeout_s;
	uint32_t inbound_refresh, tcp_unknown, icmp_unreachable, hairpin;
	uint32_t loss, duplicate; /* hundredths of a percent */
	uint32_t delay_ms, jitter_ms, block_udp, alg;
	char inside[16], outside[16], control[CONFIG_TEXT_MAX];
};

void config_defaults(struct config *c);

/*
 * Gives option `name` the value of the text; running: only what may change at run time. 0, -ENOENT (no such option),
 * -EPERM (not at run time), -EINVAL (bad value).
 */
int config_set(struct config *c, const char *name, const char *value, bool running);
/* Replaces all outer addresses; -EINVAL, -E2BIG, and nothing changes. */
int config_set_outer(struct config *c, char *const *texts, size_t count);

/*
 * Reads the command line. 0: done; 1: --help was asked for; -EINVAL: an option or value is bad, *bad names it
 * (borrowed from argv), *reason says why.
 */
int config_args(struct config *c, int argc, char **argv, const char **bad, const char **reason);

void config_help(FILE *out);
/* The members of a JSON object, without its braces. */
void config_json(FILE *out, const struct config *c);

#endif
