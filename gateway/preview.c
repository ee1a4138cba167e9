/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/preview.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/face/http.h"
#include "gateway/service.h"
#include "sys/confine.h"
#include "sys/netif.h"
#include "sys/resolve.h"

#define RESOLVE_MS 2000

static enum preview worse(enum preview a, enum preview b)
{
	return a > b ? a : b;
}

/* An interface that is named, or the line's. */
static enum preview interface(const char *would, const char *option, const char *name, struct netif *out)
{
	const int err = netif_find(out, name);
	const struct endpoint ip = endpoint_ipv4(out->ip, 0);
	char text[ENDPOINT_TEXT_MAX], all[512];

	if (err == 0) {
		printf("%s %s, address %s\n", would, name, endpoint_ip_text(&ip, text));
		return PREVIEW_FINE;
	}
	netif_names(all, sizeof(all));
	if (err == -ENODEV)
		printf("problem: no interface %s=%s: there are %s\n", option, name, all);
	else
		printf("problem: interface %s=%s: %s\n", option, name, err == -EADDRNOTAVAIL ? "has no IPv4 address" : strerror(-err));
	return PREVIEW_WRONG;
}

static enum preview line(const struct config *c, struct netif *wan)
{
	char name[IF_NAMESIZE];

	if (c->wan)
		snprintf(name, sizeof(name), "%s", c->wan);
	else if (netif_default(name) < 0) {
		printf("problem: no default route: which interface is the line? Name it with --wan\n");
		return PREVIEW_WRONG;
	}
	return interface("would hold ports of the line", "wan", name, wan);
}

static enum preview lans(const struct config *c, const struct netif *wan)
{
	struct netif found[CONFIG_LANS_MAX], one = { .ip = 0 };
	const size_t count = c->lan_count > 0 ? 0 : netif_lans(found, CONFIG_LANS_MAX, wan->name);
	enum preview worst = PREVIEW_FINE;

	for (size_t i = 0; i < count + c->lan_count; i++)
		worst = worse(worst, interface("would serve NAT-PMP on", "lan", c->lan_count > 0 ? c->lans[i] : found[i].name, &one));
	if (count + c->lan_count > 0)
		return worst;
	printf("problem: no LAN: no interface but the line's has a private IPv4 address; name the LAN's with --lan\n");
	return PREVIEW_WRONG;
}

static enum preview rights(const struct config *c)
{
	if (geteuid() == 0)
		printf("would become user %s with CAP_NET_ADMIN alone\n", c->user);
	else
		printf("would stay the user it is: only root becomes --user %s\n", c->user);
	if (confine_capabilities() & CONFINE_CAP(CAP_NET_ADMIN) || c->firewall == &firewall_none)
		return PREVIEW_FINE;
	printf("problem: no right to change the firewall: run as root or with CAP_NET_ADMIN\n");
	return PREVIEW_RIGHTS;
}

static enum preview wall(const struct config *c, const struct netif *wan)
{
	struct firewall_config f = { .wan = wan->name, .mark = c->mark, .mark_mask = c->mark_mask,
		.accept_chain_count = c->accept_chain_count };
	char obstacles[512] = "";
	int err;

	memcpy(f.accept_chains, c->accept_chains, sizeof(f.accept_chains));
	printf("would let strangers through by firewall %s, mark 0x%08x/0x%08x\n", c->firewall->name, c->mark, c->mark_mask);
	for (size_t i = 0; i < c->accept_chain_count; i++)
		printf("would add a rule to chain '%s'\n", c->accept_chains[i]);
	if (!c->firewall->look)
		return PREVIEW_FINE;
	err = c->firewall->look(&f, FIREWALL_INPUT, obstacles, sizeof(obstacles));
	if (obstacles[0])
		printf("warning: chain %s drops by default: strangers will not reach services on the router itself\n", obstacles);
	if (err == 0)
		err = c->firewall->look(&f, FIREWALL_FORWARD, obstacles, sizeof(obstacles));
	if (err < 0)
		printf("warning: cannot read the firewall: %s\n", strerror(-err));
	if (obstacles[0])
		printf("problem: chain %s drops by default: strangers will not pass it; let our flows pass with --accept-chain\n", obstacles);
	return obstacles[0] ? PREVIEW_WRONG : PREVIEW_FINE;
}

static void say_server(const struct server_name *n)
{
	struct endpoint found[RESOLVE_MAX];
	char why[RESOLVE_WHY_MAX], text[ENDPOINT_TEXT_MAX];
	const char *protocols = n->udp && n->tcp ? "UDP and TCP" : n->udp ? "UDP" : "TCP";
	const int count = resolve(found, n->host, n->port, ENDPOINT_IPV4, RESOLVE_MS, why);

	if (count > 0)
		printf("would ask STUN server %s port %u at %s, %s\n", n->host, n->port, endpoint_text(&found[0], text), protocols);
	else
		printf("warning: STUN server %s: %s\n", n->host, count == 0 ? why : strerror(-count));
}

static void servers(const struct config *c)
{
	struct server_name name;

	for (size_t i = 0; i < c->server_count; i++)
		say_server(&c->servers[i]);
	for (size_t i = 0; c->server_count == 0 && servers_builtin[i]; i++)
		if (server_name_parse(&name, servers_builtin[i]) == 0)
			say_server(&name);
}

/* Whether its user may run it; root may ask of himself only, so by the mode. */
static enum preview hook(const struct config *c)
{
	struct stat st;
	mode_t may;

	if (!c->hook)
		return PREVIEW_FINE;
	if (stat(c->hook, &st) < 0) {
		printf("problem: --hook %s: %s\n", c->hook, strerror(errno));
		return PREVIEW_WRONG;
	}
	may = st.st_uid == c->uid ? S_IXUSR : st.st_gid == c->gid ? S_IXGRP : S_IXOTH;
	if (!S_ISREG(st.st_mode) || (geteuid() == 0 ? !(st.st_mode & may) : access(c->hook, X_OK) < 0)) {
		printf("problem: --hook %s: not a program that user %s may run: make it executable (chmod 755)\n", c->hook, c->user);
		return PREVIEW_WRONG;
	}
	printf("would run %s for each mapping that opens, changes or closes, for at most %u s\n", c->hook, c->hook_timeout_s);
	return PREVIEW_FINE;
}

static enum preview web(const struct config *c)
{
	char password[LOGIN_PASSWORD_MAX], at[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < c->http_count; i++)
		printf("would serve the web interface on %s\n", endpoint_text(&c->http[i], at));
	if (!c->http_none && c->http_count == 0)
		printf("would serve the web interface on port %d of loopback and of the LANs' addresses\n", HTTP_PORT);
	if (service_password(c, NULL, password) == 0) /* else it says so */
		return PREVIEW_FINE;
	printf("problem: --http-password-file %s holds no password\n", c->http_password_file);
	return PREVIEW_WRONG;
}

enum preview preview(const struct config *c)
{
	struct netif wan = { .ip = 0 };
	enum preview worst = line(c, &wan);

	worst = worse(worst, lans(c, &wan));
	worst = worse(worst, rights(c));
	worst = worse(worst, wall(c, &wan));
	worst = worse(worst, web(c));
	servers(c);
	return worse(worst, hook(c));
}
