/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/http_guard.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

/* --- the head --- */

static bool is_clean(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (is_control(text[i]) && text[i] != '\t')
			return false;
	return true;
}

/* RFC 9110 section 5.6.2: what a header's name consists of. */
static bool is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!text[i] || (!isalnum((unsigned char)text[i]) && !strchr("!#$%&'*+-.^_`|~", text[i])))
			return false;
	return len > 0;
}

static bool is_named(const char *name, size_t len, const char *wanted)
{
	return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

void guard_header(struct guard_head *h, const char *name, size_t name_len, const char *value, size_t value_len)
{
	h->headers++;
	h->hosts += is_named(name, name_len, "Host");
	h->lengths += is_named(name, name_len, "Content-Length");
	h->codings += is_named(name, name_len, "Transfer-Encoding");
	h->unclean |= !is_token(name, name_len) || !is_clean(value, value_len);
	h->seen += name_len + value_len + strlen(":\r\n");
}

const char *guard_head(const struct guard_head *h, size_t line_len, size_t size)
{
	const size_t least = line_len + h->seen + strlen("  \r\n\r\n"); /* and a space before each value, or none */

	if (h->unclean)
		return "a header's name that is none, or a control character in a header";
	if (size > 0 && (size < least || size > least + h->headers))
		return "a NUL, a lone line feed or needless spaces in the head";
	if (h->hosts != 1)
		return h->hosts ? "more than one Host" : "no Host";
	if (h->codings > 0)
		return "Transfer-Encoding: a body wants a Content-Length here";
	return h->lengths > 1 ? "more than one Content-Length" : NULL;
}

int guard_length(const char *text, size_t *out)
{
	size_t n = 0;

	if (!text[0])
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		n = n > SIZE_MAX / 16 ? SIZE_MAX : n * 10 + (size_t)(*text - '0');
	}
	*out = n;
	return 0;
}

/* --- the path --- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

/* One character, decoded; -1: none that a path has. */
static int decode(const char **at)
{
	char c = *(*at)++;
	int high, low;

	if (c == '%') {
		high = hex((*at)[0]);
		low = high < 0 ? -1 : hex((*at)[1]);
		if (low < 0)
			return -1;
		c = (char)(high << 4 | low);
		*at += 2;
	}
	return is_control(c) ? -1 : (unsigned char)c;
}

int guard_path(struct guard_path *out, const char *target)
{
	const size_t len = strcspn(target, "?");
	const char *at = target, *end = target + len;
	char *to = out->text;

	out->count = 0;
	if (strnlen(target, HTTP_PATH_MAX + 1) > HTTP_PATH_MAX)
		return -ENAMETOOLONG;
	if (*at != '/')
		return -EINVAL;
	while (at < end) {
		at++; /* the slash */
		if (out->count == GUARD_SEGMENTS_MAX)
			return -ENOENT;
		out->segments[out->count++] = to;
		while (at < end && *at != '/') {
			const int c = decode(&at);

			if (c < 0 || at > end)
				return -EINVAL;
			*to++ = (char)c;
		}
		*to++ = '\0';
	}
	return 0;
}

bool guard_path_fits(const struct guard_path *p, const char *route, const char *wild[HTTP_SEGMENTS_MAX])
{
	size_t wilds = 0;

	for (size_t i = 0; i < p->count; i++) {
		const char *segment = p->segments[i];
		const size_t len = *route ? strcspn(route + 1, "/") : 0;

		if (*route != '/')
			return false;
		if (len == 1 && route[1] == '*' && segment[0] && wilds < HTTP_SEGMENTS_MAX)
			wild[wilds++] = segment;
		else if (strlen(segment) != len || strncmp(segment, route + 1, len) != 0)
			return false;
		route += 1 + len;
	}
	return *route == '\0';
}

/* --- who is meant --- */

static bool is_port(const char *text)
{
	return strlen(text) <= 5 && text[0] && strspn(text, "0123456789") == strlen(text);
}

int guard_host(struct guard_host *out, const char *value)
{
	const bool bracketed = value[0] == '[';
	const char *begin = value + bracketed, *end = begin + strcspn(begin, bracketed ? "]" : ":");
	const char *rest = end + (bracketed && *end);
	const size_t len = (size_t)(end - begin);

	if (len == 0 || len >= GUARD_HOST_MAX || (bracketed && *end != ']') || (*rest && (*rest != ':' || !is_port(rest + 1))))
		return -EINVAL;
	*out = (struct guard_host){ .ip = { .family = ENDPOINT_NONE } };
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)begin[i]) && !strchr(bracketed ? ":." : "-._", begin[i]))
			return -EINVAL;
		out->name[i] = (char)tolower((unsigned char)begin[i]);
	}
	if (endpoint_parse_ip(&out->ip, out->name, 0) == 0)
		out->name[0] = '\0';
	else if (bracketed)
		return -EINVAL;
	else if (len > 1 && out->name[len - 1] == '.') /* the root, written out */
		out->name[len - 1] = '\0';
	return 0;
}

bool guard_name_is(const char *host, const char *name)
{
	static const char *const domains[] = { "", ".lan", ".local", ".home.arpa", ".internal" };
	const size_t len = strlen(name);

	if (len == 0 || strncasecmp(host, name, len) != 0)
		return false;
	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
		if (strcasecmp(host + len, domains[i]) == 0)
			return true;
	return false;
}

bool guard_origin_is(const char *origin, const char *host)
{
	const char *from = strncmp(origin, "http://", 7) == 0 ? origin + 7 : strncmp(origin, "https://", 8) == 0 ? origin + 8 : NULL;

	return from && strcasecmp(from, host) == 0;
}

/* --- lists and parameters --- */

bool guard_type_is_json(const char *type)
{
	static const char json[] = "application/json";
	const char *rest = type + strlen(json);

	if (strncasecmp(type, json, strlen(json)) != 0)
		return false;
	rest = skip_space(rest);
	return *rest == '\0' || *rest == ';';
}

bool guard_cookie(const char *cookies, const char *name, char *out, size_t max)
{
	const size_t len = strlen(name);

	for (const char *at = skip_space(cookies); *at; at = skip_space(at)) {
		const size_t all = strcspn(at, ";");

		if (all > len && strncmp(at, name, len) == 0 && at[len] == '=') {
			if (all - len - 1 >= max)
				return false;
			snprintf(out, max, "%.*s", (int)(all - len - 1), at + len + 1);
			return true;
		}
		at += all + (at[all] == ';');
	}
	return false;
}

/* "q=0", "q=0.000": not that one. */
static bool is_refused(const char *parameters)
{
	const char *q = skip_space(parameters);

	if (*q != ';')
		return false;
	q = skip_space(q + 1);
	if (strncasecmp(q, "q=0", 3) != 0)
		return false;
	q += 3;
	if (*q == '.')
		q += 1 + strspn(q + 1, "0");
	return !isdigit((unsigned char)*q);
}

bool guard_accepts_gzip(const char *accept)
{
	for (const char *at = skip_space(accept); *at; at = skip_space(at)) {
		const size_t all = strcspn(at, ","), len = strcspn(at, ",; \t");

		if (is_named(at, len, "gzip"))
			return !is_refused(at + len);
		at += all + (at[all] == ',');
	}
	return false;
}

static const char *strong(const char *etag)
{
	return strncmp(etag, "W/", 2) == 0 ? etag + 2 : etag;
}

bool guard_etag_listed(const char *if_none_match, const char *etag)
{
	const size_t len = strlen(strong(etag));

	for (const char *at = skip_space(if_none_match); *at; at = skip_space(at)) {
		const size_t all = strcspn(at, ",");
		const char *one = strong(at);

		if (*at == '*' || (strncmp(one, strong(etag), len) == 0 && strchr(", \t", one[len])))
			return true;
		at += all + (at[all] == ',');
	}
	return false;
}
