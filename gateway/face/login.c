/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gateway/face/login.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sys/entropy.h"

int login_read(char out[LOGIN_PASSWORD_MAX], int fd)
{
	char text[LOGIN_PASSWORD_MAX + 2]; /* "\r\n" is the line's end too */
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n')
			len = i > 0 && text[i - 1] == '\r' ? i - 1 : i;
	if (len == 0 || len >= LOGIN_PASSWORD_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return -EINVAL;
	memcpy(out, text, len);
	out[len] = '\0';
	return 0;
}

void login_password(struct login *l, const char *password)
{
	if (l->required == (password != NULL) && (!password || strcmp(password, l->password) == 0))
		return;
	l->required = password;
	memset(l->password, 0, sizeof(l->password)); /* to the end: all of it is compared */
	if (password)
		snprintf(l->password, sizeof(l->password), "%s", password);
	memset(l->sessions, 0, sizeof(l->sessions));
}

/* In a time that depends on neither. */
static bool same(const char *a, const char *b, size_t len)
{
	volatile unsigned char differs = 0;

	for (size_t i = 0; i < len; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	return differs == 0;
}

/* --- who guesses --- */

static struct endpoint network(const struct endpoint *who)
{
	struct endpoint n = *who;

	n.port = 0;
	if (n.family == ENDPOINT_IPV6)
		memset(n.ip + 8, 0, 8);
	return n;
}

/* Those who have not guessed for long are nobody. */
static struct login_guesser *find_guesser(struct login *l, const struct endpoint *who, uint64_t now_ms)
{
	const struct endpoint n = network(who);

	for (size_t i = 0; i < LOGIN_GUESSERS; i++)
		if (endpoint_equal(&l->guessers[i].who, &n) && now_ms - l->guessers[i].last_ms < LOGIN_FORGET_MS)
			return &l->guessers[i];
	return NULL;
}

/* A place for another, that of who has been quiet longest. */
static struct login_guesser *new_guesser(struct login *l, const struct endpoint *who)
{
	struct login_guesser *oldest = &l->guessers[0];

	for (size_t i = 1; i < LOGIN_GUESSERS; i++)
		if (l->guessers[i].last_ms < oldest->last_ms)
			oldest = &l->guessers[i];
	*oldest = (struct login_guesser){ .who = network(who) };
	return oldest;
}

static void wrong(struct login *l, struct login_guesser *g, const struct endpoint *who, uint64_t now_ms)
{
	uint64_t wait_ms;

	if (!g)
		g = new_guesser(l, who);
	g->last_ms = now_ms;
	if (++g->wrong < LOGIN_FREE)
		return;
	wait_ms = g->wrong - LOGIN_FREE < 6 ? 1000ull << (g->wrong - LOGIN_FREE) : LOGIN_WAIT_MAX_MS;
	g->until_ms = now_ms + wait_ms;
}

enum login_verdict login_try(struct login *l, const struct endpoint *who, const char *password, uint64_t now_ms, uint32_t *wait_s)
{
	struct login_guesser *g = find_guesser(l, who, now_ms);
	char given[LOGIN_PASSWORD_MAX] = "";
	const size_t len = strlen(password);

	if (g && g->until_ms > now_ms) {
		*wait_s = (uint32_t)((g->until_ms - now_ms + 999) / 1000);
		return LOGIN_WAIT;
	}
	memcpy(given, password, len < sizeof(given) ? len : sizeof(given) - 1);
	if (!l->required || !same(given, l->password, sizeof(given)) || len >= sizeof(given)) {
		wrong(l, g, who, now_ms);
		return LOGIN_WRONG;
	}
	if (g)
		*g = (struct login_guesser){ .wrong = 0 };
	return LOGIN_RIGHT;
}

/* --- who is logged in --- */

static struct login_session *find_session(struct login *l, const char *id, uint64_t now_ms)
{
	struct login_session *found = NULL;

	if (strlen(id) != LOGIN_ID_MAX - 1)
		return NULL;
	for (size_t i = 0; i < LOGIN_SESSIONS; i++)
		if (same(l->sessions[i].id, id, LOGIN_ID_MAX) && now_ms < l->sessions[i].used_ms + LOGIN_IDLE_MS)
			found = &l->sessions[i];
	return found;
}

void login_begin(struct login *l, uint64_t now_ms, char id[LOGIN_ID_MAX])
{
	struct login_session *s = &l->sessions[0];
	uint8_t bytes[(LOGIN_ID_MAX - 1) / 2];

	for (size_t i = 1; i < LOGIN_SESSIONS; i++)
		if (l->sessions[i].used_ms < s->used_ms)
			s = &l->sessions[i];
	random_bytes(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(id + 2 * i, 3, "%02x", bytes[i]);
	memcpy(s->id, id, LOGIN_ID_MAX);
	s->used_ms = now_ms;
}

bool login_known(struct login *l, const char *id, uint64_t now_ms)
{
	struct login_session *s = find_session(l, id, now_ms);

	if (s)
		s->used_ms = now_ms;
	return s;
}

void login_end(struct login *l, const char *id)
{
	struct login_session *s = find_session(l, id, 0);

	if (s)
		*s = (struct login_session){ .used_ms = 0 };
}
