/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "server/xdp/xdp.h"

const bool xdp_built = false;

int xdp_new(struct xdp **out, const char *interface, const struct place *places, size_t count, uint32_t rate)
{
	(void)out, (void)interface, (void)places, (void)count, (void)rate;
	return -ENOTSUP;
}

void xdp_free(struct xdp *x)
{
	(void)x;
}

void xdp_follow(struct xdp *x)
{
	(void)x;
}

void xdp_rate(struct xdp *x, uint32_t rate)
{
	(void)x, (void)rate;
}

void xdp_counts(const struct xdp *x, struct counts_sum *sum)
{
	(void)x, (void)sum;
}
