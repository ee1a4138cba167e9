/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/log.h"

#define LOG_MS		60000
#define LOG_BURST	10
#define OUTPUT_MAX	4096 /* bytes of one run that are logged */
#define DESCRIPTION_MAX 64

struct hooked {
	struct hooked *next; /* in the queue, or among all */
	struct hooks_state now;
	char description[DESCRIPTION_MAX];
	struct endpoint told; /* what the program knows */
	bool owned;	      /* a mapping's; else it goes once the program knows of the close */
	bool queued, running;
};

struct run {
	struct hooks *hooks;
	struct hooked *hooked; /* NULL: this run is free */
	uv_poll_t poll;
	int fd;
	size_t output; /* bytes so far */
	uint32_t limit_ms;
	const char *event;
};

struct hooks {
	uv_loop_t *loop;
	struct helper *helper;
	uint32_t limit_ms;
	struct hooked *first, **end; /* the queue */
	size_t queued;
	struct run *runs[HOOKS_RUNNING_MAX];
	struct log_limit queue_log, end_log;
};

static void start(struct hooks *h);

static bool same(const struct lease_key *a, const struct lease_key *b)
{
	return a->protocol == b->protocol && a->client_ip == b->client_ip && a->internal_port == b->internal_port;
}

static const char *protocol_word(const struct hooks_state *s)
{
	return s->key.protocol == LEASE_TCP ? "tcp" : "udp";
}

/* The program has been told all there is to say. */
static void rest(struct hooked *m)
{
	if (!m->owned)
		free(m);
}

static void enqueue(struct hooks *h, struct hooked *m)
{
	uint64_t skipped;
	char more[LOG_MORE_MAX];

	if (m->queued || m->running || endpoint_equal(&m->told, &m->now.outer))
		return;
	if (h->queued == HOOKS_QUEUE_MAX) {
		if (log_allowed(&h->queue_log, LOG_MS, clock_ms(), &skipped))
			log_warn("hook is not told of every change: %u wait already, it is too slow%s", HOOKS_QUEUE_MAX,
				log_more(more, skipped));
		return;
	}
	m->queued = true;
	m->next = NULL;
	*h->end = m;
	h->end = &m->next;
	h->queued++;
}

static struct hooked *dequeue(struct hooks *h)
{
	struct hooked *m = h->first;

	h->first = m->next;
	if (!h->first)
		h->end = &h->first;
	h->queued--;
	m->queued = false;
	return m;
}

/* The same mapping, deleted before, of which the program has yet to hear. */
static struct hooked *former(struct hooks *h, const struct lease_key *key)
{
	for (size_t i = 0; i < HOOKS_RUNNING_MAX; i++)
		if (h->runs[i] && !h->runs[i]->hooked->owned && same(&h->runs[i]->hooked->now.key, key))
			return h->runs[i]->hooked;
	for (struct hooked *m = h->first; m; m = m->next)
		if (!m->owned && same(&m->now.key, key))
			return m;
	return NULL;
}

void hooks_tell(struct hooks *h, struct hooked **hooked, const struct hooks_state *now)
{
	const bool closed = now->outer.family == ENDPOINT_NONE;
	struct hooked *m = *hooked;

	if (!h || (!m && closed))
		return;
	if (!m) {
		m = former(h, &now->key);
		if (!m)
			m = calloc(1, sizeof(*m));
		if (!m)
			return;
	}
	m->now = *now;
	snprintf(m->description, sizeof(m->description), "%s", now->description ? now->description : "");
	m->now.description = m->description;
	m->owned = !closed;
	*hooked = closed ? NULL : m;
	enqueue(h, m);
	if (!m->queued && !m->running)
		rest(m);
	start(h);
}

void hooks_forget(struct hooked **hooked)
{
	struct hooked *m = *hooked;

	*hooked = NULL;
	if (!m)
		return;
	m->owned = false;
	if (!m->queued && !m->running)
		rest(m);
}

/* What it writes, a line of the log for each of its lines; it may be anything. */
static void log_output(struct run *r, char *text)
{
	char *rest_of_it;

	r->output += strlen(text);
	if (r->output > OUTPUT_MAX)
		return;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' && *c != '\n')
			*c = '?';
	for (char *line = strtok_r(text, "\n", &rest_of_it); line; line = strtok_r(NULL, "\n", &rest_of_it))
		log_debug("hook: %s", line);
}

static void log_end(struct run *r, int status)
{
	const struct hooks_state *s = &r->hooked->now;
	const struct endpoint client = endpoint_ipv4(s->key.client_ip, s->key.internal_port);
	char text[ENDPOINT_TEXT_MAX], how[64], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (status == -ETIMEDOUT)
		snprintf(how, sizeof(how), "was ended: it took longer than %u s", r->limit_ms / 1000);
	else if (status < 0)
		snprintf(how, sizeof(how), "did not run error=\"%s\"", strerror(-status));
	else
		snprintf(how, sizeof(how), "ended status=%d", status);
	if (status == 0)
		log_debug("hook %s event=%s protocol=%s client=%s", how, r->event, protocol_word(s), endpoint_text(&client, text));
	else if (log_allowed_burst(&r->hooks->end_log, LOG_MS / LOG_BURST, LOG_BURST, clock_ms(), &skipped))
		log_warn("hook %s event=%s protocol=%s client=%s%s", how, r->event, protocol_word(s), endpoint_text(&client, text),
			log_more(more, skipped));
}

static void run_free(uv_handle_t *handle)
{
	free(handle->data);
}

static void run_end(struct run *r)
{
	struct hooks *h = r->hooks;
	struct hooked *m = r->hooked;

	for (size_t i = 0; i < HOOKS_RUNNING_MAX; i++)
		if (h->runs[i] == r)
			h->runs[i] = NULL;
	uv_close((uv_handle_t *)&r->poll, run_free);
	close(r->fd);
	m->running = false;
	enqueue(h, m);
	if (!m->queued)
		rest(m);
}

static void readable(uv_poll_t *poll, int status, int events)
{
	struct run *r = poll->data;
	struct hooks *h = r->hooks;
	struct helper_event e;
	int err;

	(void)status, (void)events;
	err = helper_read(r->fd, &e);
	if (err == -EAGAIN)
		return;
	if (err == 0 && e.kind == HELPER_OUTPUT) {
		log_output(r, e.text);
		return;
	}
	log_end(r, err < 0 ? err : e.status);
	run_end(r);
	start(h);
}

/* natmap's address that holds a port: 2001::port:address. */
static void ip4p_text(char *buf, size_t max, const struct endpoint *e)
{
	buf[0] = '\0';
	if (e->family == ENDPOINT_IPV4)
		snprintf(buf, max, "2001::%04x:%02x%02x:%02x%02x", e->port, e->ip[0], e->ip[1], e->ip[2], e->ip[3]);
}

struct texts {
	char public_ip[ENDPOINT_TEXT_MAX], old_ip[ENDPOINT_TEXT_MAX], internal_ip[ENDPOINT_TEXT_MAX], ip4p[48];
	char public_port[8], internal_port[8];
	char variables[11][128];
};

/* Asks the helper for one run: the descriptor that tells of it. */
static int ask(struct hooks *h, const struct hooked *m, const char *event)
{
	const bool closed = m->now.outer.family == ENDPOINT_NONE, changed = strcmp(event, "change") == 0;
	const struct endpoint *outer = closed ? &m->told : &m->now.outer;
	const struct endpoint internal = endpoint_ipv4(m->now.key.client_ip, m->now.key.internal_port);
	struct texts t;
	const char *words[] = { endpoint_ip_text(outer, t.public_ip), t.public_port, t.ip4p, t.internal_port, protocol_word(&m->now),
		endpoint_ip_text(&internal, t.internal_ip), NULL };
	const char *variables[sizeof(t.variables) / sizeof(t.variables[0]) + 1] = { NULL };
	size_t n = 0;

	ip4p_text(t.ip4p, sizeof(t.ip4p), outer);
	snprintf(t.public_port, sizeof(t.public_port), "%u", outer->port);
	snprintf(t.internal_port, sizeof(t.internal_port), "%u", internal.port);
#define VARIABLE(name, format, value)                                                                               \
	snprintf(t.variables[n], sizeof(t.variables[n]), "STUNWAY_" name "=" format, value), variables[n] = t.variables[n], n++
	VARIABLE("EVENT", "%s", event);
	VARIABLE("PROTOCOL", "%s", words[4]);
	VARIABLE("PUBLIC_IP", "%s", words[0]);
	VARIABLE("PUBLIC_PORT", "%s", words[1]);
	if (changed) {
		VARIABLE("OLD_PUBLIC_IP", "%s", endpoint_ip_text(&m->told, t.old_ip));
		VARIABLE("OLD_PUBLIC_PORT", "%u", m->told.port);
	}
	VARIABLE("RELAY_PORT", "%u", m->now.relay_port);
	VARIABLE("INTERNAL_IP", "%s", words[5]);
	VARIABLE("INTERNAL_PORT", "%s", words[3]);
	VARIABLE("LIFETIME", "%u", closed ? 0 : m->now.lifetime_s);
	VARIABLE("DESCRIPTION", "%s", m->description);
#undef VARIABLE
	return helper_hook(h->helper, words, variables, h->limit_ms);
}

static void run_start(struct hooks *h, struct run **slot, struct hooked *m)
{
	struct run *r = calloc(1, sizeof(*r));
	int err = r ? 0 : -ENOMEM;

	if (r) {
		*r = (struct run){ .hooks = h, .hooked = m, .limit_ms = h->limit_ms };
		r->event = m->now.outer.family == ENDPOINT_NONE ? "close" : m->told.family == ENDPOINT_NONE ? "open" : "change";
		r->fd = err = ask(h, m, r->event);
		m->told = m->now.outer; /* also when it fails: nobody is told twice */
	}
	if (err >= 0) {
		err = uv_poll_init(h->loop, &r->poll, r->fd);
		if (err < 0)
			close(r->fd);
	}
	if (err < 0) {
		if (r)
			log_end(r, err);
		free(r);
		rest(m);
		return;
	}
	r->poll.data = r;
	uv_poll_start(&r->poll, UV_READABLE, readable);
	m->running = true;
	*slot = r;
}

static void start(struct hooks *h)
{
	for (size_t i = 0; i < HOOKS_RUNNING_MAX; i++) {
		while (h->first && !h->runs[i]) {
			struct hooked *m = dequeue(h);

			if (endpoint_equal(&m->told, &m->now.outer))
				rest(m); /* it is again as it was */
			else
				run_start(h, &h->runs[i], m);
		}
	}
}

void hooks_limit(struct hooks *h, uint32_t limit_ms)
{
	h->limit_ms = limit_ms ? limit_ms : HOOKS_LIMIT_MS;
}

int hooks_open(struct hooks **out, uv_loop_t *loop, struct helper *helper, uint32_t limit_ms)
{
	struct hooks *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	*h = (struct hooks){ .loop = loop, .helper = helper, .end = &h->first };
	hooks_limit(h, limit_ms);
	*out = h;
	return 0;
}

void hooks_close(struct hooks *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < HOOKS_RUNNING_MAX; i++)
		if (h->runs[i])
			run_end(h->runs[i]);
	while (h->first)
		rest(dequeue(h));
	free(h);
}
