/* SPDX-License-Identifier: MIT */
#include "lib/silence.h"

bool silence_tells(unsigned questions, unsigned controls, unsigned controls_answered)
{
	double chance = 1;

	if (questions == 0 || controls_answered > controls)
		return false;
	for (unsigned i = 0; i < controls_answered; i++)
		chance *= (double)(controls - i) / ((double)questions + controls - i);
	return chance < 1e-4;
}
