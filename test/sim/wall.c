/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/wall.h"

#include <errno.h>
#include <string.h>

#include "test/sim/sim.h"

struct wall wall;

static int try_it(void)
{
	if (!wall.stands)
		return -ENOENT;
	return wall.failing && sim_below(100) < wall.failing ? -ENOBUFS : 0;
}

static void build(void)
{
	wall_flush();
	wall.stands = true;
	memcpy(wall.exempt, wall.said, sizeof(wall.exempt));
}

struct firewall *wall_open(void)
{
	memset(wall.said, 0, sizeof(wall.said));
	build();
	return (struct firewall *)&wall;
}

void wall_flush(void)
{
	wall.stands = false;
	wall.count = 0;
}

static struct firewall_mapping *find(enum lease_protocol protocol, uint16_t relay_port)
{
	for (struct firewall_mapping *m = wall.mappings; m < wall.mappings + wall.count; m++)
		if (m->protocol == protocol && m->relay_port == relay_port)
			return m;
	return NULL;
}

const struct firewall_mapping *wall_find(enum lease_protocol protocol, uint16_t relay_port)
{
	return find(protocol, relay_port);
}

static bool same_client(const struct firewall_mapping *a, const struct firewall_mapping *b)
{
	return a->protocol == b->protocol && a->client_ip == b->client_ip && a->internal_port == b->internal_port;
}

/* Whoever had this outer endpoint before has it no longer. */
static void take_over(const struct firewall_mapping *by)
{
	for (struct firewall_mapping *m = wall.mappings; m < wall.mappings + wall.count; m++)
		if (m != by && by->outer.port && m->protocol == by->protocol && endpoint_equal(&m->outer, &by->outer))
			m->outer = (struct endpoint){ 0 };
}

/* 0 where it may be added, or is there. */
static int room_for(const struct firewall_mapping *m)
{
	for (const struct firewall_mapping *is = wall.mappings; is < wall.mappings + wall.count; is++) {
		const bool same_port = is->protocol == m->protocol && is->relay_port == m->relay_port;

		if (same_port != same_client(is, m))
			return -EEXIST;
	}
	return wall.count + FIREWALL_BATCH > WALL_MAX ? -ENOSPC : 0;
}

static int add(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	int err = try_it();

	(void)f;
	for (size_t i = 0; i < count && err == 0; i++)
		err = room_for(&m[i]);
	for (size_t i = 0; i < count && err == 0; i++) {
		struct firewall_mapping *is = find(m[i].protocol, m[i].relay_port);

		if (!is)
			is = &wall.mappings[wall.count++];
		*is = m[i];
		take_over(is);
	}
	return err;
}

static int remove_some(struct firewall *f, const struct firewall_mapping *m, size_t count)
{
	int err = try_it();

	(void)f;
	if (err < 0)
		return err;
	for (size_t i = 0; i < count; i++) {
		struct firewall_mapping *is = find(m[i].protocol, m[i].relay_port);

		if (is)
			*is = wall.mappings[--wall.count];
		else
			err = -ENOENT;
	}
	return err;
}

static int reach(struct firewall *f, const struct firewall_reach *changes, size_t count)
{
	int err = try_it();

	(void)f;
	for (size_t i = 0; i < count && err == 0; i++)
		if (!find(changes[i].mapping->protocol, changes[i].mapping->relay_port))
			err = -ENOENT;
	for (size_t i = 0; i < count && err == 0; i++) {
		struct firewall_mapping *is = find(changes[i].mapping->protocol, changes[i].mapping->relay_port);

		is->outer = changes[i].mapping->outer;
		take_over(is);
	}
	return err;
}

static int exempt(struct firewall *f, enum lease_protocol protocol, const struct endpoint *servers, size_t count)
{
	struct wall_servers *said = &wall.said[protocol == LEASE_TCP];
	const int err = try_it();

	(void)f;
	said->count = count;
	memcpy(said->at, servers, count * sizeof(*servers));
	if (err == 0)
		memcpy(wall.exempt, wall.said, sizeof(wall.exempt));
	return err;
}

static int mend(struct firewall *f, const struct firewall_mapping *sample)
{
	(void)f;
	return wall.stands && (!sample || find(sample->protocol, sample->relay_port)) ? FIREWALL_WELL : FIREWALL_LOST;
}

static int rebuild(struct firewall *f, const char *wan)
{
	(void)f, (void)wan;
	if (wall.failing && sim_below(100) < wall.failing)
		return -ENOBUFS;
	build();
	return 0;
}

static const char *error(const struct firewall *f)
{
	(void)f;
	return "simulated";
}

struct firewall_backend wall_backend = { .name = "wall", .add = add, .remove = remove_some, .reach = reach, .exempt = exempt, .mend = mend,
	.rebuild = rebuild, .error = error };
