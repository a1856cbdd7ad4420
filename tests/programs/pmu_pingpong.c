// SPDX-License-Identifier: GPL-2.0-or-later
// Two processes that hand one byte to and fro over two pipes.
//
//   pmu_pingpong ROUND-TRIPS CPU [OTHER-CPU]
//
// On one CPU each hand-over is a switch of address spaces; on two it is an interrupt.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void pin(const char *cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(atoi(cpu), &set);
	if (sched_setaffinity(0, sizeof set, &set)) {
		perror("sched_setaffinity");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int there[2], back[2], status;
	char byte = 0;

	if (argc < 3 || pipe(there) || pipe(back)) {
		fprintf(stderr, "usage: pmu_pingpong ROUND-TRIPS CPU [OTHER-CPU]\n");
		return 2;
	}
	long rounds = atol(argv[1]);

	pin(argv[2]);
	pid_t other = fork();

	if (other == 0) {
		pin(argv[argc - 1]);
		for (long i = 0; i < rounds; ++i)
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (long i = 0; i < rounds; ++i)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			return 1;
	waitpid(other, &status, 0);
	return status != 0;
}
