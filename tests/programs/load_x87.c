// SPDX-License-Identifier: GPL-2.0-or-later
// Loads the x87's status word again and again for the given number of seconds, as a switch of
// tasks does. QEMU's emulation changes the machine's first CPU for it.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { kLoadsBetweenLooks = 100000, kEnvironmentSize = 28 };

int main(int count, char **given)
{
	if (count != 2) {
		fputs("usage: load_x87 SECONDS\n", stderr);
		return 2;
	}
	char environment[kEnvironmentSize];
	__asm__ volatile("fnstenv %0" : "=m"(environment));
	const time_t end = time(NULL) + atoi(given[1]);
	while (time(NULL) < end) {
		for (int i = 0; i < kLoadsBetweenLooks; ++i)
			__asm__ volatile("fldenv %0" : : "m"(environment));
	}
	return 0;
}
