/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "gateway/face/asks.h"
#include "gateway/face/events.h"
#include "sys/log.h"
#include "test/unit/fake_web.h"

#define LAN1 0xc0a8010a
#define BODY "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881}"

static int set_up(void **state)
{
	(void)state;
	log_up_to_level((enum log_level)-1);
	fake_open();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake_close();
	return 0;
}

static struct http_request *post(const char *body)
{
	return fake_ask("POST", "/mappings", body, strlen(body));
}

static struct http_request *get(const char *path)
{
	return fake_ask("GET", path, "", 0);
}

/* What was answered, as JSON: of this status and nothing else. */
static json_t *answered(struct http_request *r, unsigned status)
{
	json_error_t error;
	json_t *json;

	assert_non_null(r);
	if (r->status != status)
		print_message("%s\n", r->text);
	assert_int_equal(r->status, status);
	assert_string_equal(r->type, "application/json");
	json = json_loadb(r->text, r->len, JSON_REJECT_DUPLICATES, &error);
	assert_non_null(json);
	fake_free(r);
	return json;
}

static void refused(struct http_request *r, unsigned status, const char *words)
{
	json_t *json = answered(r, status);
	const char *why = json_string_value(json_object_get(json, "error"));

	assert_string_equal(json_string_value(json_object_get(json, "status")), "error");
	if (!strstr(why, words))
		print_message("\"%s\" does not say \"%s\"\n", why, words);
	assert_non_null(strstr(why, words));
	json_decref(json);
}

/* --- POST --- */

static void a_post_whose_hole_is_open_is_answered_at_once(void **state)
{
	json_t *json;

	(void)state;
	fake_add(LEASE_TCP, LAN1, 6881);
	fake.says = 1;
	json = answered(post(BODY), 200);
	assert_string_equal(json_string_value(json_object_get(json, "status")), "success");
	assert_string_equal(json_string_value(json_object_get(json, "public_ip")), "203.0.113.1");
	assert_int_equal(json_integer_value(json_object_get(json, "external_port")), 43006);
	assert_int_equal(json_integer_value(json_object_get(json, "relay_port")), 26780);
	assert_int_equal(json_integer_value(json_object_get(json, "lifetime")), 3600);
	assert_string_equal(json_string_value(json_object_get(json, "internal_ip")), "192.168.1.10");
	assert_int_equal(json_integer_value(json_object_get(json, "internal_port")), 6881);
	assert_int_equal(fake.wish.lifetime_s, 3600);
	assert_int_equal(fake.wish.relay_port, 0);
	assert_null(fake.wish.description);
	json_decref(json);
}

static void all_that_a_post_says_reaches_the_core(void **state)
{
	(void)state;
	fake_add(LEASE_UDP, 0xc0a80101, 53);
	fake.says = 1;
	json_decref(answered(post("{\"protocol\":\"udp\",\"internal_ip\":\"192.168.1.1\",\"internal_port\":53,\"lifetime\":86400,"
				  "\"relay_port\":1024,\"description\":\"Zürich \\u6771\"}"), 200));
	assert_int_equal(fake.wish.key.protocol, LEASE_UDP);
	assert_int_equal(fake.wish.key.client_ip, 0xc0a80101); /* the router itself */
	assert_int_equal(fake.wish.key.internal_port, 53);
	assert_int_equal(fake.wish.lifetime_s, 86400);
	assert_int_equal(fake.wish.relay_port, 1024);
	assert_string_equal(fake.description, "Zürich 東");
}

static void a_post_waits_for_its_hole(void **state)
{
	struct http_request *r = post(BODY);
	json_t *json;

	(void)state;
	assert_int_equal(r->status, 0);
	fake_add(LEASE_TCP, LAN1, 6881);
	fake.asker.answer(fake.asker.owner, &fake.asker, NULL, &(struct gateway_answer){ NATPMP_SUCCESS, 43006, 120 });
	json = answered(r, 200);
	assert_int_equal(json_integer_value(json_object_get(json, "lifetime")), 3600); /* the lease told to NAT-PMP is none of its */
	json_decref(json);
	fake.asker.answer(fake.asker.owner, &fake.asker, NULL, &(struct gateway_answer){ NATPMP_SUCCESS, 43006, 120 }); /* nobody waits */
	assert_int_equal(fake.forgets, 0);
}

static void a_post_whose_mapping_ends_does_not_wait_on(void **state)
{
	struct http_request *r = post(BODY), *other = post("{\"protocol\":\"UDP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881}"),
			    *deletion = fake_ask("DELETE", "/mappings/TCP/192.168.1.10/6881", "", 0);
	const struct gateway_mapping gone = { .key = { LEASE_TCP, LAN1, 6881 }, .trouble = "" };

	(void)state;
	fake.observer->mapping(fake.observer->owner, &gone, false);
	assert_int_equal(r->status, 0);
	fake.observer->mapping(fake.observer->owner, &gone, true);
	refused(r, 503, "TCP 192.168.1.10:6881: deleted before");
	assert_int_equal(other->status, 0);
	assert_int_equal(deletion->status, 0); /* it waits for flows to end */
	assert_int_equal(fake.forgets, 0);
	fake_leave(other);
	fake_free(other);
	fake_leave(deletion);
	fake_free(deletion);
}

static void an_answer_may_come_before_the_question_returns(void **state)
{
	(void)state;
	fake.answers_before = true;
	refused(post(BODY), 503, "deleted before it was told"); /* success, but the mapping is not there */
	json_decref(answered(fake_ask("DELETE", "/mappings/TCP/192.168.1.10/6882", "", 0), 200));
}

static void a_client_that_goes_away_is_forgotten_and_not_answered(void **state)
{
	struct http_request *r = post(BODY);

	(void)state;
	assert_int_equal(r->status, 0);
	fake_leave(r);
	assert_int_equal(fake.forgets, 1);
	assert_int_equal(fake.forgotten.internal_port, 6881);
	fake.asker.answer(fake.asker.owner, &fake.asker, NULL, &(struct gateway_answer){ .result = NATPMP_SUCCESS });
	assert_int_equal(r->status, 0);
	fake_free(r);
}

static void every_refusal_of_the_core_has_its_status(void **state)
{
	static const struct {
		int says;
		const char *body;
		unsigned status;
		const char *header;
	} rows[] = {
		{ -EEXIST, BODY, 409, NULL }, { -EBUSY, BODY, 409, NULL }, { -EPERM, BODY, 409, NULL }, { -EDQUOT, BODY, 429, NULL }, { -EAGAIN, BODY, 429, "Retry-After: 1" },
		{ -ENOSPC, BODY, 503, NULL }, { -EACCES, BODY, 403, NULL }, { -EADDRNOTAVAIL, BODY, 503, "Retry-After: 10" }, { -ENOTSUP, BODY, 503, NULL }, { -EMFILE, BODY, 503, NULL },
		{ -EADDRINUSE, BODY, 503, NULL },
		{ -EADDRINUSE, "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881,\"relay_port\":2000}", 409, NULL },
	};
	struct http_request *r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake.says = rows[i].says;
		r = post(rows[i].body);
		assert_string_equal(r->header, rows[i].header ? rows[i].header : "");
		refused(r, rows[i].status, "TCP 192.168.1.10:6881: ");
	}
	refused(post(rows[11].body), 409, "relay_port 2000");
}

static void what_the_core_says_late_is_said_in_words(void **state)
{
	static const struct {
		enum natpmp_result result;
		const char *trouble, *words;
	} rows[] = {
		{ NATPMP_NETWORK_FAILURE, "stun-silent", "no STUN server answers" },
		{ NATPMP_NETWORK_FAILURE, "no-line", "the line has no address" },
		{ NATPMP_NETWORK_FAILURE, "firewall", "the firewall does not take its rule" },
		{ NATPMP_REFUSED, "nat-unsuited", "maps by destination" },
		{ NATPMP_OUT_OF_RESOURCES, "", "no room" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_request *r = post(BODY);

		fake.mapping_count = 0;
		fake_add(LEASE_TCP, LAN1, 6881)->trouble = rows[i].trouble;
		fake.asker.answer(fake.asker.owner, &fake.asker, NULL, &(struct gateway_answer){ .result = rows[i].result });
		refused(r, 503, rows[i].words);
	}
}

static void what_is_wrong_with_a_body_is_named(void **state)
{
#define MEMBERS(more) "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881" more "}"
	static const struct {
		const char *body, *words;
	} rows[] = {
		{ "", "no JSON" },
		{ "{", "no JSON" },
		{ "[]", "no JSON object" },
		{ "{}", "\"protocol\" is missing" },
		{ "{\"protocol\":\"TCP\"}", "\"internal_ip\" is missing" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\"}", "\"internal_port\" is missing" },
		{ MEMBERS(",\"internal_port\":1"), "duplicate" },
		{ MEMBERS(",\"intern_port\":1"), "\"intern_port\" is not known" },
		{ MEMBERS(",\"lifetime\":0"), "lifetime 0: a whole number from 1 to 86400" },
		{ MEMBERS(",\"lifetime\":86401"), "lifetime 86401: " },
		{ MEMBERS(",\"lifetime\":-1"), "lifetime -1: " },
		{ MEMBERS(",\"lifetime\":3600.5"), "lifetime 3600.5: " },
		{ MEMBERS(",\"lifetime\":\"3600\""), "lifetime \"3600\": " },
		{ MEMBERS(",\"lifetime\":null"), "lifetime null: " },
		{ MEMBERS(",\"lifetime\":99999999999999999999"), "no JSON: too big integer" },
		{ MEMBERS(",\"relay_port\":1023"), "relay_port 1023: a whole number from 1024 to 65535" },
		{ MEMBERS(",\"relay_port\":65536"), "relay_port 65536" },
		{ MEMBERS(",\"relay_port\":0"), "relay_port 0" },
		{ MEMBERS(",\"description\":7"), "description 7: a text" },
		{ MEMBERS(",\"description\":\"a\\nb\""), "without control characters" },
		{ MEMBERS(",\"description\":\"a\\u0085b\""), "without control characters" },
		{ MEMBERS(",\"description\":\"a\\u0000b\""), "no JSON" },
		{ MEMBERS(",\"description\":\"\xff\""), "no JSON" },
		{ MEMBERS(",\"description\":\"12345678901234567890123456789012345678901234567890123456789012345\""), "at most 64 bytes" },
		{ "{\"protocol\":\"ICMP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881}", "protocol \"ICMP\": \"TCP\" or \"UDP\"" },
		{ "{\"protocol\":6,\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881}", "protocol 6: " },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":0}", "internal_port 0: a whole number from 1 to 65535" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":65536}", "internal_port 65536" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.0\",\"internal_port\":1}", "internal_ip \"192.168.1.0\": a host of the LAN is wanted (192.168.1.0/24)" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.255\",\"internal_port\":1}", "192.168.1.255" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"8.8.8.8\",\"internal_port\":1}", "internal_ip \"8.8.8.8\": a host of the LAN" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.2.10\",\"internal_port\":1}", "a host of the LAN" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1\",\"internal_port\":1}", "an IPv4 address" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10; reboot\",\"internal_port\":1}", "an IPv4 address" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":\"::ffff:192.168.1.10\",\"internal_port\":1}", "an IPv4 address" },
		{ "{\"protocol\":\"TCP\",\"internal_ip\":3232235786,\"internal_port\":1}", "an IPv4 address" },
		{ BODY "x", "no JSON" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		refused(post(rows[i].body), 400, rows[i].words);
	assert_int_equal(fake.wishes, 0);
}

static void without_a_lan_nobody_is_its_host(void **state)
{
	(void)state;
	fake.lan_count = 0;
	refused(post(BODY), 503, "no LAN is known");
}

static void too_many_that_wait_are_told_to_come_again(void **state)
{
	struct http_request *waiting[ASKS_MAX_PER_CLIENT], *r;

	(void)state;
	for (size_t i = 0; i < ASKS_MAX_PER_CLIENT; i++) {
		waiting[i] = post(BODY);
		assert_int_equal(waiting[i]->status, 0);
	}
	r = post(BODY);
	assert_string_equal(r->header, "Retry-After: 1");
	refused(r, 429, "8 of them yours");
	fake_leave(waiting[3]);
	fake_free(waiting[3]);
	waiting[3] = post(BODY);
	assert_int_equal(waiting[3]->status, 0);
	for (size_t i = 0; i < ASKS_MAX_PER_CLIENT; i++) {
		fake_leave(waiting[i]);
		fake_free(waiting[i]);
	}
	assert_int_equal(fake.forgets, ASKS_MAX_PER_CLIENT + 1);
}

/* --- DELETE --- */

static void a_deletion_is_answered_when_the_core_has_done_it(void **state)
{
	struct http_request *r = fake_ask("DELETE", "/mappings/tcp/192.168.1.10/6881", "", 0);

	(void)state;
	assert_int_equal(r->status, 0);
	assert_int_equal(fake.unmapped.protocol, LEASE_TCP);
	assert_int_equal(fake.unmapped.client_ip, LAN1);
	assert_int_equal(fake.unmapped.internal_port, 6881);
	fake.asker.answer(fake.asker.owner, &fake.asker, NULL, &(struct gateway_answer){ .result = NATPMP_SUCCESS });
	json_decref(answered(r, 200));
	fake.says = 1;
	json_decref(answered(fake_ask("DELETE", "/mappings/UDP/192.168.1.10/1", "", 0), 200));
	fake.says = -ENOENT;
	refused(fake_ask("DELETE", "/mappings/UDP/192.168.1.10/65535", "", 0), 404, "UDP 192.168.1.10:65535");
	fake.says = -EPERM;
	refused(fake_ask("DELETE", "/mappings/UDP/192.168.1.10/2", "", 0), 409, "UDP 192.168.1.10:2");
}

static void what_is_wrong_with_a_path_is_named(void **state)
{
	static const struct {
		const char *path, *words;
	} rows[] = {
		{ "/mappings/ICMP/192.168.1.10/1", "protocol 'ICMP'" },
		{ "/mappings/TCP/192.168.1.300/1", "internal_ip '192.168.1.300'" },
		{ "/mappings/TCP/::1/1", "internal_ip '::1'" },
		{ "/mappings/TCP/192.168.1.10/0", "internal_port '0'" },
		{ "/mappings/TCP/192.168.1.10/65536", "internal_port '65536'" },
		{ "/mappings/TCP/192.168.1.10/000001", "internal_port '000001'" },
		{ "/mappings/TCP/192.168.1.10/1x", "internal_port '1x'" },
		{ "/mappings/TCP/192.168.1.10/-1", "internal_port '-1'" },
		{ "/mappings/TCP/192.168.1.10/ 1", "internal_port ' 1'" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		refused(fake_ask("DELETE", rows[i].path, "", 0), 400, rows[i].words);
	assert_int_equal(fake.unmaps, 0);
	assert_null(fake_ask("DELETE", "/mappings/TCP/192.168.1.10", "", 0));
}

/* --- GET --- */

static void mappings_are_told_in_order_and_whole(void **state)
{
	json_t *json, *m;

	(void)state;
	fake_add(LEASE_UDP, LAN1, 1);
	fake_add(LEASE_TCP, LAN1 + 1, 1);
	fake_add(LEASE_TCP, LAN1, 2);
	fake_add(LEASE_TCP, LAN1, 1)->description = "<b>\"&";
	fake.mappings[0].expires_ms = LEASES_FOREVER;
	fake.mappings[0].origin = ORIGIN_CONFIG;
	fake.mappings[0].outer = (struct endpoint){ 0 };
	fake.traffic.in_bytes = 5000000000;
	json = answered(get("/mappings"), 200);
	assert_int_equal(json_array_size(json), 4);
	m = json_array_get(json, 0);
	assert_int_equal(json_object_size(m), 16);
	assert_string_equal(json_string_value(json_object_get(m, "description")), "<b>\"&");
	assert_int_equal(json_integer_value(json_object_get(m, "expires_in")), 3541);
	assert_string_equal(json_string_value(json_object_get(m, "state")), "open");
	assert_int_equal(strlen(json_string_value(json_object_get(m, "expire_time"))), 20);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(m, "traffic"), "in_bytes")), 5000000000);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(json, 1), "internal_port")), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json, 2), "internal_ip")), "192.168.1.11");
	m = json_array_get(json, 3);
	assert_true(json_is_null(json_object_get(m, "expire_time")));
	assert_true(json_is_null(json_object_get(m, "expires_in")));
	assert_true(json_is_null(json_object_get(m, "traffic")));
	assert_string_equal(json_string_value(json_object_get(m, "public_ip")), "");
	assert_int_equal(json_integer_value(json_object_get(m, "remote_port")), 0);
	json_decref(json);
}

static double cpu_ms(void)
{
	return (double)clock() * 1000 / CLOCKS_PER_SEC;
}

static void a_thousand_mappings_are_told_in_milliseconds(void **state)
{
	double best_ms = 1e9;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		fake_add(i % 2 ? LEASE_TCP : LEASE_UDP, LAN1 + i % 7, (uint16_t)(60000 - i));
	for (int i = 0; i < 5; i++) {
		const double begin_ms = cpu_ms();
		struct http_request *r = get("/mappings");
		const double took_ms = cpu_ms() - begin_ms;

		best_ms = took_ms < best_ms ? took_ms : best_ms;
		assert_int_equal(r->status, 200);
		if (i == 0)
			print_message("%zu bytes\n", r->len);
		fake_free(r);
	}
	print_message("1,000 mappings in %.1f ms\n", best_ms);
	assert_true(best_ms < 200); /* with sanitizers */
}

static void the_status_is_whole_and_says_who_is_logged_in(void **state)
{
	static const char *const keys[] = { "version", "now", "uptime", "name", "public_ip", "public_ip_since", "wan", "lans", "epoch", "nat",
		"servers", "keepalive", "pool", "counts", "nat_pmp", "firewall", "traffic", "hold_max", "relay_ports", "login" };
	json_t *json = answered(get("/status"), 200), *server;

	(void)state;
	assert_int_equal(json_object_size(json), sizeof(keys) / sizeof(keys[0]));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_non_null(json_object_get(json, keys[i]));
	assert_true(json_is_null(json_object_get(json, "public_ip")));
	server = json_array_get(json_object_get(json, "servers"), 0);
	assert_string_equal(json_string_value(json_object_get(server, "state")), "well");
	assert_string_equal(json_string_value(json_object_get(server, "address")), "198.51.100.1:3478");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(json, "lans"), 0), "prefix")), 24);
	assert_true(json_is_true(json_object_get(json_object_get(json, "login"), "logged_in")));
	json_decref(json);
}

static void a_password_is_a_text_and_nothing_else(void **state)
{
	static const char *const wrong[] = { "", "{}", "[]", "{\"password\":7}", "{\"password\":\"a\",\"b\":1}", "{\"password\":\"a\",\"password\":\"b\"}" };
	struct http_request *r = fake_ask("POST", "/login", "{\"password\":\"open\"}", 19);

	(void)state;
	assert_int_equal(r->status, 200);
	assert_string_equal(r->password, "open");
	fake_free(r);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refused(fake_ask("POST", "/login", wrong[i], strlen(wrong[i])), 400, "is wanted");
}

/* Prometheus' format: each family has its help and type once, before its values, and nothing stands twice. */
static void metrics_are_families_with_help_and_type(void **state)
{
	struct http_request *r = get("/metrics");
	char family[128] = "", line[512];
	const char *at;
	size_t values = 0;

	(void)state;
	assert_int_equal(r->status, 200);
	assert_string_equal(r->type, "text/plain; version=0.0.4; charset=utf-8");
	for (at = r->text; *at; at = strchr(at, '\n') + 1) {
		const size_t len = (size_t)(strchr(at, '\n') - at);

		assert_true(len < sizeof(line));
		memcpy(line, at, len);
		line[len] = '\0';
		if (sscanf(line, "# HELP %127s", family) == 1) {
			char type[160];

			snprintf(type, sizeof(type), "\n# TYPE %s ", family);
			assert_ptr_equal(strstr(r->text, type), at + len); /* the next line */
			continue;
		}
		if (line[0] == '#')
			continue;
		assert_int_equal(strncmp(line, family, strlen(family)), 0);
		assert_true(line[strlen(family)] == ' ' || line[strlen(family)] == '{');
		assert_non_null(strchr("0123456789", strrchr(line, ' ')[1]));
		snprintf(line + len, sizeof(line) - len, "\n");
		values++;
	}
	assert_true(values > 50);
	assert_non_null(strstr(r->text, "\nstunway_gateway_natpmp_dropped_total{reason=\"malformed\"} 2\n"));
	assert_non_null(strstr(r->text, "\nstunway_gateway_stun_server_rtt_seconds{protocol=\"udp\",host=\"stun.example.org\",address=\"198.51.100.1:3478\"} 0.012\n"));
	fake_free(r);
}

/* --- events --- */

static size_t times(const char *text, const char *word)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, word)); at++)
		n++;
	return n;
}

/* Until it stands there so often, or for long enough. */
static void until(const struct http_request *r, const char *word, size_t often)
{
	for (int i = 0; i < 200 && times(r->text, word) < often; i++)
		fake_run(50);
	assert_int_equal(times(r->text, word), often);
}

static void a_mapping_that_changes_thrice_is_told_once_and_as_it_is_then(void **state)
{
	struct http_request *r = get("/events");
	struct gateway_mapping *m = fake_add(LEASE_TCP, LAN1, 6881);

	(void)state;
	assert_string_equal(r->type, "text/event-stream");
	assert_string_equal(r->text, "retry: 2000\n\n");
	for (int i = 0; i < 3; i++) {
		m->outer.port = (uint16_t)(43000 + i);
		fake.observer->mapping(fake.observer->owner, m, false);
	}
	assert_int_equal(times(r->text, "event: "), 0); /* gathered */
	fake_run(150);
	assert_int_equal(times(r->text, "event: mapping\ndata: {\"gone\":false,"), 1);
	assert_int_equal(times(r->text, "\"remote_port\":43002"), 1);
	fake.mapping_count = 0;
	fake.observer->mapping(fake.observer->owner, m, true);
	fake_run(150);
	assert_int_equal(times(r->text,
		"event: mapping\ndata: {\"gone\":true,\"mapping\":{\"protocol\":\"TCP\",\"internal_ip\":\"192.168.1.10\",\"internal_port\":6881}}\n\n"), 1);
	fake_leave(r);
	fake_free(r);
}

static void many_that_change_are_told_some_at_a_time_and_all(void **state)
{
	struct http_request *r = get("/events");

	(void)state;
	for (unsigned i = 0; i < 500; i++)
		fake_add(LEASE_TCP, LAN1, (uint16_t)(i + 1));
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < 500; i++)
			fake.observer->mapping(fake.observer->owner, &fake.mappings[i], false);
	for (size_t told = 0, before = 0; told < 500; before = told) {
		usleep(1000);
		uv_run(&fake.loop, UV_RUN_NOWAIT); /* its timer once, however late it is */
		told = times(r->text, "event: mapping");
		assert_in_range(told - before, 0, EVENTS_MAPPINGS);
	}
	fake_run(150);
	assert_int_equal(times(r->text, "event: mapping"), 500);
	fake_leave(r);
	fake_free(r);
}

static void the_log_is_told_twenty_lines_a_second_and_how_many_more(void **state)
{
	struct http_request *r = get("/events"), *recent;
	json_t *json;

	(void)state;
	for (int i = 0; i < 50; i++)
		log_info("line n=%d \"quoted\"", i);
	log_debug("not told");
	until(r, "event: log", EVENTS_LOG_PER_S + 1);
	assert_int_equal(times(r->text, "\"level\":\"info\",\"text\":\"line n=19 \\u0022quoted\\u0022\""), 1);
	assert_int_equal(times(r->text, "\"text\":\"… and 30 more\""), 1);
	log_warn("afterwards");
	until(r, "\"level\":\"warn\",\"text\":\"afterwards\"", 1);
	recent = get("/events/recent");
	json = answered(recent, 200);
	assert_int_equal(json_array_size(json), 51);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json, 50), "text")), "afterwards");
	json_decref(json);
	fake_leave(r);
	fake_free(r);
}

static void two_hundred_lines_are_kept(void **state)
{
	json_t *json;

	(void)state;
	for (int i = 0; i < 500; i++)
		log_info("%d", i);
	json = answered(get("/events/recent"), 200);
	assert_int_equal(json_array_size(json), 200);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json, 0), "text")), "300");
	json_decref(json);
}

static void a_listener_that_is_too_slow_holds_up_nobody(void **state)
{
	struct http_request *slow = get("/events"), *r = get("/events");

	(void)state;
	slow->full = true;
	fake.observer->status(fake.observer->owner);
	fake_run(150);
	assert_int_equal(times(r->text, "event: status\ndata: {\"now\":"), 1);
	fake_leave(slow);
	fake_leave(r);
	fake_free(slow);
	fake_free(r);
	fake.observer->status(fake.observer->owner); /* nobody listens */
	fake_run(150);
}

static void a_mapping_that_ends_while_all_are_copied_is_left_out(void **state)
{
	const struct view view = { .config = &fake.config };
	struct text t = TEXT_GROWING;
	struct view_copy *c;

	(void)state;
	for (uint16_t port = 1; port <= VIEW_PART + 2; port++)
		fake_add(LEASE_UDP, 0xc0a8010a, port);
	c = view_copy_new(&view);
	assert_int_equal(view_copy_part(c), 1);
	fake.mapping_count--;
	assert_int_equal(view_copy_part(c), 0);
	view_json_mappings(&t, c);
	assert_int_equal(times(t.at, "\"internal_port\":"), VIEW_PART + 1);
	text_free(&t);
	view_copy_free(c);
}

static void a_status_is_told_when_more_than_time_moved(void **state)
{
	struct http_request *r = get("/events");

	(void)state;
	for (int i = 0; i < 4; i++) {
		fake.status.epoch_s++;
		fake.status.public_ip += i == 2;
		fake.observer->status(fake.observer->owner);
		fake_run(150);
		assert_int_equal(times(r->text, "event: status\n"), i < 2 ? 1 : 2);
	}
	fake_leave(r);
	fake_free(r);
	r = get("/events"); /* who comes next has not heard of it */
	fake.observer->status(fake.observer->owner);
	fake_run(150);
	assert_int_equal(times(r->text, "event: status\n"), 1);
	fake_leave(r);
	fake_free(r);
}

static void there_is_room_for_so_many_listeners(void **state)
{
	struct http_request *all[EVENTS_LISTENERS_MAX];

	(void)state;
	for (size_t i = 0; i < EVENTS_LISTENERS_MAX; i++)
		all[i] = get("/events");
	refused(get("/events"), 503, "128 listen");
	for (size_t i = 0; i < EVENTS_LISTENERS_MAX; i++) {
		fake_leave(all[i]);
		fake_free(all[i]);
	}
	all[0] = get("/events");
	assert_int_equal(all[0]->status, 200);
	fake_leave(all[0]);
	fake_free(all[0]);
}

#define A(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		A(a_post_whose_hole_is_open_is_answered_at_once),
		A(all_that_a_post_says_reaches_the_core),
		A(a_post_waits_for_its_hole),
		A(a_post_whose_mapping_ends_does_not_wait_on),
		A(an_answer_may_come_before_the_question_returns),
		A(a_client_that_goes_away_is_forgotten_and_not_answered),
		A(every_refusal_of_the_core_has_its_status),
		A(what_the_core_says_late_is_said_in_words),
		A(what_is_wrong_with_a_body_is_named),
		A(without_a_lan_nobody_is_its_host),
		A(too_many_that_wait_are_told_to_come_again),
		A(a_deletion_is_answered_when_the_core_has_done_it),
		A(what_is_wrong_with_a_path_is_named),
		A(mappings_are_told_in_order_and_whole),
		A(a_thousand_mappings_are_told_in_milliseconds),
		A(the_status_is_whole_and_says_who_is_logged_in),
		A(a_password_is_a_text_and_nothing_else),
		A(metrics_are_families_with_help_and_type),
		A(a_mapping_that_changes_thrice_is_told_once_and_as_it_is_then),
		A(many_that_change_are_told_some_at_a_time_and_all),
		A(the_log_is_told_twenty_lines_a_second_and_how_many_more),
		A(two_hundred_lines_are_kept),
		A(a_listener_that_is_too_slow_holds_up_nobody),
		A(a_mapping_that_ends_while_all_are_copied_is_left_out),
		A(a_status_is_told_when_more_than_time_moved),
		A(there_is_room_for_so_many_listeners),
	};

	return RUN(tests);
}
