/* SPDX-License-Identifier: MIT */
#include "lib/access.h"

#include <errno.h>
#include <string.h>

#include "lib/endpoint.h"

#define WORD_MAX 32 /* none is longer: "255.255.255.255/32" */

/* The next word, words being parted by blanks. False when there is none, or it is too long to be right. */
static bool next_word(const char **at, char word[WORD_MAX])
{
	size_t len;

	*at += strspn(*at, " \t");
	len = strcspn(*at, " \t");
	if (len == 0 || len >= WORD_MAX)
		return false;
	memcpy(word, *at, len);
	word[len] = '\0';
	*at += len;
	return true;
}

/* A decimal number from 0 to max, and nothing else before *end. */
static bool read_number(const char **at, uint32_t max, uint32_t *out)
{
	uint32_t n = 0;
	const char *p = *at;

	for (; *p >= '0' && *p <= '9' && n <= max; p++)
		n = n * 10 + (uint32_t)(*p - '0');
	if (p == *at || n > max)
		return false;
	*at = p;
	*out = n;
	return true;
}

static bool read_ports(const char *word, struct access_ports *out)
{
	uint32_t low, high;

	if (!read_number(&word, 65535, &low))
		return false;
	high = low;
	if (*word == '-' && (word++, !read_number(&word, 65535, &high)))
		return false;
	*out = (struct access_ports){ (uint16_t)low, (uint16_t)high };
	return *word == '\0' && low <= high;
}

static bool read_net(char *word, struct access_rule *out)
{
	char *slash = strchr(word, '/');
	const char *bits_text = slash ? slash + 1 : "32";
	struct endpoint e;
	uint32_t bits;

	if (slash)
		*slash = '\0';
	if (endpoint_parse_ip(&e, word, 0) < 0 || e.family != ENDPOINT_IPV4 || !read_number(&bits_text, 32, &bits) || *bits_text)
		return false;
	out->mask = bits ? UINT32_MAX << (32 - bits) : 0;
	out->net = endpoint_ip32(&e) & out->mask;
	return true;
}

int access_parse(struct access_rule *out, const char *text)
{
	struct access_rule rule = { 0 };
	char verb[WORD_MAX], external[WORD_MAX], net[WORD_MAX], internal[WORD_MAX];

	if (!next_word(&text, verb) || !next_word(&text, external) || !next_word(&text, net) || !next_word(&text, internal))
		return -EINVAL;
	rule.allow = strcmp(verb, "allow") == 0;
	if ((!rule.allow && strcmp(verb, "deny") != 0) || !read_ports(external, &rule.external) || !read_net(net, &rule) ||
		!read_ports(internal, &rule.internal) || text[strspn(text, " \t")] != '\0')
		return -EINVAL;
	*out = rule;
	return 0;
}

int access_add(struct access *a, const char *text)
{
	struct access_rule rule;
	const int err = access_parse(&rule, text);

	if (err < 0)
		return err;
	if (a->count == ACCESS_RULES_MAX)
		return -ENOSPC;
	a->rules[a->count++] = rule;
	return 0;
}

static bool contains(const struct access_ports *p, uint32_t port)
{
	return port >= p->low && port <= p->high;
}

uint16_t access_next(const struct access *a, uint32_t client_ip, uint16_t internal_port, uint16_t low, uint16_t high)
{
	uint32_t port = low ? low : 1;

	while (port <= high) {
		uint32_t above = UINT32_MAX; /* where a rule that stands before the one that decides begins */
		const struct access_rule *decides = NULL;

		for (size_t i = 0; i < a->count && !decides; i++) {
			const struct access_rule *r = &a->rules[i];

			if ((client_ip & r->mask) != r->net || !contains(&r->internal, internal_port))
				continue;
			if (contains(&r->external, port))
				decides = r;
			else if (r->external.low > port && r->external.low < above)
				above = r->external.low;
		}
		if (!decides || decides->allow)
			return (uint16_t)port;
		port = above <= decides->external.high ? above : decides->external.high + 1u;
	}
	return 0;
}

bool access_allows(const struct access *a, uint32_t client_ip, uint16_t internal_port, uint16_t external_port)
{
	return access_next(a, client_ip, internal_port, external_port, external_port) != 0;
}
