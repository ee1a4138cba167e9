/* SPDX-License-Identifier: MIT */
/* info - the machine's verdict in the public library's words. */
#ifndef SYS_INFO_H
#define SYS_INFO_H

#include <stunway/stunway.h>

#include "lib/discovery.h"
#include "lib/json.h"

/* elapsed_ms: how long was asked. */
void info_of_verdict(struct stunway_nat_info *out, const struct discovery_verdict *v, const struct endpoint *server,
	uint32_t elapsed_ms);
/* Error, for the reason given; server: family NONE when not known. */
__attribute__((format(printf, 3, 4))) void info_of_fault(struct stunway_nat_info *out, const struct endpoint *server,
	const char *format, ...);

/* Its members, into an object begun. asked: what the server is called when its address is not known. */
void info_json(struct json *j, const struct stunway_nat_info *info, const char *asked);

#endif
