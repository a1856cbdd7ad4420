// SPDX-License-Identifier: GPL-2.0-or-later
// Linked as a kernel is: to an address in the upper half. Nobody runs it.

volatile int ticks;

static inline __attribute__((always_inline)) void account(int amount)
{
	ticks = ticks + amount;
}

__attribute__((noinline)) void update_time(int amount)
{
	for (int i = 0; i < amount; i++)
		account(i);
}

__attribute__((noinline)) void update_load(int amount)
{
	account(amount * amount);
}

void _start(void)
{
	update_time(ticks);
	update_load(ticks);
}
