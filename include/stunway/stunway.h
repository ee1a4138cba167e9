/* SPDX-License-Identifier: MIT */
/*
 * stunway - what the NAT before this machine does, in words of RFC 3489 and RFC 5780.
 *
 *	struct stunway_nat_options options = { .server = "stun.example.org" };
 *	struct stunway_nat_info info;
 *
 *	if (stunway_nat_info(&info, &options) == 0)
 *		printf("%s %s\n", stunway_type_text(info.type), info.info);
 *
 * stunway_nat_info() blocks until it knows. Programs with a loop of their own drive the
 * same inquiry with stunway_discovery_*. There is no global state: any number of threads
 * may call at the same time, each with objects of its own.
 *
 * Functions return 0 or a negative errno. In options zero is the default, so that what a
 * later version adds means nothing to those who do not know it. Link with -lstunway.
 */
#ifndef STUNWAY_STUNWAY_H
#define STUNWAY_STUNWAY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __GNUC__
#define STUNWAY_API __attribute__((visibility("default")))
#else
#define STUNWAY_API
#endif

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

/*
 * Names as scripts know them: "FullCone", "endpoint-independent", "Random"; "" for an
 * unknown behaviour or port mode and for a value that is none of the enum's, but
 * "Unknown" for STUNWAY_UNKNOWN. Static strings.
 */
STUNWAY_API const char *stunway_type_text(enum stunway_type type);
STUNWAY_API const char *stunway_behavior_text(enum stunway_behavior behavior);
STUNWAY_API const char *stunway_port_mode_text(enum stunway_port_mode mode);

#define STUNWAY_INFO_MAX       256
#define STUNWAY_TIMEOUT_MS     5000 /* where 0 is given */
#define STUNWAY_TIMEOUT_MIN_MS 100
#define STUNWAY_TIMEOUT_MAX_MS 600000

/* What was found out. Addresses are sockaddr_in or sockaddr_in6; ss_family AF_UNSPEC: not known. */
struct stunway_nat_info {
	enum stunway_type type;
	/* UNKNOWN where the evidence does not suffice, whatever the type. */
	enum stunway_behavior mapping, filtering;
	enum stunway_port_mode port_mode;
	double confidence; /* probability that the type is right, 0 to 1, given the loss seen; for Unknown: of the likeliest type */
	struct sockaddr_storage external; /* this machine's address and port as the server sees them */
	struct sockaddr_storage local;	  /* the same socket's own; never the wildcard */
	struct sockaddr_storage server;	  /* the one asked, AF_UNSPEC if its name could not be resolved */
	unsigned rtt_ms;		  /* shortest round trip seen, 0: none */
	double loss;			  /* share of questions that got lost, or their answers, 0 to 1 */
	int alg;	    /* not 0: something on the way rewrites addresses in payloads (MAPPED-ADDRESS differs from XOR-MAPPED-ADDRESS) */
	int many_addresses; /* not 0: different local ports have different outer addresses */
	/* A sentence in English: why, for Error, Blocked and Unknown, and what could not be told otherwise. "": nothing to say. */
	char info[STUNWAY_INFO_MAX];
};

/* What to ask, and how. server must be set; everything else may be 0. Borrowed during the call. */
struct stunway_nat_options {
	const char *server;	      /* a host's name or address literal, without port, at most 255 bytes; IPv6 without brackets */
	uint16_t port;		      /* host order; 0: 3478 */
	int ip_version;		      /* 4 or 6; 0: IPv4, or IPv6 where the server or this machine has no IPv4 */
	const struct sockaddr *local; /* sockaddr_in or sockaddr_in6 to ask from; its address may be the wildcard, its port 0. NULL: any */
	unsigned timeout_ms;	      /* bound on the whole call, within the limits above; 0: STUNWAY_TIMEOUT_MS. Usually it is done far sooner */
	int port_mode;		      /* not 0: find out how ports are chosen, too */
	/* One line per thing that happens, without newline, for a log. Called by the calling thread, during the call. NULL: none. */
	void (*event)(void *user, const char *text);
	void *user; /* event's first argument */
};

/*
 * Asks a STUN server and waits for the verdict, at most for timeout_ms, the resolution of the
 * server's name included. 0 whenever *out was filled, with Error, Blocked or Unknown too.
 * -EINVAL for options that are wrong in themselves, -ENOMEM; *out is then untouched.
 *
 * A server needs a second address (RFC 5780, or RFC 3489) to tell mapping and filtering;
 * of one without it the type is Unknown, and external is known all the same. Uses up to 42
 * sockets with port_mode, else 3. A name is resolved in a thread of its own, which may
 * outlive the call by as long as getaddrinfo(3) takes.
 */
STUNWAY_API int stunway_nat_info(struct stunway_nat_info *out, const struct stunway_nat_options *options);

#define STUNWAY_JSON_MAX 4096

/*
 * The same without pointers to structs, for other languages. local: an address literal,
 * NULL or "" for any. Writes one JSON object and a final NUL into out, of size bytes
 * (STUNWAY_JSON_MAX are always enough):
 *
 *	{"type":"FullCone","external":{"address":"203.0.113.9","port":40001},"local":{…},"info":"",
 *	 "port_mode":"","mapping":"endpoint-independent","filtering":"endpoint-independent",
 *	 "confidence":0.999,"server":"198.51.100.1:3478","rtt_ms":12,"loss":0,"alg":false}
 *
 * external and local are null when unknown; keys may be added. Returns as stunway_nat_info,
 * and -ENOSPC when size is too small.
 */
STUNWAY_API int stunway_nat_json(char *out, size_t size, const char *server, uint16_t port, const char *local,
	uint16_t local_port, int ip_version, unsigned timeout_ms, int port_mode);

/*
 * The inquiry as a state machine, for programs with a loop of their own. It owns no socket
 * and no clock. Whoever runs it opens a UDP socket for each slot that is named, bound to a
 * port of its own, and says with bound() what the socket's local address is; sends what
 * step() says, hands what arrives to receive(), and calls step() again when something
 * arrived, or at wake_ms():
 *
 *	for (;;) {
 *		switch (stunway_discovery_step(d, now_ms, &s)) {
 *		case STUNWAY_SEND: send s.bytes from slot s.slot to s.to; break;
 *		case STUNWAY_WAIT: wait for a datagram, until stunway_discovery_wake_ms(d); break;
 *		case STUNWAY_DONE: stunway_discovery_result(d, now_ms, &info); return;
 *		}
 *	}
 *
 * now_ms is any clock of milliseconds that never goes back, always the same one. An object
 * belongs to one thread at a time.
 */
struct stunway_discovery;

#define STUNWAY_SLOTS 42 /* slots are numbered from 0 to STUNWAY_SLOTS - 1; without port_mode only the first few are used */

enum stunway_action { STUNWAY_WAIT, STUNWAY_SEND, STUNWAY_DONE };

struct stunway_step {
	unsigned slot; /* the socket to send from */
	struct sockaddr_storage to;
	socklen_t to_len;
	const void *bytes; /* borrowed until the next call */
	size_t len;
};

/*
 * server: a sockaddr_in or sockaddr_in6 with its port. timeout_ms (a bound on the verdict) and
 * port_mode: as in the options. -EINVAL, -ENOMEM. Free what was made.
 */
STUNWAY_API int stunway_discovery_new(struct stunway_discovery **out, const struct sockaddr *server, unsigned timeout_ms,
	int port_mode, uint64_t now_ms);
STUNWAY_API void stunway_discovery_free(struct stunway_discovery *d); /* NULL is fine */

/* What to do now. *step is written for STUNWAY_SEND only. A send that fails is a packet lost. */
STUNWAY_API enum stunway_action stunway_discovery_step(struct stunway_discovery *d, uint64_t now_ms, struct stunway_step *step);
/* A datagram arrived on a slot's socket. Not 0 when it was an answer waited for; anything else does no harm. */
STUNWAY_API int stunway_discovery_receive(struct stunway_discovery *d, unsigned slot, const struct sockaddr *from,
	const void *bytes, size_t len, uint64_t now_ms);
/* When step has something to say; UINT64_MAX once it is done. */
STUNWAY_API uint64_t stunway_discovery_wake_ms(const struct stunway_discovery *d);
/*
 * A slot's own address, before its first datagram is sent: the one the kernel sends from, with
 * the port. With the wildcard, whether there is a NAT at all cannot be told.
 */
STUNWAY_API void stunway_discovery_bound(struct stunway_discovery *d, unsigned slot, const struct sockaddr *local);
/*
 * Optional. The server's host answers, though not by STUN: it accepted or refused a TCP connection
 * or sent an ICMP error, after rtt_ms. Without any answer this saves Blocked the wait for the deadline.
 */
STUNWAY_API void stunway_discovery_reachable(struct stunway_discovery *d, unsigned rtt_ms, uint64_t now_ms);
/* The verdict once done, before that what is known so far. */
STUNWAY_API void stunway_discovery_result(const struct stunway_discovery *d, uint64_t now_ms, struct stunway_nat_info *out);

#ifdef __cplusplus
}
#endif

#endif
