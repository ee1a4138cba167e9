/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sys/holder.h"
#include "sys/log.h"
#include "sys/netwatch.h"

#define LINES_MAX 8

struct follow {
	const struct config *config;
	struct netwatch *watch;
	struct natpmp_server *server;
	struct http *http;
	struct gateway *gateway;
	struct netif wan;
	bool routed; /* the default route leads there */
	struct netif lans[CONFIG_LANS_MAX];
	size_t lan_count;
	char lines[LINES_MAX][IF_NAMESIZE]; /* all that were the line: without their route they are no LANs */
	char said[512], lans_said[512];	    /* what was, so that it is not said again */
};

/* --- what there is --- */

/* The line's name: "" when it is not known; what was known stays while no route tells otherwise. */
static void name_wan(const struct follow *f, char out[IF_NAMESIZE])
{
	if (f->config->wan)
		snprintf(out, IF_NAMESIZE, "%s", f->config->wan);
	else if (netif_default(out) < 0)
		snprintf(out, IF_NAMESIZE, "%s", f->wan.name);
}

/* Addresses come and go beside the one that is used: while it is there it stays the one. */
static void read_wan(const struct follow *f, struct netif *out, int *why)
{
	char name[IF_NAMESIZE];
	struct netif wan = { 0 };

	name_wan(f, name);
	*why = name[0] ? netif_find(&wan, name) : -ENETUNREACH;
	if (*why == 0 && !wan.up)
		*why = -ENETDOWN;
	snprintf(wan.name, sizeof(wan.name), "%s", name);
	if (*why < 0)
		wan.ip = 0;
	else if (strcmp(name, f->wan.name) == 0 && f->wan.ip && netif_owns(&wan, f->wan.ip))
		wan.ip = f->wan.ip;
	*out = wan;
}

static void remember_line(struct follow *f, const char *name)
{
	size_t i = 0;

	while (i < LINES_MAX && f->lines[i][0] && strcmp(f->lines[i], name) != 0)
		i++;
	if (i < LINES_MAX)
		snprintf(f->lines[i], IF_NAMESIZE, "%s", name);
}

static bool was_line(const struct follow *f, const char *name)
{
	for (size_t i = 0; i < LINES_MAX; i++)
		if (strcmp(f->lines[i], name) == 0)
			return true;
	return false;
}

/* Before the line is known it might itself be taken for a LAN. */
static size_t guess_lans(const struct follow *f, struct netif *out)
{
	const size_t found = f->wan.name[0] ? netif_lans(out, CONFIG_LANS_MAX, f->wan.name) : 0;
	size_t n = 0;

	for (size_t i = 0; i < found; i++)
		if (!was_line(f, out[i].name))
			out[n++] = out[i];
	return n;
}

static void read_lans(struct follow *f)
{
	f->lan_count = f->config->lan_count == 0 ? guess_lans(f, f->lans) : 0;
	for (size_t i = 0; i < f->config->lan_count; i++)
		if (netif_find(&f->lans[f->lan_count], f->config->lans[i]) == 0)
			f->lan_count++;
}

/* --- what is said --- */

/* True, and remembered, when the text is another than what was said last. */
static bool is_new(char said[512], const char *text)
{
	if (strcmp(said, text) == 0)
		return false;
	snprintf(said, 512, "%s", text);
	return true;
}

static void say_wan(struct follow *f, int why)
{
	struct endpoint ip = endpoint_ipv4(f->wan.ip, 0);
	char text[512], address[ENDPOINT_TEXT_MAX], all[256];

	netif_names(all, sizeof(all));
	if (why == 0)
		snprintf(text, sizeof(text), "line wan=%s address=%s", f->wan.name, endpoint_ip_text(&ip, address));
	else if (why == -ENETUNREACH)
		snprintf(text, sizeof(text), "no default route: which interface is the line? Waiting for one; or name it with --wan (there are %s)", all);
	else if (why == -ENODEV)
		snprintf(text, sizeof(text), "no interface wan=%s: there are %s; waiting for it, or name the line's with --wan", f->wan.name, all);
	else if (why == -EADDRNOTAVAIL)
		snprintf(text, sizeof(text), "interface wan=%s has no IPv4 address: waiting for one, or name another with --wan", f->wan.name);
	else if (why == -ENETDOWN)
		snprintf(text, sizeof(text), "interface wan=%s is down or without a carrier: waiting for it", f->wan.name);
	else
		snprintf(text, sizeof(text), "cannot read interface wan=%s error=\"%s\"", f->wan.name, strerror(-why));
	if (is_new(f->said, text))
		log_line(why == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "%s", text);
}

static void say_missing_lans(const struct follow *f)
{
	char all[512];

	netif_names(all, sizeof(all));
	for (size_t i = 0; i < f->config->lan_count; i++) {
		const char *name = f->config->lans[i];
		struct netif n;
		const int err = netif_find(&n, name);

		if (err == -ENODEV)
			log_warn("no interface lan=%s: there are %s; waiting for it, or name the LAN's with --lan", name, all);
		else if (err < 0)
			log_warn("interface lan=%s has no IPv4 address: waiting for one, or name another with --lan", name);
	}
	if (f->config->lan_count == 0 && f->lan_count == 0)
		log_warn("no LAN: no interface but the line has a private IPv4 address (there are %s); waiting for one, or name the LAN's with --lan",
			all);
}

static void say_lans(struct follow *f)
{
	char text[512] = "", ip[ENDPOINT_TEXT_MAX];
	size_t used = 0;

	for (size_t i = 0; i < f->lan_count && used < sizeof(text); i++) {
		const struct endpoint e = endpoint_ipv4(f->lans[i].ip, 0);

		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s lan=%s address=%s", i ? "," : "", f->lans[i].name,
			endpoint_ip_text(&e, ip));
	}
	if (!text[0])
		snprintf(text, sizeof(text), " none");
	if (!is_new(f->lans_said, text))
		return;
	if (f->lan_count)
		log_info("serving NAT-PMP%s", text);
	say_missing_lans(f);
}

/* --- and what follows --- */

/* A route alone makes the same line worth another try. True: the line is another, or here again. */
static bool look_at_wan(struct follow *f)
{
	const struct netif was = f->wan;
	const bool was_routed = f->routed;
	int why;

	read_wan(f, &f->wan, &why);
	f->routed = f->wan.name[0] && netif_has_default(f->wan.name);
	if (f->wan.name[0])
		remember_line(f, f->wan.name);
	say_wan(f, why);
	return strcmp(was.name, f->wan.name) != 0 || was.ip != f->wan.ip || (f->wan.ip && was.index != f->wan.index) ||
		(f->wan.ip && f->routed && !was_routed);
}

static int serve_lans(struct follow *f)
{
	const struct endpoint port = endpoint_ipv4(0, NATPMP_PORT);
	const char *lan = "";
	char holder[HOLDER_MAX];
	const int web = http_follow(f->http, f->lans, f->lan_count); /* says itself what is wrong */
	const int err = natpmp_server_follow(f->server, f->lans, f->lan_count, &lan);

	if (err == -EADDRINUSE)
		log_error("UDP port %u on lan=%s is held by %s: stop it, or leave out this interface with --lan", NATPMP_PORT, lan,
			holder_name(holder, SOCK_DGRAM, &port));
	else if (err < 0)
		log_error("cannot open UDP port %u on lan=%s error=\"%s\"", NATPMP_PORT, lan, strerror(-err));
	return err < 0 ? err : web;
}

static void interfaces_changed(void *owner)
{
	struct follow *f = owner;
	const bool moved = look_at_wan(f);

	read_lans(f);
	say_lans(f);
	if (f->server)
		serve_lans(f);
	if (f->gateway && moved)
		gateway_follow(f->gateway, &f->wan);
}

static void ruleset_changed(void *owner)
{
	struct follow *f = owner;

	if (f->gateway)
		gateway_firewall_changed(f->gateway);
}

int follow_open(struct follow **out, uv_loop_t *loop, const struct config *config)
{
	static const struct netwatch_callbacks all = { interfaces_changed, ruleset_changed }, humble = { .interfaces = interfaces_changed };
	struct follow *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	if (f) {
		f->config = config;
		err = netwatch_open(&f->watch, loop, &all, f); /* before it looks: nothing happens unseen between */
		if (err == -EPERM) /* whoever has no right to see changes of the firewall makes none, or is told so when he tries */
			err = netwatch_open(&f->watch, loop, &humble, f);
	}
	if (err < 0) {
		log_error("cannot watch the network for changes error=\"%s\"", strerror(-err));
		free(f);
		return err;
	}
	interfaces_changed(f);
	*out = f;
	return 0;
}

const struct netif *follow_wan(const struct follow *f)
{
	return &f->wan;
}

size_t follow_lans(const struct follow *f, const struct netif **lans)
{
	*lans = f->lans;
	return f->lan_count < f->config->lan_count ? 0 : f->lan_count;
}

int follow_serve(struct follow *f, struct natpmp_server *server, struct http *http)
{
	f->server = server;
	f->http = http;
	return serve_lans(f);
}

void follow_begin(struct follow *f, struct gateway *gateway)
{
	f->gateway = gateway;
}

void follow_close(struct follow *f)
{
	if (!f)
		return;
	netwatch_close(f->watch); /* tells nobody any more */
	free(f);
}
