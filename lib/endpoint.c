/* SPDX-License-Identifier: MIT */
#include "lib/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct endpoint endpoint_ipv4(uint32_t ip, uint16_t port)
{
	return (struct endpoint){ .family = ENDPOINT_IPV4,
		.port = port,
		.ip = { (uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8), (uint8_t)ip } };
}

uint32_t endpoint_ip32(const struct endpoint *e)
{
	if (e->family != ENDPOINT_IPV4)
		return 0;
	return (uint32_t)e->ip[0] << 24 | (uint32_t)e->ip[1] << 16 | (uint32_t)e->ip[2] << 8 | e->ip[3];
}

size_t endpoint_ip_len(const struct endpoint *e)
{
	return e->family == ENDPOINT_IPV4 ? 4 : e->family == ENDPOINT_IPV6 ? 16 : 0;
}

static bool is_ipv6_zero(const struct endpoint *e)
{
	static const uint8_t zero[16];

	return memcmp(e->ip, zero, 16) == 0;
}

bool endpoint_is_host(const struct endpoint *e)
{
	if (e->port == 0)
		return false;
	if (e->family == ENDPOINT_IPV4)
		return e->ip[0] != 0 && e->ip[0] < 224;
	return e->family == ENDPOINT_IPV6 && e->ip[0] != 0xff && !is_ipv6_zero(e);
}

bool endpoint_is_local(const struct endpoint *e)
{
	static const uint8_t loopback[16] = { [15] = 1 };
	static const struct {
		uint32_t ip, mask;
	} blocks[] = { { 0x0a000000, 0xff000000 }, { 0xac100000, 0xfff00000 }, { 0xc0a80000, 0xffff0000 }, { 0x64400000, 0xffc00000 },
		{ 0xa9fe0000, 0xffff0000 }, { 0x7f000000, 0xff000000 } };
	const uint32_t ip = endpoint_ip32(e);

	if (e->family == ENDPOINT_IPV6)
		return (e->ip[0] & 0xfe) == 0xfc || (e->ip[0] == 0xfe && (e->ip[1] & 0xc0) == 0x80) || memcmp(e->ip, loopback, 16) == 0;
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		if (e->family == ENDPOINT_IPV4 && (ip & blocks[i].mask) == blocks[i].ip)
			return true;
	return false;
}

bool endpoint_same_ip(const struct endpoint *a, const struct endpoint *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, endpoint_ip_len(a)) == 0;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return endpoint_same_ip(a, b) && a->port == b->port;
}

const char *endpoint_ip_text(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX])
{
	if (e->family == ENDPOINT_NONE)
		return strcpy(buf, "-");
	inet_ntop(e->family == ENDPOINT_IPV4 ? AF_INET : AF_INET6, e->ip, buf, ENDPOINT_TEXT_MAX);
	return buf;
}

const char *endpoint_text(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX])
{
	char ip[ENDPOINT_TEXT_MAX];

	if (e->family == ENDPOINT_NONE)
		return strcpy(buf, "-");
	endpoint_ip_text(e, ip);
	snprintf(buf, ENDPOINT_TEXT_MAX, e->family == ENDPOINT_IPV6 ? "[%.46s]:%u" : "%.46s:%u", ip, e->port);
	return buf;
}

int endpoint_parse_ip(struct endpoint *out, const char *text, uint16_t port)
{
	struct endpoint e = { .port = port };

	if (inet_pton(AF_INET, text, e.ip) == 1)
		e.family = ENDPOINT_IPV4;
	else if (inet_pton(AF_INET6, text, e.ip) == 1)
		e.family = ENDPOINT_IPV6;
	else
		return -EINVAL;
	*out = e;
	return 0;
}

/* Digits alone, 1 to 65535; 0 for all else. */
static uint16_t port_of(const char *text)
{
	uint32_t port = 0;

	for (; *text >= '0' && *text <= '9' && port <= UINT16_MAX; text++)
		port = port * 10 + (uint32_t)(*text - '0');
	return *text || port > UINT16_MAX ? 0 : (uint16_t)port;
}

int endpoint_parse(struct endpoint *out, const char *text)
{
	const char *colon = strrchr(text, ':');
	const size_t len = colon ? (size_t)(colon - text) : 0;
	const bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	const uint16_t port = colon ? port_of(colon + 1) : 0;
	char ip[ENDPOINT_TEXT_MAX];
	struct endpoint e;

	if (port == 0 || len >= sizeof(ip))
		return -EINVAL;
	snprintf(ip, sizeof(ip), "%.*s", (int)(brackets ? len - 2 : len), text + brackets);
	if (endpoint_parse_ip(&e, ip, port) < 0 || brackets != (e.family == ENDPOINT_IPV6))
		return -EINVAL;
	*out = e;
	return 0;
}
