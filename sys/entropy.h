/* SPDX-License-Identifier: MIT */
/* entropy - what the core's machines draw their transaction ids from: getrandom(2). */
#ifndef SYS_ENTROPY_H
#define SYS_ENTROPY_H

#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>

static inline void random_bytes(void *buf, size_t len)
{
	/* Up to 256 bytes come whole; without them no transaction id could be told from a forged one. */
	if (getrandom(buf, len, 0) != (ssize_t)len)
		abort();
}

#endif
