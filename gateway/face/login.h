/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * login - the password of the web interface, who is logged in, and patience with those who guess.
 *
 * Pure state: times are sys/clock.h's, given. A password is compared in a time that does not depend on it. Whoever
 * gave wrong ones waits, longer each time, and so does nobody else: a client is its address (IPv6: its /64).
 */
#ifndef GATEWAY_LOGIN_H
#define GATEWAY_LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/endpoint.h"

#define LOGIN_PASSWORD_MAX 256 /* with the final NUL */
#define LOGIN_ID_MAX	   33  /* likewise: 16 random bytes in hex */
#define LOGIN_SESSIONS	   32  /* one more ends the one that was idle longest */
#define LOGIN_GUESSERS	   64  /* addresses remembered */
#define LOGIN_FREE	   5   /* wrong ones before an address waits: 1 s, 2 s, 4 s … */
#define LOGIN_WAIT_MAX_MS  60000
#define LOGIN_FORGET_MS	   900000   /* without a wrong one, all is forgotten */
#define LOGIN_IDLE_MS	   43200000 /* a session not used for 12 hours ends */

struct login {
	bool required; /* there is a password; all else is private */
	char password[LOGIN_PASSWORD_MAX];
	struct login_session {
		char id[LOGIN_ID_MAX]; /* "": free */
		uint64_t used_ms;
	} sessions[LOGIN_SESSIONS];
	struct login_guesser {
		struct endpoint who; /* family NONE: free */
		uint32_t wrong;
		uint64_t last_ms, until_ms;
	} guessers[LOGIN_GUESSERS];
};

/* The first line of a file, at most LOGIN_PASSWORD_MAX - 1 bytes. -EINVAL: empty, longer or with control characters; other negative errno. */
int login_read(char out[LOGIN_PASSWORD_MAX], int fd);
/* The password, none being NULL: when it is another than before, all sessions end. */
void login_password(struct login *l, const char *password);

enum login_verdict { LOGIN_RIGHT, LOGIN_WRONG, LOGIN_WAIT /* not looked at: *wait_s more seconds */ };
enum login_verdict login_try(struct login *l, const struct endpoint *who, const char *password, uint64_t now_ms, uint32_t *wait_s);

/* A session begins; its id is what the client keeps. */
void login_begin(struct login *l, uint64_t now_ms, char id[LOGIN_ID_MAX]);
/* Whether there is such a session; it has been used then. id: anything at all, terminated. */
bool login_known(struct login *l, const char *id, uint64_t now_ms);
void login_end(struct login *l, const char *id);

#endif
