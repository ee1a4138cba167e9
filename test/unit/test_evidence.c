/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test/unit/test.h"

#include "lib/evidence.h"
#include "test/sim/sim.h"

static bool tells(unsigned questions, unsigned controls, unsigned heard)
{
	return evidence_tells(questions, (struct tally){ (uint16_t)controls, (uint16_t)heard });
}

static void seven_of_each_suffice_when_nothing_is_lost(void **state)
{
	(void)state;
	assert_false(tells(4, 4, 4));
	assert_true(tells(7, 7, 7));
	assert_false(tells(7, 14, 7)); /* half is lost */
}

static void without_an_answered_control_or_a_question_it_says_nothing(void **state)
{
	(void)state;
	assert_false(tells(1000, 1000, 0));
	assert_false(tells(0, 1000, 1000));
	assert_false(tells(0, 0, 0));
	assert_false(tells(5, 2, 3)); /* cannot be */
}

/* Asked after each pair, as the machines do, until it tells or 64 were sent. */
static void looking_again_and_again_stays_rarely_wrong_and_comes_to_an_end(void **state)
{
	unsigned wrong = 0, undecided = 0;

	(void)state;
	sim_seed(7);
	for (unsigned loss = 0; loss <= 60; loss += 20) {
		for (unsigned run = 0; run < 20000; run++) {
			unsigned heard = 0, n = 0;
			bool silent = true, told = false;

			while (n < 64 && silent && !told) { /* the question is answerable, in truth */
				n++;
				silent = sim_below(100) < loss;
				heard += sim_below(100) >= loss;
				told = tells(n, n, heard) && silent;
			}
			wrong += told;
			for (n = heard = 0; n < 64 && !tells(n, n, heard); n++) /* and here it is not */
				heard += sim_below(100) >= loss;
			undecided += n == 64;
		}
	}
	assert_true(wrong <= 10); /* of 80,000 */
	assert_true(undecided <= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(seven_of_each_suffice_when_nothing_is_lost),
		T(without_an_answered_control_or_a_question_it_says_nothing),
		T(looking_again_and_again_stays_rarely_wrong_and_comes_to_an_end),
	};

	return RUN(tests);
}
