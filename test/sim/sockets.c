/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "sys/conntrack.h"
#include "sys/dial.h"
#include "sys/holder.h"
#include "sys/net.h"
#include "sys/tap.h"
#include "sys/udp.h"
#include "test/sim/sim.h"

#define FIRST_FD     1000000
#define HOLDERS_MAX  1024
#define EPHEMERAL    32768
#define WAITING_MAX  400

struct udp {
	struct endpoint local;
	udp_receive_fn *receive;
	void *owner;
	struct udp *next, **at;
};

struct dial {
	struct loop_event event; /* freed in the loop's next turn, as libuv's handles are */
	struct carrier_stream stream;
	bool connected;
	const struct dial_callbacks *callbacks;
	void *owner;
	size_t waiting_len;
	uint8_t waiting[WAITING_MAX];
	struct dial *next, **at;
};

static struct udp *udps;
static struct dial *dials;
static struct endpoint holders[HOLDERS_MAX]; /* family NONE: free */
static struct sockets_count there;
static uint32_t last_stream;
static enum lease_protocol taken_protocol;
static uint16_t taken_port;

struct sockets_count sockets_count(void)
{
	return there;
}

void sockets_take_port(enum lease_protocol protocol, uint16_t port)
{
	taken_protocol = protocol;
	taken_port = port;
}

static const struct udp *udp_at(const struct endpoint *local)
{
	const struct udp *u = udps;

	while (u && !endpoint_equal(&u->local, local))
		u = u->next;
	return u;
}

bool sockets_bound(enum lease_protocol protocol, uint32_t ip, uint16_t port)
{
	const struct endpoint local = endpoint_ipv4(ip, port);

	if (protocol == LEASE_UDP)
		return udp_at(&local) != NULL;
	for (size_t i = 0; i < HOLDERS_MAX; i++)
		if (endpoint_equal(&holders[i], &local))
			return true;
	return false;
}

/* The endpoint to bind to, its port chosen if it was any; or why not. */
static int choose(struct endpoint *local, enum lease_protocol protocol)
{
	if (endpoint_ip32(local) == 0 || endpoint_ip32(local) != carrier.wan_ip)
		return -EADDRNOTAVAIL;
	if (local->port == 0) {
		do
			local->port = (uint16_t)(EPHEMERAL + sim_below(20000));
		while (sockets_bound(protocol, endpoint_ip32(local), local->port));
		return 0;
	}
	return taken_port == local->port && taken_protocol == protocol ? -EADDRINUSE : 0;
}

/* --- sys/udp --- */

int udp_open(struct udp **out, uv_loop_t *loop, const struct endpoint *local, udp_receive_fn *receive, void *owner)
{
	struct endpoint bound = *local;
	int err = choose(&bound, LEASE_UDP);
	struct udp *u;

	(void)loop;
	if (err == 0 && udp_at(&bound))
		err = -EADDRINUSE;
	if (err < 0)
		return err;
	u = calloc(1, sizeof(*u));
	*u = (struct udp){ .local = bound, .receive = receive, .owner = owner, .next = udps, .at = &udps };
	if (udps)
		udps->at = &u->next;
	udps = u;
	there.udp++;
	*out = u;
	return 0;
}

int udp_send(struct udp *u, const struct endpoint *to, const void *bytes, size_t len)
{
	carrier_send_udp(&u->local, to, bytes, len);
	return 0;
}

uint16_t udp_port(const struct udp *u)
{
	return u->local.port;
}

void udp_close(struct udp *u)
{
	if (!u)
		return;
	*u->at = u->next;
	if (u->next)
		u->next->at = u->at;
	there.udp--;
	free(u);
}

void sockets_arrived_udp(const struct endpoint *local, const struct endpoint *from, const void *bytes, size_t len)
{
	const struct udp *u = udp_at(local);

	if (u)
		u->receive(u->owner, from, bytes, len);
}

/* --- sys/dial --- */

static struct dial *dial_of(uint32_t id)
{
	struct dial *d = dials;

	while (d && d->stream.id != id)
		d = d->next;
	return d;
}

struct carrier_stream *sockets_stream(uint32_t id)
{
	struct dial *d = dial_of(id);

	return d ? &d->stream : NULL;
}

int dial_open(struct dial **out, uv_loop_t *loop, const struct endpoint *local, const struct endpoint *server,
	const struct dial_callbacks *callbacks, void *owner)
{
	struct endpoint bound = *local;
	int err = choose(&bound, LEASE_TCP);
	struct dial *d;

	(void)loop;
	for (d = dials; d && err == 0; d = d->next)
		if (endpoint_equal(&d->stream.local, &bound) && endpoint_equal(&d->stream.server, server))
			err = -EADDRNOTAVAIL; /* what connect says of a connection that is there */
	if (err < 0)
		return err;
	d = calloc(1, sizeof(*d));
	*d = (struct dial){ .stream = { .id = ++last_stream, .local = bound, .server = *server }, .callbacks = callbacks, .owner = owner,
		.next = dials, .at = &dials };
	if (dials)
		dials->at = &d->next;
	dials = d;
	there.dials++;
	carrier_send_tcp(&d->stream, CARRIER_SYN, NULL, 0);
	*out = d;
	return 0;
}

void dial_send(struct dial *d, const void *bytes, size_t len)
{
	if (len > WAITING_MAX)
		abort();
	if (d->connected) {
		carrier_send_tcp(&d->stream, CARRIER_DATA, bytes, len);
		return;
	}
	memcpy(d->waiting, bytes, len);
	d->waiting_len = len;
}

const struct endpoint *dial_server(const struct dial *d)
{
	return &d->stream.server;
}

static void free_dial(struct loop_event *e)
{
	free(e);
}

void dial_close(struct dial *d)
{
	if (!d || d->stream.id == 0)
		return;
	carrier_end_stream(&d->stream);
	*d->at = d->next;
	if (d->next)
		d->next->at = d->at;
	there.dials--;
	loop_in(&d->event, 0, free_dial);
}

void sockets_arrived_tcp(uint32_t id, enum carrier_kind kind, const void *bytes, size_t len)
{
	struct dial *d = dial_of(id);

	if (!d)
		return;
	if (kind == CARRIER_ACCEPTED && !d->connected) {
		d->connected = true;
		d->callbacks->established(d->owner, d);
		if (d->stream.id && d->waiting_len)
			carrier_send_tcp(&d->stream, CARRIER_DATA, d->waiting, d->waiting_len);
	} else if (kind == CARRIER_DATA && d->callbacks->bytes) {
		d->callbacks->bytes(d->owner, d, bytes, len);
	} else if (kind == CARRIER_DATA) {
		d->callbacks->message(d->owner, d, bytes, len);
	} else if (kind == CARRIER_END) {
		d->callbacks->broken(d->owner, d);
	}
}

/* --- sys/net: sockets that hold a TCP port --- */

int net_open(int *out_fd, int type, const struct endpoint *local, unsigned flags)
{
	struct endpoint bound = *local;
	int err = choose(&bound, LEASE_TCP);

	if (type != SOCK_STREAM || flags != NET_REUSE)
		abort();
	for (int i = 0; i < HOLDERS_MAX && err == 0; i++) {
		if (holders[i].family != ENDPOINT_NONE)
			continue;
		holders[i] = bound;
		there.holders++;
		*out_fd = FIRST_FD + i;
		return 0;
	}
	return err < 0 ? err : -EMFILE;
}

int net_local(int fd, struct endpoint *out)
{
	*out = holders[fd - FIRST_FD];
	return 0;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	if (fd < FIRST_FD)
		return __real_close(fd);
	holders[fd - FIRST_FD] = (struct endpoint){ 0 };
	there.holders--;
	return 0;
}

/* --- sys/tap, sys/conntrack, sys/holder: nothing to see here --- */

struct tap {
	int none;
};

int tap_open(struct tap **out, uv_loop_t *loop, unsigned ifindex, const struct endpoint *local, tap_receive_fn *receive, void *owner)
{
	static struct tap tap;

	(void)loop, (void)ifindex, (void)local, (void)receive, (void)owner;
	there.taps++;
	*out = &tap;
	return 0;
}

void tap_close(struct tap *t)
{
	there.taps -= t != NULL;
}

struct conntrack {
	int none;
};

int conntrack_open(struct conntrack **out)
{
	static struct conntrack ct;

	there.conntracks++;
	*out = &ct;
	return 0;
}

int conntrack_scrub(struct conntrack *ct, const struct conntrack_port *ports, size_t count)
{
	(void)ct, (void)ports, (void)count;
	return 0;
}

void conntrack_close(struct conntrack *ct)
{
	there.conntracks -= ct != NULL;
}

const char *holder_name(char buf[HOLDER_MAX], int type, const struct endpoint *local)
{
	(void)type, (void)local;
	return strcpy(buf, "another program");
}
