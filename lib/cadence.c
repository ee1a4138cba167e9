/* SPDX-License-Identifier: MIT */
#include "lib/cadence.h"

#define PATIENCE_MS	120000
#define PATIENCE_MAX_MS 86400000

static uint32_t bounded(const struct cadence *c, uint64_t ms)
{
	const uint64_t most = ms < c->max_ms ? ms : c->max_ms;

	return (uint32_t)(most < CADENCE_MIN_MS ? CADENCE_MIN_MS : most);
}

static bool set(struct cadence *c, uint64_t ms)
{
	const uint32_t old_ms = c->interval_ms;

	c->interval_ms = bounded(c, ms);
	return c->interval_ms != old_ms;
}

void cadence_init(struct cadence *c, uint32_t start_ms, uint32_t max_ms)
{
	*c = (struct cadence){ .max_ms = max_ms, .patience_ms = PATIENCE_MS };
	c->interval_ms = bounded(c, start_ms);
}

static uint32_t silence_for(uint32_t interval_ms)
{
	return interval_ms / 4 * 5;
}

static uint32_t interval_for(uint32_t silent_ms)
{
	return silent_ms / 5 * 4;
}

uint32_t cadence_silence_ms(struct cadence *c, uint64_t now_ms)
{
	uint32_t next_ms = bounded(c, c->interval_ms + c->interval_ms / 2), high_ms;

	if (c->blind)
		return c->interval_ms;
	if (c->dead_ms && now_ms >= c->doubt_ms)
		c->dead_ms = 0;
	if (c->dead_ms) {
		high_ms = bounded(c, interval_for(c->dead_ms));
		if (high_ms < c->interval_ms + c->interval_ms / 8)
			return c->interval_ms;
		next_ms = c->interval_ms + (high_ms - c->interval_ms) / 2;
	}
	return c->interval_ms < c->max_ms ? silence_for(next_ms) : c->interval_ms;
}

bool cadence_lived(struct cadence *c, uint32_t silent_ms)
{
	if (c->dead_ms && silent_ms >= c->dead_ms)
		c->dead_ms = 0;
	return interval_for(silent_ms) > c->interval_ms && set(c, interval_for(silent_ms));
}

bool cadence_died(struct cadence *c, uint32_t silent_ms, uint64_t now_ms)
{
	if (silent_ms < CADENCE_MIN_MS)
		return false;
	if (c->dead_ms == 0) { /* else of one search, or of one event */
		c->doubt_ms = now_ms + c->patience_ms;
		c->patience_ms = c->patience_ms < PATIENCE_MAX_MS / 2 ? c->patience_ms * 2 : PATIENCE_MAX_MS;
	}
	if (c->dead_ms == 0 || silent_ms < c->dead_ms)
		c->dead_ms = silent_ms;
	return c->interval_ms > interval_for(silent_ms) && set(c, silent_ms / 2);
}

bool cadence_blind(struct cadence *c)
{
	c->blind = true;
	return set(c, CADENCE_USUAL_MS);
}
