/* SPDX-License-Identifier: GPL-2.0-or-later */
/* preview - --check: says what the gateway would do here, and what would be in its way. Changes nothing. */
#ifndef GATEWAY_PREVIEW_H
#define GATEWAY_PREVIEW_H

#include "gateway/config.h"

enum preview { PREVIEW_FINE, PREVIEW_WRONG, PREVIEW_RIGHTS };

/*
 * To stdout, a line for each part; what would not work begins with "problem: ", and says
 * what to do. The worst that was found. What passes by itself, as a name that does not resolve now, is
 * only a warning.
 */
enum preview preview(const struct config *c);

#endif
