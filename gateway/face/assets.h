/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * assets - the web UI inside the binary.
 *
 * gateway/web/dist, built from gateway/web/src and kept in the tree, becomes this table at build time
 * (gateway/web/embed.py). Each file comes plain and as a gzip stream, each made the same at every build.
 */
#ifndef STUNWAY_GATEWAY_ASSETS_H
#define STUNWAY_GATEWAY_ASSETS_H

#include <stddef.h>

struct asset {
	const char *path; /* "/app.js"; "/" is index.html */
	const char *type; /* Content-Type, with the charset */
	const char *etag; /* of the plain bytes, in its quotes */
	const unsigned char *plain, *gzip;
	size_t plain_len, gzip_len;
};

extern const struct asset assets[];
extern const size_t asset_count;

#endif
