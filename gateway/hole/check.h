/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check - the NAT check (lib/natcheck.h) with its sockets and, for filtering, its packet tap. */
#ifndef GATEWAY_CHECK_H
#define GATEWAY_CHECK_H

#include <uv.h>

#include "lib/leases.h"
#include "lib/natcheck.h"

struct check;

/* Called when the mapping is known, and when all is (verdict->done); the callee closes the check then, or before. */
typedef void check_verdict_fn(void *owner, const struct natcheck *verdict);

struct check_config {
	uv_loop_t *loop;
	enum lease_protocol protocol;
	struct endpoint local; /* WAN's address; the port is chosen */
	unsigned wan_index;
	const struct endpoint *servers; /* copied */
	size_t server_count;
	check_verdict_fn *verdict;
	void *owner;
};

int check_open(struct check **out, const struct check_config *config);
void check_close(struct check *c); /* NULL is fine */

#endif
