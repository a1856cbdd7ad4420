// SPDX-License-Identifier: GPL-2.0-or-later
// Reads a counter with RDPMC around a known number of instructions: the difference must be that
// number, and the flags must survive the reads. Says what is wrong and exits 1, or exits 0.
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// From the first RDPMC, itself included, up to the second: it, STC's witness SETC, two MOVs to keep
// the value, 100 NOPs and the MOV of the counter's number.
enum { kInstructionsBetween = 105, kRounds = 1000 };

int main(void)
{
	struct perf_event_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.size = sizeof attributes;
	attributes.type = PERF_TYPE_HARDWARE;
	attributes.config = PERF_COUNT_HW_INSTRUCTIONS;
	attributes.exclude_kernel = 1;
	const int event = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
	if (event < 0) {
		perror("perf_event_open");
		return 1;
	}
	const volatile struct perf_event_mmap_page *page =
		mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, event, 0);
	if (page == MAP_FAILED || !page->cap_user_rdpmc || page->index == 0) {
		puts("user space may not read the counter");
		return 1;
	}
	int exact = 0;
	for (int round = 0; round < kRounds; ++round) {
		const uint32_t counter = page->index - 1;
		uint32_t low_before, high_before, low_after, high_after;
		uint8_t carry;
		__asm__ volatile("stc\n\t"
				 "rdpmc\n\t"
				 "setc %[carry]\n\t"
				 "mov %%eax, %[low_before]\n\t"
				 "mov %%edx, %[high_before]\n\t"
				 ".rept 100\n\t"
				 "nop\n\t"
				 ".endr\n\t"
				 "mov %[counter], %%ecx\n\t"
				 "rdpmc\n\t"
				 "mov %%eax, %[low_after]\n\t"
				 "mov %%edx, %[high_after]"
				 : [carry] "=&r"(carry), [low_before] "=&r"(low_before),
				   [high_before] "=&r"(high_before), [low_after] "=&r"(low_after),
				   [high_after] "=&r"(high_after)
				 : [counter] "r"(counter), "c"(counter)
				 : "eax", "edx", "cc");
		const int64_t difference = (int64_t)(((uint64_t)high_after << 32 | low_after) -
						     ((uint64_t)high_before << 32 | low_before));
		if (carry != 1) {
			puts("reading the counter lost the carry flag");
			return 1;
		}
		exact += difference == kInstructionsBetween;
	}
	// Now and then the kernel puts another program on the CPU, and its own value into the
	// counter.
	if (exact < kRounds * 9 / 10) {
		printf("%d of %d reads were exact\n", exact, kRounds);
		return 1;
	}
	return 0;
}
