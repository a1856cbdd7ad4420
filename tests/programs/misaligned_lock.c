// SPDX-License-Identifier: GPL-2.0-or-later
// Changes a word across two cache lines, locked, again and again for the given number of seconds.
// QEMU's emulation stops all other CPUs for each change, without an interrupt.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { kLine = 64, kPauseInMicroseconds = 100 };

int main(int count, char **given)
{
	if (count != 2) {
		fputs("usage: misaligned_lock SECONDS\n", stderr);
		return 2;
	}
	static _Alignas(kLine) char lines[2 * kLine];
	char *const across = lines + kLine - 2;
	const time_t end = time(NULL) + atoi(given[1]);
	while (time(NULL) < end) {
		__asm__ volatile("lock incl (%0)" : : "r"(across) : "memory", "cc");
		usleep(kPauseInMicroseconds);
	}
	return 0;
}
