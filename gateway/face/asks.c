/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/asks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/face/wish.h"
#include "sys/clock.h"

#define LOOK_MS 500 /* how often it is looked whose time is over */

/* One that waits. */
struct ask {
	struct asks *asks;
	struct http_request *request; /* NULL: the place is free */
	uint64_t id;		      /* the asker's */
	struct lease_key key;
	struct endpoint client;
	uint32_t lifetime_s; /* 0: a deletion */
	bool waits;	     /* the core said that its answer follows */
	uint64_t until_ms;
};

struct asks {
	const struct view *view;
	uint64_t *refused;
	uv_timer_t look;
	uint64_t last_id;
	size_t count;
	struct ask all[ASKS_MAX];
};

#define DELETED_BEFORE "%s: deleted before it was told"

#define REFUSE(a, request, status, ...) (++*(a)->refused, http_error(request, status, __VA_ARGS__))
/* The same, and when it may be asked again. */
#define PUT_OFF(a, request, status, after, ...) (http_header(request, "Retry-After", after), REFUSE(a, request, status, __VA_ARGS__))

size_t asks_waiting(const struct asks *a)
{
	return a->count;
}

/* --- places --- */

static void look(uv_timer_t *timer);

/* A place for one that may have to wait; NULL when it may not, and then it has been answered. */
static struct ask *begin(struct asks *a, struct http_request *r, const struct lease_key *key, uint32_t lifetime_s)
{
	const struct endpoint client = http_client(r);
	struct ask *at = NULL;
	size_t same = 0;

	for (size_t i = 0; i < ASKS_MAX; i++) {
		if (!a->all[i].request)
			at = &a->all[i];
		else
			same += endpoint_same_ip(&a->all[i].client, &client);
	}
	if (!at || same >= ASKS_MAX_PER_CLIENT) {
		PUT_OFF(a, r, 429, HTTP_RETRY_SOON, "%zu requests wait for their holes already, %zu of them yours: come again when one is answered",
			a->count, same);
		return NULL;
	}
	*at = (struct ask){ .asks = a, .request = r, .id = ++a->last_id, .key = *key, .client = client, .lifetime_s = lifetime_s,
		.until_ms = clock_ms() + ASKS_WAIT_MS };
	if (a->count++ == 0)
		uv_timer_start(&a->look, look, LOOK_MS, LOOK_MS);
	return at;
}

/* Whose answer comes now: his place is free again. */
static struct http_request *end(struct ask *ask)
{
	struct http_request *r = ask->request;
	struct asks *a = ask->asks;

	http_on_gone(r, NULL, NULL);
	ask->request = NULL;
	if (--a->count == 0)
		uv_timer_stop(&a->look);
	return r;
}

/* --- answers --- */

static void answer_open(struct asks *a, struct http_request *r, const struct gateway_mapping *m, uint32_t lifetime_s)
{
	char ip[ENDPOINT_TEXT_MAX];
	struct text t = TEXT_GROWING;
	struct json j;
	size_t len;
	char *text;

	json_append(&j, &t);
	json_text(&j, "status", "success");
	view_json_key(&j, &m->key);
	json_text(&j, "public_ip", view_ip(endpoint_ip32(&m->outer), ip));
	json_count(&j, "external_port", m->outer.port);
	json_count(&j, "relay_port", m->relay_port);
	json_count(&j, "lifetime", m->origin == ORIGIN_CONFIG ? 0 : lifetime_s);
	json_end(&j);
	text = text_take(&t, &len);
	if (text)
		http_answer(r, 200, "application/json", text, len);
	else
		PUT_OFF(a, r, 503, HTTP_RETRY_LATER, "no memory for the answer; the mapping is there");
}

static void answer_deleted(struct asks *a, struct http_request *r)
{
	char *text = strdup("{\"status\":\"success\"}");

	if (text)
		http_answer(r, 200, "application/json", text, strlen(text));
	else
		REFUSE(a, r, 503, "no memory for the answer; the mapping is gone");
}

static const struct {
	const char *trouble, *words;
} troubles[] = {
	{ "no-line", "the line has no address: is it up?" },
	{ "relay-port", "its relay port cannot be had on the line just now: another program has it" },
	{ "firewall", "the firewall does not take its rule: see the log" },
	{ "nat-unsuited", "the carrier's NAT maps by destination: no port can be opened" },
};

/* Why a hole is not open: where its path breaks, else that nobody answers. */
static const char *why_closed(const struct asks *a, const struct lease_key *key)
{
	struct gateway_mapping m;

	if (gateway_find(a->view->gateway, key, &m))
		for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++)
			if (strcmp(troubles[i].trouble, m.trouble) == 0)
				return troubles[i].words;
	return "no STUN server answers: is the line up, does --stun name servers that are?";
}

static const char *key_text(const struct lease_key *key, char buf[64])
{
	const struct endpoint e = endpoint_ipv4(key->client_ip, key->internal_port);
	char text[ENDPOINT_TEXT_MAX];

	snprintf(buf, 64, "%s %s", key->protocol == LEASE_TCP ? "TCP" : "UDP", endpoint_text(&e, text));
	return buf;
}

/* What the core says at last. */
static void answer(struct asks *a, struct http_request *r, const struct lease_key *key, uint32_t lifetime_s, enum natpmp_result result)
{
	struct gateway_mapping m;
	char text[64];

	key_text(key, text);
	if (lifetime_s == 0)
		answer_deleted(a, r);
	else if (result == NATPMP_SUCCESS && gateway_find(a->view->gateway, key, &m) && m.outer.port)
		answer_open(a, r, &m, lifetime_s);
	else if (result == NATPMP_SUCCESS)
		REFUSE(a, r, 503, DELETED_BEFORE, text);
	else if (result == NATPMP_REFUSED)
		REFUSE(a, r, 503, "%s: the carrier's NAT maps by destination: no port can be opened", text);
	else if (result == NATPMP_OUT_OF_RESOURCES)
		REFUSE(a, r, 503, "%s: %s", text, "there is no room for another mapping");
	else
		PUT_OFF(a, r, 503, HTTP_RETRY_LATER, "%s: %s", text, why_closed(a, key));
}

/* What the core's refusals are to HTTP; any other is 503. after: those that pass without anybody doing anything. */
static const struct refusal {
	int err;
	unsigned status;
	const char *after;
} refusals[] = {
	{ -EEXIST, 409, NULL },
	{ -EBUSY, 409, NULL },
	{ -EPERM, 409, NULL },
	{ -EDQUOT, 429, NULL },
	{ -EAGAIN, 429, HTTP_RETRY_SOON },
	{ -EACCES, 403, NULL },
	{ -ENOENT, 404, NULL },
	{ -EADDRNOTAVAIL, 503, HTTP_RETRY_LATER },
	{ 0, 503, NULL },
};

static const struct refusal *refusal_of(int err)
{
	const struct refusal *found = refusals;

	while (found->err && found->err != err)
		found++;
	return found;
}

static void refuse(struct asks *a, struct http_request *r, const struct lease_key *key, uint16_t relay_port, int err)
{
	const struct refusal *is = refusal_of(err);
	const bool held = err == -EADDRINUSE && relay_port; /* the port that was named */
	char text[64], port[32] = "";

	if (held || (relay_port && (err == -EEXIST || err == -EBUSY)))
		snprintf(port, sizeof(port), "relay_port %u: ", relay_port);
	if (is->after)
		http_header(r, "Retry-After", is->after);
	REFUSE(a, r, held ? 409 : is->status, "%s: %s%s", key_text(key, text), port,
		held ? "another program has that port on the line" : gateway_why_not(err));
}

/* --- waiting --- */

static void answered(void *owner, const struct gateway_asker *asker, const struct natpmp_request *request,
	const struct gateway_answer *said)
{
	struct asks *a = owner;

	(void)request;
	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct ask *ask = &a->all[i];

		if (ask->request && ask->id == asker->id) {
			answer(a, end(ask), &ask->key, ask->lifetime_s, said->result);
			return;
		}
	}
}

static struct gateway_asker asker_of(struct asks *a, uint64_t id)
{
	return (struct gateway_asker){ .answer = answered, .owner = a, .id = id };
}

/* The core is told outside of its own calls, and once the place is free: what it tells meanwhile finds nobody. */
static void forget(struct asks *a, const struct lease_key *key, uint64_t id)
{
	const struct gateway_asker asker = asker_of(a, id);

	gateway_forget(a->view->gateway, key, &asker);
}

static void gone(void *data)
{
	struct ask *ask = data;
	const struct lease_key key = ask->key;
	const uint64_t id = ask->id;

	ask->request = NULL;
	if (--ask->asks->count == 0)
		uv_timer_stop(&ask->asks->look);
	forget(ask->asks, &key, id);
}

static void look(uv_timer_t *timer)
{
	struct asks *a = timer->data;
	const uint64_t now_ms = clock_ms();
	char text[64];

	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct ask *ask = &a->all[i];
		const struct lease_key key = ask->key;
		struct http_request *r;
		const char *why;

		if (!ask->request || now_ms < ask->until_ms)
			continue;
		why = ask->lifetime_s ? why_closed(a, &key) : "it is deleted, but its flows may live on";
		r = end(ask);
		PUT_OFF(a, r, 503, HTTP_RETRY_LATER, "%s: %s (waited for %u s)", key_text(&key, text), why, ASKS_WAIT_MS / 1000);
		forget(a, &key, ask->id);
	}
}

void asks_ended(struct asks *a, const struct lease_key *key)
{
	char text[64];

	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct ask *ask = &a->all[i];

		if (ask->request && ask->waits && ask->lifetime_s && view_compare(&ask->key, key) == 0)
			REFUSE(a, end(ask), 503, DELETED_BEFORE, key_text(key, text));
	}
}

/* What the core said at once: 1 an answer, 0 it follows, or why not. Meanwhile it may have come. */
static void at_once(struct ask *ask, uint64_t id, uint16_t relay_port, int said, const struct gateway_answer *answer_now)
{
	struct asks *a = ask->asks;

	if (!ask->request || ask->id != id)
		return;
	ask->waits = said == 0;
	if (said == 0)
		http_on_gone(ask->request, gone, ask);
	else if (said < 0)
		refuse(a, end(ask), &ask->key, relay_port, said);
	else
		answer(a, end(ask), &ask->key, ask->lifetime_s, answer_now->result);
}

/* --- what is asked --- */

void asks_post(struct asks *a, struct http_request *r)
{
	struct wish_limits limits = { .hold_max_s = a->view->config->hold_max_s };
	struct gateway_asker asker;
	struct gateway_answer now;
	struct wish wish;
	char why[WISH_WHY];
	struct ask *ask;
	size_t len;
	const char *body = http_body(r, &len);

	limits.lan_count = follow_lans(a->view->follow, &limits.lans);
	if (limits.lan_count == 0) {
		PUT_OFF(a, r, 503, HTTP_RETRY_LATER, "no LAN is known just now, so nobody can be said to be its host: is an interface of --lan missing?");
		return;
	}
	if (wish_read(&wish, body, len, &limits, why) < 0) {
		REFUSE(a, r, 400, "%s", why);
		return;
	}
	ask = begin(a, r, &wish.is.key, wish.is.lifetime_s);
	if (!ask)
		return;
	asker = asker_of(a, ask->id);
	at_once(ask, asker.id, wish.is.relay_port, gateway_wish(a->view->gateway, &wish.is, &asker, &now), &now);
}

void asks_delete(struct asks *a, struct http_request *r)
{
	struct gateway_asker asker;
	struct gateway_answer now;
	struct lease_key key;
	char why[WISH_WHY];
	struct ask *ask;

	if (wish_key(&key, http_segment(r, 0), http_segment(r, 1), http_segment(r, 2), why) < 0) {
		REFUSE(a, r, 400, "%s", why);
		return;
	}
	ask = begin(a, r, &key, 0);
	if (!ask)
		return;
	asker = asker_of(a, ask->id);
	at_once(ask, asker.id, 0, gateway_unmap(a->view->gateway, &key, &asker, &now), &now);
}

int asks_open(struct asks **out, uv_loop_t *loop, const struct view *view, uint64_t *refused)
{
	struct asks *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->view = view;
	a->refused = refused;
	uv_timer_init(loop, &a->look);
	a->look.data = a;
	*out = a;
	return 0;
}

static void closed(uv_handle_t *handle)
{
	free(handle->data);
}

void asks_close(struct asks *a)
{
	if (a)
		uv_close((uv_handle_t *)&a->look, closed);
}
