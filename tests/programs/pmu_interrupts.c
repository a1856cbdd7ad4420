// SPDX-License-Identifier: GPL-2.0-or-later
// Has a timer interrupt its CPU many times and prints how many interrupts the kernel saw there
// between two looks, and how many the PMU counted between the same looks, without and with the time
// that they took: the kernel's number must lie between.
//
//   pmu_interrupts TIMES
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum { kInterruptsTaken = 0xcf };

static volatile long left;

static void on_alarm(int signal)
{
	(void)signal;
	--left;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

// Of CPU 0: the first column of each line but that of the kernel's looks for machine checks, which
// are none.
static uint64_t seen_by_kernel(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char line[512], name[32];
	unsigned long long times;
	uint64_t sum = 0;

	if (!file)
		die("/proc/interrupts");
	while (fgets(line, sizeof line, file))
		if (sscanf(line, " %31[^:]: %llu", name, &times) == 2 && strcmp(name, "MCP") != 0)
			sum += times;
	fclose(file);
	return sum;
}

static uint64_t counted(int event)
{
	uint64_t value;

	if (read(event, &value, sizeof value) != sizeof value)
		die("reading the counter");
	return value;
}

int main(int argc, char **argv)
{
	struct perf_event_attr attributes = {
		.size = sizeof attributes,
		.type = PERF_TYPE_RAW,
		.config = kInterruptsTaken,
		.pinned = 1,
	};
	const struct itimerval often = { { 0, 200 }, { 0, 200 } };
	cpu_set_t first;

	if (argc != 2)
		return 2;
	left = atol(argv[1]);
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof first, &first))
		die("sched_setaffinity");
	int event = (int)syscall(SYS_perf_event_open, &attributes, -1, 0, -1, 0);

	if (event < 0)
		die("perf_event_open");
	uint64_t outer = counted(event), seen = seen_by_kernel(), inner = counted(event);

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	while (left > 0)
		;
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	inner = counted(event) - inner;
	seen = seen_by_kernel() - seen;
	outer = counted(event) - outer;
	printf("%llu %llu %llu\n", (unsigned long long)seen, (unsigned long long)inner,
	       (unsigned long long)outer);
	return 0;
}
