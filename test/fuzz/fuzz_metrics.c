/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whatever is sent to --metrics: one of the statuses, the same whatever follows, and never undone by a byte more. */
#include <stdlib.h>
#include <string.h>

#include "server/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t len = size < METRICS_REQUEST_MAX ? size : METRICS_REQUEST_MAX;
	char *bytes = malloc(len ? len : 1);
	int before = 0;

	if (!bytes)
		return 0;
	memcpy(bytes, data, len);
	for (size_t i = 0; i <= len; i++) {
		const int now = metrics_request(bytes, i);

		if (before != 0 && now != before)
			abort();
		if (now != 0 && now != 200 && now != 400 && now != 404 && now != 405 && now != 431 && now != 505)
			abort();
		if (i < METRICS_REQUEST_MAX)
			before = now;
	}
	if (len == METRICS_REQUEST_MAX && before == 0 && metrics_request(bytes, len) == 0)
		abort();
	free(bytes);
	return 0;
}
