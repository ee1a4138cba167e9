/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lab/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 65536 }; /* of each hash; a power of two */

struct table {
	struct link *by_inner[BUCKETS], *by_outer[BUCKETS], *by_flow[BUCKETS], *by_contact[BUCKETS];
	struct link *live;
	size_t mapping_count, session_count;
	struct mapping *free_mapping[TABLE_MAPPINGS]; /* a stack: [mapping_count] is the next to be used */
	struct session *free_session[TABLE_SESSIONS];
	struct mapping mappings[TABLE_MAPPINGS];
	struct session sessions[TABLE_SESSIONS];
};

#define OWNER(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static void link_in(struct link **head, struct link *l)
{
	l->next = *head;
	l->back = head;
	if (l->next)
		l->next->back = &l->next;
	*head = l;
}

static void link_out(struct link *l)
{
	*l->back = l->next;
	if (l->next)
		l->next->back = l->back;
}

int table_new(struct table **out)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < TABLE_MAPPINGS; i++)
		t->free_mapping[i] = &t->mappings[i];
	for (size_t i = 0; i < TABLE_SESSIONS; i++)
		t->free_session[i] = &t->sessions[i];
	*out = t;
	return 0;
}

void table_free(struct table *t)
{
	free(t);
}

static uint32_t hash_bytes(uint32_t h, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		h = (h ^ at[i]) * 16777619u; /* FNV-1a */
	return h;
}

static uint32_t hash_endpoint(uint32_t h, const struct endpoint *e, bool with_port)
{
	h = hash_bytes(h, e->ip, endpoint_ip_len(e));
	return with_port ? hash_bytes(h, &e->port, sizeof(e->port)) : h;
}

static size_t bucket(uint32_t h)
{
	return (h ^ h >> 16) & (BUCKETS - 1);
}

static size_t bucket_of_two(uint8_t proto, const struct endpoint *a, const struct endpoint *b)
{
	return bucket(hash_endpoint(hash_endpoint(2166136261u ^ proto, a, true), b, true));
}

static size_t bucket_of_outer(uint8_t proto, const struct endpoint *outer)
{
	return bucket(hash_endpoint(2166136261u ^ proto, outer, true));
}

static size_t bucket_of_contact(const struct mapping *m, const struct endpoint *remote)
{
	return bucket(hash_endpoint(hash_bytes(2166136261u, &m, sizeof(m)), remote, false));
}

static void unlink_session(struct table *t, struct session *s)
{
	link_out(&s->by_flow);
	link_out(&s->by_contact);
	link_out(&s->siblings);
	t->free_session[--t->session_count] = s;
}

static void remove_mapping(struct table *t, struct mapping *m)
{
	while (m->sessions)
		unlink_session(t, OWNER(m->sessions, struct session, siblings));
	link_out(&m->by_inner);
	link_out(&m->by_outer);
	link_out(&m->live);
	t->free_mapping[--t->mapping_count] = m;
}

/* The last session takes the mapping along when its own time is up; returns whether the mapping is still there. */
static bool remove_session(struct table *t, struct session *s, uint64_t now_ms)
{
	struct mapping *m = s->mapping;

	unlink_session(t, s);
	if (m->sessions || m->expires_ms > now_ms)
		return true;
	remove_mapping(t, m);
	return false;
}

/* Stops at the first living session, so it costs no more than what it removes. */
static bool mapping_alive(struct table *t, struct mapping *m, uint64_t now_ms)
{
	while (m->sessions) {
		struct session *s = OWNER(m->sessions, struct session, siblings);

		if (s->expires_ms > now_ms)
			return true;
		if (!remove_session(t, s, now_ms))
			return false;
	}
	if (m->expires_ms > now_ms)
		return true;
	remove_mapping(t, m);
	return false;
}

static void mapping_expire(struct table *t, struct mapping *m, uint64_t now_ms)
{
	struct link *next;

	for (struct link *l = m->sessions; l; l = next) {
		struct session *s = OWNER(l, struct session, siblings);

		next = l->next;
		if (s->expires_ms <= now_ms && !remove_session(t, s, now_ms))
			return;
	}
	mapping_alive(t, m, now_ms);
}

struct mapping *table_find_inner(
	struct table *t, uint8_t proto, const struct endpoint *inner, const struct endpoint *scope, uint64_t now_ms)
{
	for (struct link *l = t->by_inner[bucket_of_two(proto, inner, scope)]; l; l = l->next) {
		struct mapping *m = OWNER(l, struct mapping, by_inner);

		if (m->proto == proto && endpoint_equal(&m->inner, inner) && endpoint_equal(&m->scope, scope))
			return mapping_alive(t, m, now_ms) ? m : NULL;
	}
	return NULL;
}

struct mapping *table_find_outer(struct table *t, uint8_t proto, const struct endpoint *outer, uint64_t now_ms)
{
	for (struct link *l = t->by_outer[bucket_of_outer(proto, outer)]; l; l = l->next) {
		struct mapping *m = OWNER(l, struct mapping, by_outer);

		if (m->proto == proto && endpoint_equal(&m->outer, outer))
			return mapping_alive(t, m, now_ms) ? m : NULL;
	}
	return NULL;
}

struct mapping *table_add_mapping(struct table *t, uint8_t proto, const struct endpoint *inner,
	const struct endpoint *scope, const struct endpoint *outer)
{
	if (t->mapping_count == TABLE_MAPPINGS)
		return NULL;
	struct mapping *m = t->free_mapping[t->mapping_count++];
	*m = (struct mapping){ .proto = proto, .inner = *inner, .scope = *scope, .outer = *outer };
	link_in(&t->by_inner[bucket_of_two(proto, inner, scope)], &m->by_inner);
	link_in(&t->by_outer[bucket_of_outer(proto, outer)], &m->by_outer);
	link_in(&t->live, &m->live);
	return m;
}

struct session *table_find_session(
	struct table *t, uint8_t proto, const struct endpoint *inner, const struct endpoint *remote, uint64_t now_ms)
{
	for (struct link *l = t->by_flow[bucket_of_two(proto, inner, remote)]; l; l = l->next) {
		struct session *s = OWNER(l, struct session, by_flow);

		if (s->mapping->proto != proto || !endpoint_equal(&s->mapping->inner, inner) ||
			!endpoint_equal(&s->remote, remote))
			continue;
		if (s->expires_ms > now_ms)
			return s;
		(void)remove_session(t, s, now_ms);
		return NULL;
	}
	return NULL;
}

struct session *table_add_session(struct table *t, struct mapping *m, const struct endpoint *remote)
{
	if (t->session_count == TABLE_SESSIONS)
		return NULL;
	struct session *s = t->free_session[t->session_count++];
	*s = (struct session){ .mapping = m, .remote = *remote };
	link_in(&t->by_flow[bucket_of_two(m->proto, &m->inner, remote)], &s->by_flow);
	link_in(&t->by_contact[bucket_of_contact(m, remote)], &s->by_contact);
	link_in(&m->sessions, &s->siblings);
	return s;
}

struct session *table_find_contact(struct table *t, struct mapping *m, const struct endpoint *remote, uint64_t now_ms,
	bool (*want)(const struct session *s))
{
	for (struct link *l = t->by_contact[bucket_of_contact(m, remote)]; l; l = l->next) {
		struct session *s = OWNER(l, struct session, by_contact);

		if (s->mapping == m && endpoint_same_ip(&s->remote, remote) && s->expires_ms > now_ms && want(s))
			return s;
	}
	return NULL;
}

void table_expire(struct table *t, uint64_t now_ms)
{
	struct link *next;

	for (struct link *l = t->live; l; l = next) {
		next = l->next;
		mapping_expire(t, OWNER(l, struct mapping, live), now_ms);
	}
}

void table_clear(struct table *t)
{
	while (t->live)
		remove_mapping(t, OWNER(t->live, struct mapping, live));
}

size_t table_mapping_count(const struct table *t)
{
	return t->mapping_count;
}

const struct mapping *table_next_mapping(const struct table *t, const struct mapping *m)
{
	const struct link *l = m ? m->live.next : t->live;

	return l ? OWNER(l, const struct mapping, live) : NULL;
}

const struct session *mapping_next_session(const struct mapping *m, const struct session *s)
{
	const struct link *l = s ? s->siblings.next : m->sessions;

	return l ? OWNER(l, const struct session, siblings) : NULL;
}
