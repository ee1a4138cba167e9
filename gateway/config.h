/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config - what stunway-gateway was told: its options as one table (config_options). */
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include "gateway/firewall/firewall.h"
#include "gateway/state/permanent.h"
#include "gateway/hole/servers.h"
#include "lib/access.h"
#include "sys/helper.h"
#include "sys/options.h"

#define CONFIG_LANS_MAX 8
#define CONFIG_HTTP_MAX 8

struct config {
	const char *wan; /* NULL: that of the default route */
	const char *lans[CONFIG_LANS_MAX];
	size_t lan_count; /* 0: found out */
	struct server_name servers[SERVERS_NAMES_MAX];
	size_t server_count; /* 0: the built-in list */
	struct server_name hosts[SERVERS_NAMES_MAX];
	size_t host_count; /* 0: the built-in list */
	uint32_t stun_rate; /* questions a second and server */
	uint32_t pool;
	uint32_t watch_s;
	uint32_t mark, mark_mask;
	const char *accept_chains[FIREWALL_ACCEPT_CHAINS];
	size_t accept_chain_count;
	uint16_t relay_low, relay_high;
	uint32_t lease_s, hold_max_s, keepalive_s, fault_grace_s;
	uint32_t max_mappings, max_mappings_per_client;
	struct access access;
	const struct firewall_backend *firewall, *firewall_otherwise; /* the other where the first does not work; NULL: none */
	const char *state; /* NULL: none is kept */
	uint32_t state_lazy_s;
	struct permanent permanents[PERMANENTS_MAX];
	size_t permanent_count;
	uint32_t log_level, log_target; /* enum log_level, enum log_target */
	const char *hook; /* NULL: none */
	uint32_t hook_timeout_s;
	bool http_none;			       /* no web interface */
	struct endpoint http[CONFIG_HTTP_MAX]; /* where it listens … */
	size_t http_count;		       /* 0: on loopback and the LANs' addresses */
	const char *http_hosts[CONFIG_HTTP_MAX];
	size_t http_host_count;
	const char *http_password_file; /* NULL: none */
	const char *user; /* whom to become, if we are root */
	uid_t uid;
	gid_t gid;
	bool check;	    /* say what would be done, and exit */
	char *values;	    /* the file's, borrowed above */
	char *values_again; /* likewise, of the file as it was read again */
};

extern const struct options config_options;

/* The command line and its file. 0, 1 when --help or --version was printed, -EINVAL and said on stderr. */
int config_read(struct config *c, int argc, char **argv);
/* Likewise at SIGHUP, when only the helper may open the file (as its first). */
int config_read_again(struct config *c, int argc, char **argv, struct helper *helper);
void config_free(struct config *c);

#define CONFIG_CHANGES_MAX 256
/*
 * Makes the running configuration what was read again, as far as that can be done while it
 * runs. In changed the options that are now others, in fixed those that only a restart
 * brings about. What was read again is used up.
 */
void config_apply(struct config *running, struct config *again, char changed[CONFIG_CHANGES_MAX], char fixed[CONFIG_CHANGES_MAX]);

#endif
