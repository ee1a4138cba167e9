/* SPDX-License-Identifier: MIT */
#include "lib/evidence.h"

#include <stddef.h>

/* A line at its best still loses a packet now and then; the worst are those that die while they are asked. */
static const struct {
	double loss, weight;
} lines[] = {
	{ .001, .30 }, { .01, .14 }, { .02, .10 }, { .05, .10 }, { .10, .08 }, { .15, .06 }, { .20, .06 },
	{ .25, .05 }, { .30, .05 }, { .40, .03 }, { .50, .02 }, { .60, .01 }, { .80, .005 }, { .95, .005 },
};

/* The hand-over between a server's addresses: inside one host, or between two. */
static const struct {
	double loss, weight;
} handovers[] = {
	{ 0, .87 }, { .1, .03 }, { .3, .02 }, { .5, .02 }, { .8, .005 }, { .95, .005 }, { 1, .05 },
};

enum { LINES = sizeof(lines) / sizeof(lines[0]), HANDOVERS = sizeof(handovers) / sizeof(handovers[0]) };

static double power(double x, unsigned n)
{
	double result = 1;

	for (; n; n >>= 1, x *= x)
		if (n & 1)
			result *= x;
	return result;
}

static double likelihood(struct tally t, double heard)
{
	return power(heard, t.heard) * power(1 - heard, (unsigned)(t.asked - t.heard));
}

/* The average of a quantity over all that line and hand-over may be. */
static double average(const struct evidence *e, double (*of)(double heard, double changed, unsigned n), unsigned n)
{
	double sum = 0, all = 0;

	for (size_t i = 0; i < LINES; i++) {
		const double heard = (1 - lines[i].loss) * (1 - lines[i].loss);
		const double plain = lines[i].weight * likelihood(e->plain, heard);

		for (size_t j = 0; j < HANDOVERS; j++) {
			const double changed = heard * (1 - handovers[j].loss);
			const double weight = plain * handovers[j].weight * likelihood(e->witness, changed);

			if (e->trusted && changed < heard / 4)
				continue;
			all += weight;
			sum += weight * of(heard, changed, n);
		}
	}
	return all > 0 ? sum / all : 1;
}

static double all_plain_lost(double heard, double changed, unsigned n)
{
	(void)changed;
	return power(1 - heard, n);
}

static double all_changed_lost(double heard, double changed, unsigned n)
{
	(void)heard;
	return power(1 - changed, n);
}

static double never_changed(double heard, double changed, unsigned n)
{
	(void)n;
	return changed < heard / 10;
}

double evidence_fluke_plain(const struct evidence *e, unsigned n)
{
	return average(e, all_plain_lost, n);
}

double evidence_fluke_changed(const struct evidence *e, unsigned n)
{
	return average(e, all_changed_lost, n);
}

bool evidence_tells(unsigned n, struct tally control)
{
	const struct evidence e = { .plain = control };

	return control.heard > 0 && control.heard <= control.asked && evidence_fluke_plain(&e, n) < 1e-4;
}

double evidence_no_change(const struct evidence *e)
{
	return average(e, never_changed, 0);
}

/* One line in forty is slower than a second, one in 5,000 than five. */
double evidence_slower(uint32_t than_ms)
{
	const double x = 300.0 / than_ms;

	return than_ms <= 300 ? 1 : x * x * x;
}
