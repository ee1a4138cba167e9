/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/firewall/tally.h"

#include <errno.h>
#include <stdlib.h>

static int compare_keys(const struct lease_key *a, const struct lease_key *b)
{
	if (a->protocol != b->protocol)
		return a->protocol < b->protocol ? -1 : 1;
	if (a->client_ip != b->client_ip)
		return a->client_ip < b->client_ip ? -1 : 1;
	return (a->internal_port > b->internal_port) - (a->internal_port < b->internal_port);
}

/* Of one that was seen twice the later stands last. */
static int compare_samples(const void *one, const void *other)
{
	const struct tally_sample *a = one, *b = other;
	const int keys = compare_keys(&a->key, &b->key);

	if (keys != 0 || a->what != b->what)
		return keys != 0 ? keys : a->what < b->what ? -1 : 1;
	return (a->packets > b->packets) - (a->packets < b->packets);
}

static int compare_entry(const void *key, const void *entry)
{
	return compare_keys(key, &((const struct tally_entry *)entry)->key);
}

static void add(struct tally_sums *sums, const struct tally_sums *more)
{
	for (size_t i = 0; i < FIREWALL_COUNTED; i++) {
		sums->of[i].packets += more->of[i].packets;
		sums->of[i].bytes += more->of[i].bytes;
	}
}

/* A counter that says less than it did is another one. */
static void take_sample(struct tally_entry *e, const struct tally_sample *s)
{
	if (s->packets < e->now.of[s->what].packets || s->bytes < e->now.of[s->what].bytes) {
		e->before.of[s->what].packets += e->now.of[s->what].packets;
		e->before.of[s->what].bytes += e->now.of[s->what].bytes;
	}
	e->now.of[s->what].packets = s->packets;
	e->now.of[s->what].bytes = s->bytes;
	e->missed_ms = 0;
}

static struct tally_entry begin_entry(const struct tally_entry *old, bool anew, uint64_t now_ms)
{
	struct tally_entry e = *old;

	if (anew) {
		add(&e.before, &e.now);
		e.now = (struct tally_sums){ 0 };
	}
	if (e.missed_ms == 0)
		e.missed_ms = now_ms; /* until a sample says that it was seen */
	return e;
}

static void end_entry(struct tally *t, const struct tally_entry *e, uint64_t now_ms)
{
	add(&t->total, &e->before);
	add(&t->total, &e->now);
	if (e->missed_ms && now_ms - e->missed_ms >= TALLY_PATIENCE_MS) {
		add(&t->gone, &e->before);
		add(&t->gone, &e->now);
	} else {
		t->at[t->count++] = *e;
	}
}

/* Two sorted lists are walked side by side. */
int tally_look(struct tally *out, const struct tally *before, struct tally_sample *samples, size_t count, uint64_t life, uint64_t now_ms)
{
	struct tally t = { .at = calloc(before->count + count + 1, sizeof(*t.at)), .life = life, .gone = before->gone, .total = before->gone };
	size_t i = 0, k = 0;

	if (!t.at)
		return -ENOMEM;
	if (count > 0)
		qsort(samples, count, sizeof(*samples), compare_samples);
	while (i < before->count || k < count) {
		struct tally_entry e;

		if (i < before->count && (k == count || compare_keys(&before->at[i].key, &samples[k].key) <= 0))
			e = begin_entry(&before->at[i++], life != before->life, now_ms);
		else
			e = (struct tally_entry){ .key = samples[k].key };
		for (; k < count && compare_keys(&samples[k].key, &e.key) == 0; k++)
			take_sample(&e, &samples[k]);
		end_entry(&t, &e, now_ms);
	}
	out->at = realloc(t.at, (t.count + 1) * sizeof(*t.at)); /* what was not needed */
	if (out->at)
		t.at = out->at;
	*out = t;
	return 0;
}

static struct traffic_counts counts(const struct tally_sums *sums)
{
	return (struct traffic_counts){ .in_bytes = sums->of[FIREWALL_IN].bytes, .in_packets = sums->of[FIREWALL_IN].packets,
		.out_bytes = sums->of[FIREWALL_OUT].bytes, .out_packets = sums->of[FIREWALL_OUT].packets,
		.connections = sums->of[FIREWALL_CONNECTIONS].packets };
}

bool tally_find(const struct tally *t, const struct lease_key *key, struct traffic_counts *out)
{
	const struct tally_entry *e = t->count ? bsearch(key, t->at, t->count, sizeof(*t->at), compare_entry) : NULL;
	struct tally_sums sums;

	if (!e)
		return false;
	sums = e->before;
	add(&sums, &e->now);
	*out = counts(&sums);
	return true;
}

struct traffic_counts tally_total(const struct tally *t)
{
	return counts(&t->total);
}

void tally_free(struct tally *t)
{
	free(t->at);
	*t = (struct tally){ .at = NULL };
}
