/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/state/statefile.h"
#include "sys/cleanup.h"

#define LAN1 0xc0a8010au /* 192.168.1.10 */

static const struct netif lan = { .name = "lan", .ip = 0xc0a80101, .subnets = { { 0xc0a80101, 0xffffff00 } }, .subnet_count = 1 };
static const struct state_limits limits = { .lans = &lan, .lan_count = 1, .max = 4, .max_per_client = 3 };

/* What the last decode said. */
static struct state_dropped dropped;
static char why[STATE_WHY];

static struct state_mapping mapping_of(enum lease_protocol protocol, uint32_t ip, uint16_t port, uint16_t relay)
{
	return (struct state_mapping){ .key = { protocol, ip, port }, .relay_port = relay, .lifetime_s = 3600, .expires_ms = 3700000,
		.outer = endpoint_ipv4(0xcb007101, 43006), .description = "a \"name\" \\ of \xc3\xa4ll" };
}

static struct state state_of(struct state_mapping *mappings, size_t count)
{
	return (struct state){ .boot_id = "0f0e-aa", .epoch_ms = 81000, .public_ip = 0xcb007101, .count = count, .mappings = mappings };
}

static char *encode(const struct state *s, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	assert_int_equal(state_encode(s, out), 0);
	fclose(out);
	return text;
}

static int decode(struct state *out, const char *text)
{
	strcpy(why, "nothing");
	return state_decode(out, text, strlen(text), &limits, &dropped, why);
}

static void assert_same(const struct state *a, const struct state *b)
{
	assert_string_equal(a->boot_id, b->boot_id);
	assert_int_equal(a->epoch_ms, b->epoch_ms);
	assert_int_equal(a->public_ip, b->public_ip);
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct state_mapping *m = &a->mappings[i], *n = &b->mappings[i];

		assert_int_equal(m->key.protocol, n->key.protocol);
		assert_int_equal(m->key.client_ip, n->key.client_ip);
		assert_int_equal(m->key.internal_port, n->key.internal_port);
		assert_int_equal(m->relay_port, n->relay_port);
		assert_int_equal(m->origin, n->origin);
		assert_int_equal(m->lifetime_s, n->lifetime_s);
		assert_int_equal(m->expires_ms, n->expires_ms);
		assert_true(endpoint_equal(&m->outer, &n->outer));
		assert_string_equal(m->description, n->description);
	}
}

static void what_is_written_is_read(void **state)
{
	struct state_mapping m[] = { mapping_of(LEASE_UDP, LAN1, 6881, 26780), mapping_of(LEASE_TCP, LAN1, 6881, 26780),
		mapping_of(LEASE_UDP, 0xc0a80101, 443, 20443), mapping_of(LEASE_UDP, LAN1 + 1, 1, 1024) };
	struct state before = state_of(m, 4), after;
	char *text;
	size_t len;

	(void)state;
	m[1].origin = ORIGIN_WEB;
	m[2].origin = ORIGIN_CONFIG;
	m[2].expires_ms = LEASES_FOREVER;
	m[2].lifetime_s = 0;
	m[3].origin = ORIGIN_PCP;
	m[3].outer = (struct endpoint){ 0 };
	m[3].description[0] = '\0';
	text = encode(&before, &len);
	assert_int_equal(decode(&after, text), 0);
	assert_int_equal(dropped.count, 0);
	assert_same(&before, &after);
	state_clear(&after);
	free(text);
}

static void an_empty_state_is_one(void **state)
{
	struct state before = state_of(NULL, 0), after;
	size_t len;
	char *text = encode(&before, &len);

	(void)state;
	assert_int_equal(decode(&after, text), 0);
	assert_same(&before, &after);
	state_clear(&after);
	free(text);
}

/* A disk that lost power may have any beginning of it. */
static void a_text_cut_anywhere_is_no_state(void **state)
{
	struct state_mapping m[] = { mapping_of(LEASE_UDP, LAN1, 6881, 26780), mapping_of(LEASE_TCP, LAN1, 6881, 26780) };
	const struct state before = state_of(m, 2);
	struct state after;
	size_t len;
	char *text = encode(&before, &len);

	(void)state;
	for (size_t cut = 0; cut < len - 1; cut++) { /* the last byte is a newline */
		char *part = malloc(cut ? cut : 1); /* of its own, so that reading beyond it shows */

		memcpy(part, text, cut);
		assert_int_equal(state_decode(&after, part, cut, &limits, &dropped, why), -EBADMSG);
		free(part);
	}
	for (size_t cut = len; cut-- > 0;) { /* and zeros, as a file system may leave them */
		text[cut] = '\0';
		assert_int_equal(state_decode(&after, text, len, &limits, &dropped, why), -EBADMSG);
	}
	free(text);
}

#define HEAD "{\"version\":1,\"boot_id\":\"ab\",\"epoch_ms\":1,\"public_ip\":\"\",\"mappings\":["
#define BODY(ip, port, relay, more) \
	"{\"protocol\":\"UDP\",\"internal_ip\":" ip ",\"internal_port\":" port ",\"relay_port\":" relay \
	",\"lifetime\":60,\"expires_ms\":99,\"origin\":\"nat-pmp\",\"public_ip\":\"\",\"remote_port\":0,\"description\":\"\"" more "}"
#define GOOD BODY("\"192.168.1.10\"", "6881", "26780", "")

static void a_head_that_cannot_be_is_no_state(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "line 1: '[' or '{' expected near end of file" },
		{ "[]", "object none cannot be" },
		{ "{}", "version none cannot be" },
		{ "{\"version\":2}", "version 2 cannot be" },
		{ "{\"version\":\"1\"}", "version \"1\" cannot be" },
		{ "{\"version\":1,\"version\":1}", "line 1: duplicate object key near '\"version\"'" },
		{ "{\"version\":1,\"boot_id\":7}", "boot_id 7 cannot be" },
		{ "{\"version\":1,\"boot_id\":\"0123456789012345678901234567890123456\"}", "boot_id \"0123456789012345678901234567890123456\" cannot be" },
		{ "{\"version\":1,\"boot_id\":\"\",\"epoch_ms\":-1}", "epoch_ms -1 cannot be" },
		{ "{\"version\":1,\"boot_id\":\"\",\"epoch_ms\":1.5}", "epoch_ms 1.5 cannot be" },
		{ "{\"version\":1,\"boot_id\":\"\",\"epoch_ms\":1,\"public_ip\":\"::1\"}", "public_ip \"::1\" cannot be" },
		{ "{\"version\":1,\"boot_id\":\"\",\"epoch_ms\":1,\"public_ip\":\"\",\"mappings\":{}}", "mappings {} cannot be" },
		{ HEAD "]} more", "line 1: end of file expected near 'more'" },
	};
	struct state s;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(decode(&s, bad[i].text), -EBADMSG);
		assert_string_equal(why, bad[i].why);
	}
}

static void a_mapping_that_cannot_be_is_left_out_and_said(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "7", "mapping 1: object none cannot be" },
		{ "{}", "mapping 1: protocol none cannot be" },
		{ "{\"protocol\":\"ICMP\"}", "mapping 1: protocol \"ICMP\" cannot be" },
		{ "{\"protocol\":\"UDP\",\"origin\":\"me\"}", "mapping 1: origin \"me\" cannot be" },
		{ BODY("\"192.168.1.10\"", "0", "26780", ""), "mapping 1: internal_port 0 cannot be" },
		{ BODY("\"192.168.1.10\"", "65536", "26780", ""), "mapping 1: internal_port 65536 cannot be" },
		{ BODY("\"192.168.1.10\"", "6881", "22", ""), "mapping 1: relay_port 22 cannot be" },
		{ BODY("\"192.168.1.10\"", "6881", "true", ""), "mapping 1: relay_port true cannot be" },
		{ BODY("\"192.168.2.10\"", "6881", "26780", ""), "mapping 1: internal_ip \"192.168.2.10\" cannot be" },
		{ BODY("\"192.168.1.1\"", "6881", "26780", ""), "mapping 1: internal_ip \"192.168.1.1\" cannot be" },
		{ BODY("\"192.168.1.255\"", "6881", "26780", ""), "mapping 1: internal_ip \"192.168.1.255\" cannot be" },
		{ BODY("\"10; drop\"", "6881", "26780", ""), "mapping 1: internal_ip \"10; drop\" cannot be" },
		{ BODY("\"\"", "6881", "26780", ""), "mapping 1: internal_ip \"\" cannot be" },
	};
	struct state s;
	char text[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), HEAD "%s," GOOD "]}", bad[i].text);
		assert_int_equal(decode(&s, text), 0);
		assert_string_equal(dropped.why, bad[i].why);
		assert_int_equal(dropped.count, 1);
		assert_int_equal(s.count, 1);
		assert_int_equal(s.mappings[0].relay_port, 26780);
		state_clear(&s);
	}
}

static void assert_left_out(const char *mappings, size_t kept, const char *said)
{
	char text[4096];
	struct state s;

	snprintf(text, sizeof(text), HEAD "%s]}", mappings);
	assert_int_equal(decode(&s, text), 0);
	assert_int_equal(s.count, kept);
	assert_int_equal(dropped.count, 1);
	assert_string_equal(dropped.why, said);
	state_clear(&s);
}

static void while_no_lan_is_known_any_host_may_be_on_one(void **state)
{
	const struct state_limits unknown = { .max = 4, .max_per_client = 3 };
	struct state_mapping m[] = { mapping_of(LEASE_UDP, LAN1, 6881, 26780) };
	const struct state before = state_of(m, 1);
	struct state after;
	char *text;
	size_t len;

	(void)state;
	text = encode(&before, &len);
	assert_int_equal(state_decode(&after, text, len, &unknown, &dropped, why), 0);
	assert_int_equal(dropped.count, 0);
	assert_same(&before, &after);
	state_clear(&after);
	free(text);
}

static void of_two_with_one_key_or_relay_port_the_first_stays(void **state)
{
	static const char said[] = "mapping 2: its host and port, or its relay port, are another's";

	(void)state;
	assert_left_out(GOOD "," BODY("\"192.168.1.10\"", "6881", "26781", ""), 1, said);
	assert_left_out(GOOD "," BODY("\"192.168.1.11\"", "6882", "26780", ""), 1, said);
}

static void more_than_there_may_be_are_left_out(void **state)
{
	(void)state;
	assert_left_out(BODY("\"192.168.1.10\"", "1", "20001", "") "," BODY("\"192.168.1.10\"", "2", "20002", "") ","
		BODY("\"192.168.1.10\"", "3", "20003", "") "," BODY("\"192.168.1.10\"", "4", "20004", ""), 3,
		"mapping 4: the client has its --max-mappings-per-client");
	assert_left_out(BODY("\"192.168.1.10\"", "1", "20001", "") "," BODY("\"192.168.1.10\"", "2", "20002", "") ","
		BODY("\"192.168.1.11\"", "3", "20003", "") "," BODY("\"192.168.1.11\"", "4", "20004", "") ","
		BODY("\"192.168.1.12\"", "4", "20005", ""), 4, "mapping 5: there are --max-mappings");
}

/* --- on a disk --- */

static char directory[64], path[96], tmp[112];

static int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/stunway-state-XXXXXX");
	snprintf(path, sizeof(path), "%s/new/gateway.json", mkdtemp(directory));
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	return 0;
}

static int remove_directory(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

static void write_text(const char *to, const char *text, size_t len)
{
	FILE *f = fopen(to, "w");

	assert_non_null(f);
	fwrite(text, 1, len, f);
	fclose(f);
}

static void assert_on_disk(const struct state *want, bool is_whole)
{
	struct state s;
	bool whole;

	statefile_read(path, &limits, &s, &whole);
	assert_int_equal(whole, is_whole);
	assert_same(&s, want);
	state_clear(&s);
}

static unsigned mode_of(const char *of)
{
	struct stat st;

	assert_int_equal(stat(of, &st), 0);
	return st.st_mode & 07777;
}

static void a_file_is_written_and_read_by_its_owner_alone(void **state)
{
	struct state_mapping m[] = { mapping_of(LEASE_UDP, LAN1, 6881, 26780) };
	const struct state s = state_of(m, 1);
	char parent[96];

	(void)state;
	assert_on_disk(&(struct state){ 0 }, false);
	assert_int_equal(statefile_write(path, &s), 0);
	assert_on_disk(&s, true);
	assert_int_equal(mode_of(path), 0600);
	snprintf(parent, sizeof(parent), "%s/new", directory);
	assert_int_equal(mode_of(parent), 0700);
	assert_int_equal(access(tmp, F_OK), -1);
}

/* Power goes at any byte of the write, or between it and the rename: what was there is there. */
static void a_write_that_lost_power_leaves_the_state_before(void **state)
{
	struct state_mapping m[] = { mapping_of(LEASE_UDP, LAN1, 6881, 26780), mapping_of(LEASE_TCP, LAN1, 1, 2000) };
	const struct state before = state_of(m, 1), after = state_of(m, 2);
	size_t len;
	char *text = encode(&after, &len);

	(void)state;
	assert_int_equal(statefile_write(path, &before), 0);
	for (size_t cut = 0; cut <= len; cut += cut < len - 8 ? 7 : 1) {
		write_text(tmp, text, cut);
		assert_on_disk(&before, true);
	}
	assert_int_equal(statefile_write(path, &after), 0); /* over what was left */
	assert_on_disk(&after, true);
	free(text);
}

static void a_damaged_file_is_set_aside_and_so_many_are_kept(void **state)
{
	static const char *const kept[] = { "", ".1", ".2", ".3" };
	const struct state s = state_of(NULL, 0);
	char name[128], text[8] = "";

	(void)state;
	assert_int_equal(statefile_write(path, &s), 0);
	for (char c = 'a'; c < 'g'; c++) {
		write_text(path, &c, 1);
		assert_on_disk(&(struct state){ 0 }, false);
		assert_int_equal(access(path, F_OK), -1);
	}
	for (size_t i = 0; i < 4; i++) {
		CLEANUP(close_file) FILE *f = (snprintf(name, sizeof(name), "%s.damaged%s", path, kept[i]), fopen(name, "r"));

		assert_non_null(f);
		assert_non_null(fgets(text, sizeof(text), f));
		assert_int_equal(text[0], 'f' - (int)i);
	}
	snprintf(name, sizeof(name), "%s.damaged.4", path);
	assert_int_equal(access(name, F_OK), -1);
}

static void a_directory_in_its_place_is_left_alone(void **state)
{
	const struct state s = state_of(NULL, 0);

	(void)state;
	assert_int_equal(statefile_write(path, &s), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_on_disk(&(struct state){ 0 }, false);
	assert_int_equal(statefile_write(path, &s), -EISDIR);
	assert_int_equal(mode_of(path), 0700);
	assert_int_equal(access(tmp, F_OK), -1);
}

/* A link that somebody laid where the temporary is to be must not lead the write elsewhere. */
static void a_link_is_not_followed(void **state)
{
	const struct state s = state_of(NULL, 0);
	char elsewhere[96];

	(void)state;
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", directory);
	assert_int_equal(statefile_write(path, &s), 0);
	assert_int_equal(symlink(elsewhere, tmp), 0);
	assert_int_equal(statefile_write(path, &s), 0);
	assert_int_equal(access(elsewhere, F_OK), -1);
}

#define D(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_written_is_read),
		T(an_empty_state_is_one),
		T(a_text_cut_anywhere_is_no_state),
		T(a_head_that_cannot_be_is_no_state),
		T(a_mapping_that_cannot_be_is_left_out_and_said),
		T(while_no_lan_is_known_any_host_may_be_on_one),
		T(of_two_with_one_key_or_relay_port_the_first_stays),
		T(more_than_there_may_be_are_left_out),
		D(a_file_is_written_and_read_by_its_owner_alone),
		D(a_write_that_lost_power_leaves_the_state_before),
		D(a_damaged_file_is_set_aside_and_so_many_are_kept),
		D(a_directory_in_its_place_is_left_alone),
		D(a_link_is_not_followed),
	};

	return RUN(tests);
}
