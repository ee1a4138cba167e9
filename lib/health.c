/* SPDX-License-Identifier: MIT */
#include "lib/health.h"

#define FAILURE	      256u
#define BLAME_MAX     (64 * FAILURE)
#define FORGET_MS     600000 /* half of the blame */
#define PAUSE_MS      10000
#define PAUSE_MAX_MS  600000
#define WEIGHT	      8
#define FAST_MS	      50 /* round trips up to so long are alike */
#define HUNG_UP_OFTEN 2
#define AT_ONCE_MS    800

static uint32_t blame_at(const struct health *h, uint64_t now_ms)
{
	const uint64_t halves = (now_ms - h->blamed_ms) / FORGET_MS;

	return halves < 32 ? h->blame >> halves : 0;
}

static uint64_t pause_ms(const struct health *h)
{
	const uint64_t pause = (uint64_t)PAUSE_MS << h->pauses;

	return pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
}

void health_answered(struct health *h, uint32_t rtt_ms, uint64_t now_ms)
{
	(void)now_ms;
	h->answered++;
	h->trial_ms = 0;
	h->pauses = 0;
	if (rtt_ms)
		h->rtt_ms = h->rtt_ms ? (7 * h->rtt_ms + rtt_ms + 4) / 8 : rtt_ms;
}

void health_failed(struct health *h, uint64_t now_ms)
{
	h->failed++;
	h->blame = blame_at(h, now_ms) + FAILURE;
	if (h->blame > BLAME_MAX)
		h->blame = BLAME_MAX;
	h->blamed_ms = now_ms;
	/* Many questions that were on their way fail together: they are one failure. */
	if (h->trial_ms && now_ms < h->trial_ms)
		return;
	h->trial_ms = now_ms + pause_ms(h);
	if (h->pauses < 7)
		h->pauses++;
}

void health_hung_up(struct health *h, uint64_t now_ms)
{
	if (h->hung_up && now_ms - h->hung_up_ms < AT_ONCE_MS)
		return;
	h->hung_up_ms = now_ms;
	if (h->hung_up < HUNG_UP_OFTEN)
		h->hung_up++;
	h->hangs_up |= h->hung_up == HUNG_UP_OFTEN;
}

void health_stayed(struct health *h)
{
	h->hung_up = 0;
	h->hangs_up = false;
}

bool health_sick(const struct health *h)
{
	return h->trial_ms != 0;
}

void health_forgive(struct health *h, uint64_t now_ms)
{
	if (h->trial_ms > now_ms)
		h->trial_ms = now_ms;
}

/* 1 to WEIGHT, in few steps: a weight that moved with each answer would move those who ask. */
static uint32_t weight(const struct health *h, uint64_t now_ms)
{
	const uint32_t blame = blame_at(h, now_ms) / FAILURE;
	uint32_t w = WEIGHT;

	for (uint32_t rtt_ms = h->rtt_ms; rtt_ms > FAST_MS && w > 1; rtt_ms /= 2)
		w /= 2;
	for (uint32_t b = blame; b > 0 && w > 1; b /= 4)
		w /= 2;
	return w;
}

static uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

static uint32_t lot(uint32_t seed, uint32_t key, uint32_t weight)
{
	uint32_t best = 0;

	for (uint32_t i = 0; i < weight; i++) {
		const uint32_t drawn = mix(seed ^ mix(key * WEIGHT + i + 1));

		best = drawn > best ? drawn : best;
	}
	return best;
}

/* What hangs up comes after what does not, what is sick after both. */
static unsigned rank(const struct health *h)
{
	return health_sick(h) ? 0 : h->hangs_up ? 1 : 2;
}

size_t health_choose(struct health *list, size_t count, uint32_t seed, bool trial, uint64_t now_ms)
{
	unsigned best_rank = 0;
	uint32_t best_lot = 0;
	size_t best = 0;

	for (size_t i = 0; i < count; i++) {
		const unsigned r = rank(&list[i]);
		const uint32_t drawn = lot(seed, list[i].key, weight(&list[i], now_ms));

		if (trial && r == 0 && now_ms >= list[i].trial_ms) {
			list[i].trial_ms = now_ms + pause_ms(&list[i]);
			return i;
		}
		if (r < best_rank || (r == best_rank && drawn < best_lot))
			continue;
		best_rank = r;
		best_lot = drawn;
		best = i;
	}
	return best;
}

size_t health_next(const struct health *list, size_t count, size_t here)
{
	for (size_t i = 0; i < count; i++)
		if (!health_sick(&list[(here + i) % count]))
			return (here + i) % count;
	return here;
}

uint64_t health_reserve(struct health *h, uint32_t per_second, uint64_t now_ms)
{
	const uint64_t each_us = 1000000u / per_second, now_us = now_ms * 1000;
	const uint64_t credit_us = HEALTH_BURST * each_us;
	const uint64_t earliest_us = now_us > credit_us ? now_us - credit_us : 0;

	if (h->next_us < earliest_us)
		h->next_us = earliest_us;
	h->next_us += each_us;
	return h->next_us > now_us ? (h->next_us + 999) / 1000 : now_ms;
}
