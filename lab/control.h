/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control - natbox's commands over a unix stream socket: a line in, lines out, ended by an empty one.
 *
 * Nothing here blocks; the caller polls. An answer is "ok", JSON (dump), or begins with "error:".
 */
#ifndef LAB_CONTROL_H
#define LAB_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lab/nat.h"

enum { CONTROL_CLIENTS = 8, CONTROL_FDS = CONTROL_CLIENTS + 1 };

struct control;

/* Listens on path, replacing what is there. nat is borrowed. */
int control_new(struct control **out, const char *path, struct nat *nat);
/* Closes everything and removes the path; NULL is fine. */
void control_free(struct control *c);

/* What to poll for; an unused place has fd -1. */
void control_prepare(const struct control *c, struct pollfd fds[CONTROL_FDS]);
/* Serves what poll found. */
void control_serve(struct control *c, const struct pollfd fds[CONTROL_FDS], uint64_t now_ms);
/* Somebody said quit. */
bool control_quits(const struct control *c);

void control_help(FILE *out);

/* The client: sends the words as one command, prints the answer; 0, 1 on an error of any kind. */
int control_client(const char *path, char *const *words, size_t count);

#endif
