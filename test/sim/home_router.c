/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/sim/home.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gateway/hooks.h"
#include "gateway/state/statefile.h"
#include "sys/cleanup.h"
#include "test/sim/sim.h"
#include "test/sim/sockets.h"
#include "test/sim/wall.h"

struct router router;

static char directory[64], file[128];
static uv_loop_t uv_loop;
static bool dead; /* the process is being killed: what it does now has never happened */
static struct loop_event restart, follow;

/* --- its memory --- */

static size_t bytes;

static void *took(void *memory)
{
	bytes += malloc_usable_size(memory);
	return memory;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return took(__real_malloc(size));
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return took(__real_calloc(count, size));
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
	bytes -= malloc_usable_size(memory);
	return took(__real_realloc(memory, size));
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return took(__real_strdup(text));
}

void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
	bytes -= malloc_usable_size(memory);
	__real_free(memory);
}

/* --- the disk: a directory in memory, where nothing is slow and syncing does as it is told --- */

int __real_statefile_write(const char *path, const struct state *s);
int __wrap_statefile_write(const char *path, const struct state *s);
int __wrap_statefile_write(const char *path, const struct state *s)
{
	const int err = __real_statefile_write(path, s);

	router.writes++;
	router.written |= err == 0;
	return err;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	(void)fd;
	errno = ENOSPC;
	return dead || router.disk_full ? -1 : 0;
}

int __wrap_malloc_trim(size_t pad);
int __wrap_malloc_trim(size_t pad)
{
	return (int)pad; /* it would take most of the time */
}

void __wrap_state_boot_id(char out[STATE_BOOT_ID]);
void __wrap_state_boot_id(char out[STATE_BOOT_ID])
{
	snprintf(out, STATE_BOOT_ID, "%08x-0000-4000-8000-000000000000", loop_boots());
}

void __wrap_log_line(enum log_level level, const char *format, ...);
void __wrap_log_line(enum log_level level, const char *format, ...)
{
	static const char letters[] = "EWID";
	char line[1500];
	va_list args;

	if (dead)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (router.verbose)
		printf("# %.3f [%c] %s\n", (double)loop_true_ms() / 1e3, letters[level], line);
	if (level <= LOG_LEVEL_WARN && home_is_calm() && strncmp(line, "no mapping for", 14) != 0)
		breach(NO_COMPLAINTS, "%s", line);
}

void hooks_tell(struct hooks *hooks, struct hooked **hooked, const struct hooks_state *now)
{
	(void)hooks, (void)hooked, (void)now;
}

void hooks_forget(struct hooked **hooked)
{
	(void)hooked;
}

/* What a write that was cut short leaves, and what a bad disk does to a file. */
static void tear(const char *path, const char *suffix)
{
	CLEANUP(close_file) FILE *out = NULL;
	char torn[160];

	snprintf(torn, sizeof(torn), "%s%s", path, suffix);
	out = fopen(torn, "w");
	for (uint32_t left = sim_below(400); out && left > 0; left--)
		fputc((int)sim_below(256), out);
}

/* --- its life --- */

static void announce(void *owner)
{
	(void)owner;
	router.announced++;
	clients_hear();
}

static const struct gateway_observer observer = { .announce = announce };

size_t router_bytes(void)
{
	return bytes;
}

void router_start(void)
{
	const struct netif lan = { .name = "lan", .index = 3, .up = true, .ip = HOME_LAN + 1, .subnets = { { HOME_LAN + 1, 0xffffff00u } },
		.subnet_count = 1 };
	int err;

	wall_backend.unheard = sim_below(3) == 0;
	err = gateway_open(&router.gateway, &uv_loop, &router.config, &router.wan, &lan, 1, wall_open());
	if (err < 0)
		breach(LIVES, "the gateway does not start: %s", strerror(-err));
	else
		gateway_observe(router.gateway, &observer);
	router.lives++;
	carrier_count_rates(); /* it knows nothing of what the one before it asked */
}

static void start_again(struct loop_event *e)
{
	(void)e;
	router_start();
}

void router_restart_in(uint64_t ms)
{
	loop_in(&restart, ms, start_again);
}

static void check_nothing_left(void)
{
	const struct sockets_count left = sockets_count();

	if (loop_handles() || left.udp || left.holders || left.dials || left.taps || left.conntracks)
		breach(MEMORY_BOUND, "a life ended with handles=%zu udp=%zu holders=%zu dials=%zu taps=%zu conntracks=%zu", loop_handles(), left.udp,
			left.holders, left.dials, left.taps, left.conntracks);
	if (bytes != 0)
		breach(MEMORY_BOUND, "a life left %zu bytes", bytes);
	bytes = 0;
}

void router_end(enum home_end how, bool rotten)
{
	struct gateway *g = router.gateway;
	const bool late = !router.written;

	if (!g)
		return;
	router.gateway = NULL;
	loop_interrupt_work(how != END_TERM);
	dead = how != END_TERM;
	gateway_close(g);
	loop_run(loop_ms());
	dead = false;
	check_nothing_left();
	if (how == END_TERM)
		wall_flush();
	else if (sim_below(2))
		tear(file, ".tmp");
	if (rotten)
		tear(file, "");
	if (how == END_POWER)
		loop_boot();
	router.epoch_excused |= rotten || how == END_POWER;
	router.file_late |= late;
	clients_after_kill(rotten, late);
}

static void followed(struct loop_event *e)
{
	(void)e;
	if (router.gateway)
		gateway_follow(router.gateway, &router.wan);
}

void router_set_wan(uint32_t ip)
{
	carrier.wan_ip = router.wan.ip = ip;
	loop_in(&follow, 50, followed);
}

static void add_permanent(const char *name, enum lease_protocol protocol, uint32_t host, uint32_t relay_port)
{
	router.config.permanents[router.config.permanent_count++] = (struct permanent){ .name = name, .protocol = protocol,
		.internal_ip = HOME_LAN + host, .internal_port = 443, .relay_port = relay_port };
}

void router_setup(void)
{
	static const char *const stun[] = { "stun0.example", "stun1.example", "198.51.100.21", "udp:stun3.example" };
	static const char *const web[] = { "web4.example", "web5.example" };
	struct config *c = &router.config;
	struct stat shm;

	json_set_alloc_funcs(malloc, free); /* its texts are freed by whoever asked for them */
	snprintf(directory, sizeof(directory), "%s/sim_gateway.XXXXXX", stat("/dev/shm", &shm) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(directory))
		abort();
	snprintf(file, sizeof(file), "%s/gateway.json", directory);
	*c = (struct config){ .stun_rate = HOME_RATE, .pool = 2, .watch_s = 5, .relay_low = 20000, .relay_high = 20149, .lease_s = HOME_LEASE,
		.hold_max_s = 86400, .keepalive_s = 60, .fault_grace_s = 60, .max_mappings = 46, .max_mappings_per_client = 12,
		.firewall = &wall_backend, .state = file, .state_lazy_s = 60 };
	while (c->server_count < 4 && server_name_parse(&c->servers[c->server_count], stun[c->server_count]) == 0)
		c->server_count++;
	while (c->host_count < 2 && server_name_parse_web(&c->hosts[c->host_count], web[c->host_count]) == 0)
		c->host_count++;
	add_permanent("web", LEASE_TCP, 20, 20100);
	add_permanent("vpn", LEASE_UDP, 21, 0);
	router.wan = (struct netif){ .name = "wan", .index = 2, .up = true, .ip = carrier.wan_ip };
}

void router_cleanup(void)
{
	static const char *const suffixes[] = { "", ".tmp", ".damaged", ".damaged.1", ".damaged.2", ".damaged.3" };
	char path[160];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", file, suffixes[i]);
		unlink(path);
	}
	rmdir(directory);
}
