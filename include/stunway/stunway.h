/* SPDX-License-Identifier: MIT */
/*
 * stunway - what the NAT before this machine does, in words of RFC 3489 and RFC 5780.
 */
#ifndef STUNWAY_STUNWAY_H
#define STUNWAY_STUNWAY_H

#ifdef __cplusplus
extern "C" {
#endif

/* The type of a NAT: RFC 3489 section 5, and what a probe may find instead of one. */
enum stunway_type {
	STUNWAY_UNKNOWN, /* the evidence does not suffice */
	STUNWAY_ERROR,	 /* the question could not be asked, or the server refused it */
	STUNWAY_BLOCKED, /* no answer: UDP is blocked, or the server is down */
	STUNWAY_OPEN_INTERNET,
	STUNWAY_SYMMETRIC_UDP_FIREWALL,
	STUNWAY_FULL_CONE,
	STUNWAY_RESTRICTED_CONE,
	STUNWAY_PORT_RESTRICTED_CONE,
	STUNWAY_SYMMETRIC_NAT,
};

/* How a NAT maps, and how it filters: RFC 4787 sections 4.1 and 5. */
enum stunway_behavior {
	STUNWAY_BEHAVIOR_UNKNOWN,
	STUNWAY_ENDPOINT_INDEPENDENT,
	STUNWAY_ADDRESS_DEPENDENT,
	STUNWAY_ADDRESS_AND_PORT_DEPENDENT,
};

/* How a NAT chooses the outer port of a new mapping. */
enum stunway_port_mode {
	STUNWAY_PORTS_UNKNOWN, /* not asked, or too few samples */
	STUNWAY_PORTS_PRESERVED, /* the inner one's number */
	STUNWAY_PORTS_INCREMENT,
	STUNWAY_PORTS_DECREMENT,
	STUNWAY_PORTS_RANDOM,
};

#ifdef __cplusplus
}
#endif

#endif
