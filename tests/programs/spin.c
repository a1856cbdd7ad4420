/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spin AMOUNT [FILE [TURN]]: executes AMOUNT million instructions in spin_loop(), once FILE is
 * there, and lets others run after each TURN instructions or so: turns of one length would keep
 * step with a clock that takes samples.
 * With "mt" after AMOUNT it spends so many million ticks of the time stamp counter there, as it
 * finds itself: a kernel counts also what a hypervisor takes away.
 */
#include <stdbool.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

__attribute__((noinline)) void spin_loop(uint64_t iterations)
{
	/* Two instructions a turn. */
	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(iterations) : : "cc");
}

/* Ticks spent on `instructions`: where something long came between, as many as at other times. */
static uint64_t timed(uint64_t instructions)
{
	static double quickest, usual; /* an instruction's */
	uint64_t began = __rdtsc();
	spin_loop(instructions / 2);
	double each = (double)(__rdtsc() - began) / instructions;

	if (quickest == 0 || each < quickest)
		quickest = each;
	if (each < 3 * quickest)
		usual += (each - usual) / 16;
	else
		each = usual;
	return each * instructions;
}

int main(int argc, char **argv)
{
	char *unit = "";
	uint64_t left = (argc > 1 ? strtoull(argv[1], &unit, 10) : 1) * 1000000;
	uint64_t turn = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	bool by_time = strcmp(unit, "mt") == 0;
	unsigned int seed = getpid();

	while (argc > 2 && access(argv[2], F_OK) != 0)
		usleep(20000);
	while (left != 0) {
		uint64_t instructions = turn != 0 ? turn / 2 + rand_r(&seed) % turn : left;
		/* What spin_loop() executes. */
		instructions = instructions < 2 ? 2 : instructions & ~1ull;
		if (!by_time && instructions > left)
			instructions = left;
		uint64_t spent = timed(instructions);
		if (!by_time)
			spent = instructions;
		left -= spent < left ? spent : left;
		if (turn != 0)
			sched_yield();
	}
	return 0;
}
