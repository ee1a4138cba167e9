/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * statefile - the state (gateway/state/state.h) on a disk that may lose power, be full, or be read-only.
 *
 * At any moment FILE is a whole state, the last one or the one before: FILE.tmp is written,
 * synced and renamed, the directory synced. These calls block; threads other than the loop's
 * write. A file that cannot be understood is kept as FILE.damaged, older ones as FILE.damaged.1
 * to .3, for somebody to look at. Only the owner may read any of it: it tells who uses what.
 */
#ifndef GATEWAY_STATEFILE_H
#define GATEWAY_STATEFILE_H

#include "gateway/state/state.h"

#define STATEFILE_MAX (16u << 20) /* bytes: a longer one is none of ours */

/* Makes the directory if it is missing. Negative errno: FILE is as it was. */
int statefile_write(const char *path, const struct state *s);
/*
 * Never fatal: what is wrong is said in the log, and what could be read is in *out, with
 * *whole telling whether that is all there was. A missing file is an empty state, and not whole.
 */
void statefile_read(const char *path, const struct state_limits *limits, struct state *out, bool *whole);

#endif
