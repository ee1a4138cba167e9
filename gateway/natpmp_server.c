/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/natpmp_server.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sys/cleanup.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/net.h"

#define BURST	   64 /* datagrams per wake-up */
#define WAITING_MAX 256 /* mapping requests that wait for their turn … */
#define SHARE_MAX   64	/* … of one client */
#define DROP_LOG_MS 10000
#define ANSWER_LOG_BURST 50 /* answers said at once, then one per … */
#define ANSWER_LOG_MS	 500

/* Where an answer goes: rides along in gateway_asker. */
struct reply_to {
	unsigned lan; /* the interface's index: it may be gone when the answer comes */
	struct endpoint client;
	uint32_t asked_ip;
};
static_assert(sizeof(struct reply_to) <= GATEWAY_REPLY_MAX, "a reply's way must fit gateway_asker");

struct question {
	struct reply_to to;
	struct natpmp_request is;
};

struct lan {
	struct natpmp_server *server;
	struct netif is;
	uv_poll_t poll;
	int fd;
};

struct natpmp_server {
	uv_loop_t *loop;
	struct gateway *gateway; /* NULL until served */
	struct gateway_observer observer;
	uv_timer_t announcing;
	struct natpmp_announcer announcer;
	struct natpmp_counters counters;
	struct log_limit drop_log, answer_log, send_log;
	/* A mapping takes the firewall milliseconds, the rest of what is asked none: one a turn, and whoever asks else is answered between. */
	uv_idle_t working;
	size_t waiting_count;
	struct question waiting[WAITING_MAX];
	bool closed;
	size_t handles; /* not closed yet */
	size_t count;
	struct lan *lans[CONFIG_LANS_MAX];
};

static void send_from(const struct lan *l, uint32_t from_ip, const struct endpoint *to, const uint8_t *bytes, size_t len)
{
	const struct endpoint from = endpoint_ipv4(from_ip, 0);
	const int err = net_send(l->fd, bytes, len, to, &from, l->is.index);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (err < 0 && log_allowed(&l->server->send_log, DROP_LOG_MS, clock_ms(), &skipped))
		log_warn("NAT-PMP answer not sent to=%s lan=%s error=\"%s\"%s", endpoint_text(to, text), l->is.name,
			strerror(-err), log_more(more, skipped));
}

static struct lan *find_lan(const struct natpmp_server *s, unsigned index)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->lans[i]->is.index == index)
			return s->lans[i];
	return NULL;
}

static void reply(struct natpmp_server *s, const struct reply_to *to, const uint8_t *bytes, size_t len)
{
	const struct lan *l = find_lan(s, to->lan);

	if (!l)
		return;
	s->counters.answered++;
	send_from(l, to->asked_ip, &to->client, bytes, len);
}

/* A client may ask as often as it likes, not write as much. */
static void log_answer(struct natpmp_server *s, const struct reply_to *to, const struct natpmp_request *q,
	const struct gateway_answer *a)
{
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&s->answer_log, ANSWER_LOG_MS, ANSWER_LOG_BURST, clock_ms(), &skipped))
		log_info("NAT-PMP answer client=%s opcode=%u internal=%u result=%u (%s) outer=%u lifetime=%u s%s",
			endpoint_ip_text(&to->client, text), q->opcode, q->internal_port, a->result, natpmp_result_text(a->result),
			a->outer_port, a->lifetime_s, log_more(more, skipped));
}

static void reply_map(struct natpmp_server *s, const struct reply_to *to, const struct natpmp_request *q,
	const struct gateway_answer *a)
{
	uint8_t buf[NATPMP_ANSWER_MAX];

	log_answer(s, to, q, a);
	reply(s, to, buf, natpmp_encode_map(buf, q, a->result, gateway_epoch_s(s->gateway), a->outer_port, a->lifetime_s));
}

static void answer_later(void *owner, const struct gateway_asker *asker, const struct natpmp_request *q,
	const struct gateway_answer *a)
{
	struct reply_to to;

	memcpy(&to, asker->reply_to, sizeof(to));
	reply_map(owner, &to, q, a);
}

static void serve_address(struct natpmp_server *s, const struct reply_to *to)
{
	uint8_t buf[NATPMP_ANSWER_MAX];
	enum natpmp_result result;
	uint32_t ip;

	if (gateway_address(s->gateway, &result, &ip))
		reply(s, to, buf, natpmp_encode_address(buf, result, gateway_epoch_s(s->gateway), ip));
}

static void serve_map(struct natpmp_server *s, const struct reply_to *to, const struct natpmp_request *q)
{
	struct gateway_asker asker = { .answer = answer_later, .owner = s };
	struct gateway_answer answer;

	memcpy(asker.reply_to, to, sizeof(*to));
	if (gateway_map(s->gateway, endpoint_ip32(&to->client), q, &asker, &answer))
		reply_map(s, to, q, &answer);
}

static void forget_waiting(struct natpmp_server *s, size_t i)
{
	memmove(&s->waiting[i], &s->waiting[i + 1], (--s->waiting_count - i) * sizeof(s->waiting[0]));
}

static void work(uv_idle_t *idle)
{
	struct natpmp_server *s = idle->data;
	const struct question q = s->waiting[0];

	forget_waiting(s, 0);
	if (s->waiting_count == 0)
		uv_idle_stop(idle);
	serve_map(s, &q.to, &q.is);
}

static bool same_mapping(const struct question *a, const struct question *b)
{
	return a->to.lan == b->to.lan && endpoint_same_ip(&a->to.client, &b->to.client) && a->is.opcode == b->is.opcode &&
		a->is.internal_port == b->is.internal_port;
}

/* False when too many wait. A client's last word on a mapping counts, and takes the place of those before. */
static bool wait_for_turn(struct natpmp_server *s, const struct reply_to *to, const struct natpmp_request *request)
{
	const struct question q = { *to, *request };
	size_t of_client = 0;

	for (size_t i = s->waiting_count; i-- > 0;) {
		if (same_mapping(&s->waiting[i], &q))
			forget_waiting(s, i);
		else
			of_client += endpoint_same_ip(&s->waiting[i].to.client, &to->client);
	}
	if (s->waiting_count == WAITING_MAX || of_client == SHARE_MAX)
		return false;
	s->waiting[s->waiting_count++] = q;
	uv_idle_start(&s->working, work);
	return true;
}

static void count_drop(struct natpmp_server *s, uint64_t *counter, const char *why, const struct lan *l, const struct endpoint *from)
{
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	++*counter;
	if (log_allowed(&s->drop_log, DROP_LOG_MS, clock_ms(), &skipped))
		log_debug("NAT-PMP datagram dropped reason=\"%s\" from=%s lan=%s%s", why, endpoint_text(from, text), l->is.name,
			log_more(more, skipped));
}

static void serve(struct natpmp_server *s, const struct lan *l, const struct reply_to *to, const uint8_t *bytes, size_t len)
{
	struct natpmp_request q;
	uint8_t buf[NATPMP_ANSWER_MAX];

	switch (natpmp_request_decode(&q, bytes, len)) {
	case 0:
		if (q.opcode == NATPMP_ADDRESS)
			serve_address(s, to);
		else if (!wait_for_turn(s, to, &q))
			count_drop(s, &s->counters.crowded, "too many requests wait", l, &to->client);
		break;
	case -EPROTONOSUPPORT:
		s->counters.unsupported_version++;
		reply(s, to, buf, natpmp_encode_version_error(buf, gateway_epoch_s(s->gateway)));
		break;
	case -EOPNOTSUPP:
		s->counters.unsupported_opcode++;
		reply(s, to, buf, natpmp_encode_echo(buf, bytes, len, gateway_epoch_s(s->gateway)));
		break;
	default:
		count_drop(s, &s->counters.malformed, "not a request", l, &to->client);
	}
}

static void receive(struct lan *l, const uint8_t *bytes, size_t len, const struct endpoint *from, const struct endpoint *to)
{
	struct natpmp_server *s = l->server;
	const struct reply_to reply_to = { .lan = l->is.index, .client = *from, .asked_ip = endpoint_ip32(to) };

	if (!s->gateway)
		return;
	/* asked_ip is one of ours, or multicast and broadcast would be answered from it */
	if (!netif_is_neighbour(&l->is, endpoint_ip32(from)) || netif_owns(&l->is, endpoint_ip32(from)) || from->port == 0 ||
		!netif_owns(&l->is, reply_to.asked_ip))
		count_drop(s, &s->counters.foreign, "not from a neighbour to this address", l, from);
	else
		serve(s, l, &reply_to, bytes, len);
}

static void readable(uv_poll_t *poll, int status, int events)
{
	struct lan *l = poll->data;
	uint8_t buf[NATPMP_REQUEST_MAX + 1]; /* one more, so that a longer one is seen to be longer */

	(void)status, (void)events;
	for (int i = 0; i < BURST; i++) {
		struct endpoint from, to;
		unsigned ifindex;
		const int n = net_receive(l->fd, buf, sizeof(buf), &from, &to, &ifindex);

		if (n == -EAGAIN)
			return;
		if (n >= 0)
			receive(l, buf, (size_t)n, &from, &to);
	}
}

static void announce_due(uv_timer_t *timer)
{
	const struct endpoint everyone = endpoint_ipv4(NATPMP_ANNOUNCE_IP, NATPMP_ANNOUNCE_PORT);
	struct natpmp_server *s = timer->data;
	enum natpmp_result result;
	uint8_t buf[NATPMP_ANSWER_MAX];
	uint32_t ip;

	if (natpmp_announcer_step(&s->announcer, clock_ms()) && gateway_address(s->gateway, &result, &ip) && result == NATPMP_SUCCESS)
		for (size_t i = 0; i < s->count; i++)
			send_from(s->lans[i], s->lans[i]->is.ip, &everyone, buf,
				natpmp_encode_address(buf, result, gateway_epoch_s(s->gateway), ip));
	if (s->announcer.left) {
		const uint64_t now_ms = clock_ms();

		uv_timer_start(timer, announce_due, s->announcer.wake_ms > now_ms ? s->announcer.wake_ms - now_ms : 0, 0);
	}
}

static void announce(void *owner)
{
	struct natpmp_server *s = owner;

	natpmp_announcer_start(&s->announcer, clock_ms());
	uv_timer_start(&s->announcing, announce_due, 0, 0);
}

static void release(struct natpmp_server *s)
{
	if (--s->handles == 0)
		free(s);
}

static void lan_closed(uv_handle_t *handle)
{
	struct lan *l = handle->data;

	release(l->server);
	free(l);
}

static void close_lan(struct lan *l)
{
	uv_close((uv_handle_t *)&l->poll, lan_closed);
	close(l->fd);
}

/* Bound to the interface, so that nobody else is served; not to its address, so that each of the router's answers. */
static int bind_lan(int *out_fd, const char *name)
{
	const struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(NATPMP_PORT) };
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name)) < 0 ||
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &(int){ 1 }, sizeof(int)) < 0 ||
		bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	*out_fd = fd;
	fd = -1; /* handed over */
	return 0;
}

static int open_lan(struct natpmp_server *s, const struct netif *is)
{
	CLEANUP(close_fd) int fd = -1;
	int err = bind_lan(&fd, is->name);
	struct lan *l;

	if (err < 0)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	*l = (struct lan){ .server = s, .is = *is, .fd = fd };
	err = uv_poll_init(s->loop, &l->poll, fd);
	if (err < 0) {
		free(l);
		return err;
	}
	l->poll.data = l;
	uv_poll_start(&l->poll, UV_READABLE, readable);
	fd = -1; /* handed over */
	s->handles++;
	s->lans[s->count++] = l;
	return 0;
}

static bool is_listed(const struct netif *lans, size_t count, unsigned index)
{
	for (size_t i = 0; i < count; i++)
		if (lans[i].index == index)
			return true;
	return false;
}

int natpmp_server_follow(struct natpmp_server *s, const struct netif *lans, size_t count, const char **failed)
{
	int err = 0;

	for (size_t i = s->count; i-- > 0;) {
		if (is_listed(lans, count, s->lans[i]->is.index))
			continue;
		close_lan(s->lans[i]);
		s->lans[i] = s->lans[--s->count];
	}
	for (size_t i = 0; i < count; i++) {
		struct lan *known = find_lan(s, lans[i].index);
		int one;

		if (known) {
			known->is = lans[i]; /* perhaps of other addresses */
			continue;
		}
		one = open_lan(s, &lans[i]);
		if (one < 0) {
			err = one;
			*failed = lans[i].name;
		}
	}
	return err;
}

int natpmp_server_open(struct natpmp_server **out, uv_loop_t *loop)
{
	struct natpmp_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->observer = (struct gateway_observer){ .owner = s, .announce = announce };
	uv_timer_init(loop, &s->announcing);
	uv_idle_init(loop, &s->working);
	s->announcing.data = s->working.data = s;
	s->handles = 2;
	*out = s;
	return 0;
}

void natpmp_server_serve(struct natpmp_server *s, struct gateway *g)
{
	s->gateway = g;
	gateway_observe(g, &s->observer);
}

const struct natpmp_counters *natpmp_server_counters(const struct natpmp_server *s)
{
	return &s->counters;
}

static void own_closed(uv_handle_t *handle)
{
	release(handle->data);
}

void natpmp_server_close(struct natpmp_server *s)
{
	if (!s || s->closed)
		return;
	s->closed = true;
	for (size_t i = 0; i < s->count; i++)
		close_lan(s->lans[i]);
	uv_close((uv_handle_t *)&s->announcing, own_closed);
	uv_close((uv_handle_t *)&s->working, own_closed);
}
