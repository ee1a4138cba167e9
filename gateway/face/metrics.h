/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics - the gateway in numbers, as Prometheus reads them at GET /metrics; packaging/grafana shows them. */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include "gateway/face/view_json.h"

/* What is known elsewhere. */
struct metrics_web {
	uint64_t requests, refused; /* of the API: answered, and of those with 4xx or 5xx */
	uint64_t waiting;	    /* POST and DELETE that wait */
	uint64_t listeners;	    /* of events */
};

void metrics_put(struct text *t, const struct view *v, const struct metrics_web *web);

#endif
