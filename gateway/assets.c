/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A page until there is the UI. */
#include "gateway/assets.h"

#define PAGE "<!doctype html><meta charset=utf-8><title>stunway</title><p>See <a href=/status>/status</a>, /mappings and /events.\n"

const struct asset assets[] = {
	{ "/", "text/html; charset=utf-8", "\"placeholder\"", (const unsigned char *)PAGE, NULL, sizeof(PAGE) - 1, 0 },
};
const size_t asset_count = sizeof(assets) / sizeof(assets[0]);
