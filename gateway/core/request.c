/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/core/core.h"

#include <errno.h>
#include <string.h>

static bool key_matches(const struct lease *l, const struct lease_key *key)
{
	return l->key.protocol == key->protocol && l->key.client_ip == key->client_ip &&
		(key->internal_port == 0 || l->key.internal_port == key->internal_port);
}

/* What the configuration or a person made is not the client's to delete (section 3.4). */
static bool is_clients(const struct mapping *m)
{
	return m->origin == ORIGIN_NAT_PMP || m->origin == ORIGIN_PCP;
}

static bool is_meant(const struct deletion *d, const struct lease *l)
{
	return key_matches(l, &d->key) && ((const struct mapping *)l->owner)->promise <= d->asked;
}

static bool may_delete(const struct deletion *d, const struct mapping *m)
{
	return is_clients(m) || (m->origin == ORIGIN_WEB && !d->by_client);
}

/*
 * One mapping, or with port 0 all of the client and protocol. Deleting what is not there succeeds. Of very many the rest
 * ends in later turns.
 */
static void delete_matching(struct gateway *g, struct deletion *d)
{
	struct lease *next;
	unsigned ended = 0;

	for (struct lease *l = leases_next(g->leases, NULL); l && ended < DELETED_MAX; l = next) {
		next = leases_next(g->leases, l);
		if (!is_meant(d, l))
			continue;
		if (may_delete(d, l->owner)) {
			mapping_end(l->owner, "mapping deleted");
			ended++;
		} else {
			d->result = NATPMP_REFUSED;
		}
	}
	d->whole = ended < DELETED_MAX;
	d->promise = ended ? keeper_promise(g->keeper) : keeper_last(g->keeper);
	d->removal = rules_removed(g->rules);
}

static bool is_deleted(struct gateway *g, const struct deletion *d)
{
	return d->whole && keeper_kept(g->keeper, d->promise) && rules_gone(g->rules, d->removal);
}

/* 1: *answer is known. 0: it follows when the disk has forgotten it, too, and no flow lives on. -EAGAIN: too many wait. */
static int delete(struct gateway *g, struct deletion d, struct gateway_answer *answer)
{
	size_t i = 0;

	d.asked = keeper_last(g->keeper);
	delete_matching(g, &d);
	*answer = (struct gateway_answer){ .result = d.result }; /* port and lifetime 0 */
	if (is_deleted(g, &d))
		return 1;
	while (i < g->deletion_count && !(same_key(&g->deletions[i].key, &d.key) && same_asker(&g->deletions[i].asker, &d.asker)))
		i++;
	if (i == DELETIONS_MAX)
		return -EAGAIN;
	g->deletion_count += i == g->deletion_count;
	g->deletions[i] = d;
	return 0;
}

/* Whether a deletion that is not done yet will come to it. */
static bool is_doomed(const struct gateway *g, const struct lease *l)
{
	for (size_t i = 0; i < g->deletion_count; i++)
		if (!g->deletions[i].whole && is_meant(&g->deletions[i], l))
			return may_delete(&g->deletions[i], l->owner);
	return false;
}

/* The mapping of a key, if it is not about to go. */
static struct lease *find_lasting(struct gateway *g, const struct lease_key *key)
{
	struct lease *l = leases_find(g->leases, key);

	if (!l || !is_doomed(g, l))
		return l;
	mapping_end(l->owner, "mapping deleted");
	return NULL;
}

void request_kept(void *owner)
{
	struct gateway *g = owner;
	struct lease *next;

	for (size_t i = g->deletion_count; i-- > 0;) {
		struct deletion d;

		if (!g->deletions[i].whole)
			delete_matching(g, &g->deletions[i]);
		if (!is_deleted(g, &g->deletions[i]))
			continue;
		d = g->deletions[i];
		g->deletions[i] = g->deletions[--g->deletion_count];
		if (d.asker.answer)
			d.asker.answer(d.asker.owner, &d.asker, &d.request, &(struct gateway_answer){ .result = d.result });
	}
	for (struct lease *l = leases_next(g->leases, NULL); l; l = next) {
		struct mapping *m = l->owner;

		next = leases_next(g->leases, l);
		if (m->waiters)
			mapping_settle(m);
	}
}

static int refuse(struct gateway_answer *answer, enum natpmp_result result)
{
	*answer = (struct gateway_answer){ .result = result };
	return 1;
}

/* A client does not shorten what is a person's. */
static void extend(struct mapping *m, const struct grant *grant)
{
	struct gateway *g = m->gateway;
	const uint64_t expires_ms = gateway_expiry_ms(g, grant->request.lifetime_s);

	if (m->origin == ORIGIN_CONFIG || (m->origin != grant->origin && expires_ms <= m->lease->expires_ms))
		return;
	m->lifetime_s = gateway_hold_s(g, grant->request.lifetime_s);
	m->lease->expires_ms = expires_ms;
	keeper_note(g->keeper);
}

static int renew(struct mapping *m, const struct grant *grant, const struct gateway_asker *asker, struct gateway_answer *answer)
{
	struct gateway *g = m->gateway;
	int err;

	extend(m, grant);
	view_tell(m);
	if (!m->waiters && mapping_promised(m) && keeper_kept(g->keeper, m->promise) && rules_confirm(g->rules, &m->rule)) {
		m->told = true;
		*answer = mapping_answer(m, &grant->request);
		return 1;
	}
	err = mapping_wait(m, asker, &grant->request);
	if (err < 0)
		return err;
	if (!m->punch)
		restore_hole(m); /* now rather than in its turn */
	mapping_settle(m); /* the firewall may have refused before, or lost it */
	return 0;
}

/* A line without its address, while it is dialled again, is a passing fault: many clients would not come back after an error. */
static int line_without_address(struct gateway *g, struct gateway_answer *answer)
{
	const uint64_t now_ms = clock_ms();

	if (fault_lasts(g, g->addressless_last_ms))
		g->addressless_ms = now_ms; /* another fault than the last */
	g->addressless_last_ms = now_ms;
	return fault_lasts(g, g->addressless_ms) ? refuse(answer, NATPMP_NETWORK_FAILURE) : 0;
}

static void log_refusal(struct gateway *g, const struct lease_key *key, int err)
{
	const struct endpoint client = endpoint_ipv4(key->client_ip, key->internal_port);
	char text[ENDPOINT_TEXT_MAX], more[LOG_MORE_MAX];
	uint64_t skipped;

	if (log_allowed_burst(&g->refusal_log, REFUSAL_LOG_MS, REFUSAL_LOG_BURST, clock_ms(), &skipped))
		log_warn("no mapping for protocol=%s client=%s reason=\"%s\"%s", protocol_name(key->protocol),
			endpoint_text(&client, text), gateway_why_not(err), log_more(more, skipped));
}

int gateway_map(struct gateway *g, uint32_t client_ip, const struct natpmp_request *request, const struct gateway_asker *asker,
	struct gateway_answer *answer)
{
	const struct lease_key key = { request->opcode == NATPMP_MAP_TCP ? LEASE_TCP : LEASE_UDP, client_ip, request->internal_port };
	const struct grant grant = { .origin = ORIGIN_NAT_PMP, .request = *request };
	struct lease *l;
	int err;

	if (request->lifetime_s == 0) /* with too many waiting it is the retransmission that is answered */
		return delete(g, (struct deletion){ .key = key, .by_client = true, .asker = *asker, .request = *request }, answer) == 1;
	if (key.internal_port == 0)
		return refuse(answer, NATPMP_REFUSED); /* only a deletion may name no port */
	l = find_lasting(g, &key);
	if (l)
		return renew(l->owner, &grant, asker, answer) == 1;
	if (line_verdict(line_of(g, key.protocol)) == LINE_UNSUITED)
		return refuse(answer, NATPMP_REFUSED);
	err = mapping_begin(g, &key, &grant, asker);
	if (err == 0)
		return 0;
	log_refusal(g, &key, err);
	if (err == -EADDRNOTAVAIL)
		return line_without_address(g, answer);
	return refuse(answer, err == -EACCES ? NATPMP_REFUSED : NATPMP_OUT_OF_RESOURCES);
}

int gateway_wish(struct gateway *g, const struct gateway_wish *wish, const struct gateway_asker *asker, struct gateway_answer *answer)
{
	const struct grant grant = { .origin = ORIGIN_WEB, .relay_port = wish->relay_port, .description = wish->description,
		.request = { .opcode = wish->key.protocol == LEASE_TCP ? NATPMP_MAP_TCP : NATPMP_MAP_UDP,
			.internal_port = wish->key.internal_port, .lifetime_s = gateway_hold_s(g, wish->lifetime_s) } };
	struct lease *l = find_lasting(g, &wish->key);
	int err;

	if (l) {
		err = mapping_adopt(l->owner, &grant);
		return err < 0 ? err : renew(l->owner, &grant, asker, answer);
	}
	if (line_verdict(line_of(g, wish->key.protocol)) == LINE_UNSUITED)
		return -ENOTSUP;
	err = mapping_begin(g, &wish->key, &grant, asker);
	if (err < 0)
		log_refusal(g, &wish->key, err);
	return err;
}

int gateway_unmap(struct gateway *g, const struct lease_key *key, const struct gateway_asker *asker, struct gateway_answer *answer)
{
	const struct lease *l = leases_find(g->leases, key);

	if (!l)
		return -ENOENT;
	if (((const struct mapping *)l->owner)->origin == ORIGIN_CONFIG)
		return -EPERM;
	return delete(g, (struct deletion){ .key = *key, .asker = *asker }, answer);
}

void gateway_forget(struct gateway *g, const struct lease_key *key, const struct gateway_asker *asker)
{
	struct lease *l = leases_find(g->leases, key);
	struct mapping *m = l ? l->owner : NULL;

	for (size_t i = g->deletion_count; i-- > 0;)
		if (same_key(&g->deletions[i].key, key) && same_asker(&g->deletions[i].asker, asker))
			g->deletions[i].asker.answer = NULL; /* the deletion goes on */
	if (!m)
		return;
	mapping_not_waiting(m, asker);
	if (m->waiters || m->told || m->origin != ORIGIN_WEB)
		return;
	mapping_end(m, "mapping given up, who asked for it has gone");
}

const char *gateway_why_not(int err)
{
	switch (err) {
	case -EDQUOT:
		return "the client has its --max-mappings-per-client";
	case -ENOSPC:
		return "there are --max-mappings";
	case -EACCES:
		return "--access forbids it";
	case -EADDRINUSE:
		return "no free port in --relay-ports";
	case -EADDRNOTAVAIL:
		return "the line has lost its address";
	case -EEXIST:
		return "the relay port is another mapping's";
	case -EBUSY:
		return "the mapping is there with another relay port: delete it first";
	case -ENOBUFS:
		return "the STUN servers may not be asked often enough to hold more: name more with --stun, or raise --stun-rate if they are yours";
	case -EPERM:
		return "it is a mapping of the configuration file: change it there";
	case -ENOTSUP:
		return "the carrier's NAT maps by destination: no port can be opened";
	case -EAGAIN:
		return "too many wait for it";
	case -ENOENT:
		return "there is no such mapping";
	default:
		return strerror(-err);
	}
}
