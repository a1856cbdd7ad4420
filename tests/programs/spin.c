/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spin MILLIONS [FILE [TURN]]: executes that many million instructions in spin_loop(), once FILE is
 * there; after each TURN instructions it lets others run.
 */
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((noinline)) void spin_loop(uint64_t iterations)
{
	/* Two instructions a turn. */
	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(iterations) : : "cc");
}

int main(int argc, char **argv)
{
	uint64_t millions = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;

	while (argc > 2 && access(argv[2], F_OK) != 0)
		usleep(20000);
	uint64_t turn = argc > 3 ? strtoull(argv[3], NULL, 10) : millions * 1000000;
	for (uint64_t done = 0; done < millions * 1000000; done += turn) {
		spin_loop(turn / 2);
		if (argc > 3)
			sched_yield();
	}
	return 0;
}
