/* SPDX-License-Identifier: MIT */
#include "sys/info.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sys/sockaddr.h"

static const struct {
	enum discovery_note note;
	const char *text;
} sentences[] = {
	{ DISCOVERY_NO_OTHER, "the server names no second address, so mapping and filtering cannot be told" },
	{ DISCOVERY_NO_OTHER_PORT, "the server's second address has the same port, so filters by address and by port look alike" },
	{ DISCOVERY_OTHER_SILENT, "the server's second address does not answer, so not everything can be told" },
	{ DISCOVERY_NO_CHANGE, "the server did not answer in time from its second address when asked to, so filtering cannot be told" },
	{ DISCOVERY_UNSTEADY, "the outer address changed during the inquiry, twice" },
	{ DISCOVERY_SHORT_OF_TIME, "the time was too short for enough evidence" },
	{ DISCOVERY_ALG, "something on the way rewrites addresses in packets (an ALG)" },
};

struct words {
	char *at;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->at + t->len, t->size - t->len, format, args);
	va_end(args);
	t->len += n < 0 ? 0 : (size_t)n;
	if (t->len >= t->size)
		t->len = t->size - 1; /* cut */
}

static void say_why(struct words *t, const struct discovery_verdict *v, const struct endpoint *server, uint32_t elapsed_ms)
{
	char text[ENDPOINT_TEXT_MAX];

	endpoint_text(server, text);
	if (v->notes & DISCOVERY_REFUSED)
		say(t, "%s answers with STUN error %u", text, v->code);
	if (v->type == STUNWAY_BLOCKED) {
		say(t, "no answer from %s in %u.%u s", text, elapsed_ms / 1000, elapsed_ms % 1000 / 100);
		say(t, v->notes & DISCOVERY_TCP_ANSWERS ? ", though its host is up: UDP is blocked, or no STUN server is there" :
							  ": UDP is blocked, or the server is down");
		return;
	}
	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (v->notes & sentences[i].note)
			say(t, "%s%s", t->len ? "; " : "", sentences[i].text);
	if (t->len == 0 && (v->type == STUNWAY_UNKNOWN || v->type == STUNWAY_ERROR))
		say(t, "the evidence does not suffice");
}

static void address_of(struct sockaddr_storage *out, const struct endpoint *e)
{
	if (e->family == ENDPOINT_NONE)
		*out = (struct sockaddr_storage){ .ss_family = AF_UNSPEC };
	else
		net_sockaddr(out, e);
}

void info_of_verdict(struct stunway_nat_info *out, const struct discovery_verdict *v, const struct endpoint *server,
	uint32_t elapsed_ms)
{
	struct words t = { out->info, sizeof(out->info), 0 };

	*out = (struct stunway_nat_info){ .type = v->type, .mapping = v->mapping, .filtering = v->filtering,
		.port_mode = v->port_mode, .confidence = v->confidence, .rtt_ms = v->rtt_ms, .loss = v->loss,
		.alg = (v->notes & DISCOVERY_ALG) != 0, .many_addresses = (v->notes & DISCOVERY_POOL) != 0 };
	address_of(&out->external, &v->outer);
	address_of(&out->local, &v->local);
	address_of(&out->server, server);
	say_why(&t, v, server, elapsed_ms);
}

void info_of_fault(struct stunway_nat_info *out, const struct endpoint *server, const char *format, ...)
{
	va_list args;

	*out = (struct stunway_nat_info){ .type = STUNWAY_ERROR, .confidence = 1 };
	address_of(&out->server, server);
	va_start(args, format);
	vsnprintf(out->info, sizeof(out->info), format, args);
	va_end(args);
}

static void address_json(struct json *j, const char *key, const struct sockaddr_storage *address)
{
	const struct endpoint e = net_endpoint(address);

	json_endpoint(j, key, &e);
}

void info_json(struct json *j, const struct stunway_nat_info *info, const char *asked)
{
	const struct endpoint server = net_endpoint(&info->server);
	char text[ENDPOINT_TEXT_MAX];

	json_text(j, "type", stunway_type_text(info->type));
	address_json(j, "external", &info->external);
	address_json(j, "local", &info->local);
	json_text(j, "info", info->info);
	json_text(j, "port_mode", stunway_port_mode_text(info->port_mode));
	json_text(j, "mapping", stunway_behavior_text(info->mapping));
	json_text(j, "filtering", stunway_behavior_text(info->filtering));
	json_number(j, "confidence", info->confidence);
	json_text(j, "server", server.family == ENDPOINT_NONE ? asked : endpoint_text(&server, text));
	json_number(j, "rtt_ms", info->rtt_ms);
	json_number(j, "loss", info->loss);
	json_bool(j, "alg", info->alg);
	json_bool(j, "many_addresses", info->many_addresses);
}
