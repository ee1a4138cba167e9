/* SPDX-License-Identifier: MIT */
/*
 * A counter's series mostly rises; of a random one, half the steps fall. How probable it
 * is that a random NAT's series falls so rarely is known exactly: of the n! orders of n
 * ports, A(n, k) fall k times (Eulerian numbers). A wrap is one fall, and so are two
 * neighbours that were swapped, but these do not fall when each is compared with the
 * next but one. So both are looked at, steps to the next and to the next but one; the
 * latter split a series in two independent ones. The samples of several outer addresses
 * are independent as well, and their falls add up.
 */
#include "lib/portmode.h"

#define SAMPLES_MAX 64 /* more say nothing new */

/* What a series must be like, to be called a counter's, or random. Between the two: unknown. */
static const struct {
	size_t samples; /* or more */
	double counter; /* a random one looks so at most so often */
	double random;	/* and a counter's hardly ever more often than so */
} limits[] = {
	{ 16, 1e-4, 1e-3 },
	{ 9, 1e-3, 0.05 },
	{ PORTMODE_SAMPLES_MIN, 0.01, 0.23 },
};

/* p[k]: the probability that independent random series fall k times in all. */
struct falls {
	double p[SAMPLES_MAX];
	size_t most;
};

/* The n-th port of a series falls somewhere among those before it: A(n, k) = (k + 1) A(n-1, k) + (n - k) A(n-1, k-1). */
static void falls_of_one(struct falls *f, size_t samples)
{
	*f = (struct falls){ .p = { 1 } };
	for (size_t n = 2; n <= samples; n++) {
		for (size_t k = n - 1; k > 0; k--)
			f->p[k] = ((double)(k + 1) * f->p[k] + (double)(n - k) * f->p[k - 1]) / (double)n;
		f->p[0] /= (double)n;
	}
	f->most = samples ? samples - 1 : 0;
}

/* The sum of both: their convolution. */
static void falls_add(struct falls *f, size_t samples)
{
	struct falls one, sum = { .p = { 0 } };

	falls_of_one(&one, samples);
	for (size_t i = 0; i <= f->most; i++)
		for (size_t k = 0; k <= one.most; k++)
			sum.p[i + k] += f->p[i] * one.p[k];
	sum.most = f->most + one.most;
	*f = sum;
}

/* Steps of one kind: how often they rise and fall, and how often those of random series do. */
struct steps {
	struct falls random;
	size_t ups, downs;
};

static void steps_take(struct steps *s, const uint16_t *ports, size_t count, size_t stride)
{
	for (size_t i = stride; i < count; i++) {
		if (ports[i] > ports[i - stride])
			s->ups++;
		else
			s->downs++;
	}
	for (size_t first = 0; first < stride && first < count; first++)
		falls_add(&s->random, (count - first + stride - 1) / stride);
}

/* The probability that random series fall at most so often (or rise: it is the same). */
static double chance(const struct steps *s, size_t falls)
{
	double sum = 0;

	for (size_t k = 0; k <= falls && k <= s->random.most; k++)
		sum += s->random.p[k];
	return sum;
}

/* The better of two views counts double. Few samples have one view only: to the next but one they say nothing. */
static double chance_of_counter(const struct steps next[2], bool up, bool both)
{
	const double near = chance(&next[0], up ? next[0].downs : next[0].ups);
	const double far = chance(&next[1], up ? next[1].downs : next[1].ups);

	if (!both)
		return near;
	return 2 * (near < far ? near : far);
}

static enum stunway_port_mode verdict(const struct steps next[2], size_t samples)
{
	size_t row = 0;
	double up, down;

	while (samples < limits[row].samples)
		row++;
	up = chance_of_counter(next, true, row == 0);
	down = chance_of_counter(next, false, row == 0);
	if (up <= limits[row].counter)
		return down <= limits[row].counter ? STUNWAY_PORTS_UNKNOWN : STUNWAY_PORTS_INCREMENT;
	if (down <= limits[row].counter)
		return STUNWAY_PORTS_DECREMENT;
	return up > limits[row].random && down > limits[row].random ? STUNWAY_PORTS_RANDOM : STUNWAY_PORTS_UNKNOWN;
}

static bool preserved(const struct port_sample *samples, size_t count)
{
	size_t same = 0;

	for (size_t i = 0; i < count; i++)
		same += samples[i].local_port == samples[i].outer.port;
	return count >= PORTMODE_SAMPLES_MIN && same > count / 2;
}

/* The ports of the address that sample i has, from there on. Twice the same in a row is one mapping seen twice. */
static size_t ports_of(const struct port_sample *samples, size_t count, size_t i, uint16_t ports[SAMPLES_MAX])
{
	const struct endpoint *address = &samples[i].outer;
	size_t n = 0;

	for (; i < count; i++)
		if (endpoint_same_ip(&samples[i].outer, address) && (n == 0 || ports[n - 1] != samples[i].outer.port))
			ports[n++] = samples[i].outer.port;
	return n;
}

static bool seen_before(const struct port_sample *samples, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (endpoint_same_ip(&samples[k].outer, &samples[i].outer))
			return true;
	return false;
}

enum stunway_port_mode port_mode(const struct port_sample *samples, size_t count)
{
	struct steps next[2] = { { .random = { .p = { 1 } } }, { .random = { .p = { 1 } } } };
	uint16_t ports[SAMPLES_MAX];
	size_t most = 0, all = 0;

	if (preserved(samples, count))
		return STUNWAY_PORTS_PRESERVED;
	if (count > SAMPLES_MAX)
		count = SAMPLES_MAX;
	for (size_t i = 0; i < count; i++) {
		size_t n;

		if (seen_before(samples, i))
			continue;
		n = ports_of(samples, count, i, ports);
		steps_take(&next[0], ports, n, 1);
		steps_take(&next[1], ports, n, 2);
		most = n > most ? n : most;
		all += n > 1 ? n : 0;
	}
	return most < PORTMODE_SAMPLES_MIN ? STUNWAY_PORTS_UNKNOWN : verdict(next, all);
}
