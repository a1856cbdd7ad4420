/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spin MILLIONS: executes that many million instructions in spin_loop(). */
#include <stdint.h>
#include <stdlib.h>

__attribute__((noinline)) void spin_loop(uint64_t iterations)
{
	/* Two instructions a turn. */
	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(iterations) : : "cc");
}

int main(int argc, char **argv)
{
	uint64_t millions = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;

	if (millions > 0)
		spin_loop(millions * 500000);
	return 0;
}
