// SPDX-License-Identifier: GPL-2.0-or-later
// Loops whose cache misses, TLB misses and mispredicted branches can be computed.
//
//   pmu_oracle CASE N ROUNDS [EVENT...]
//
// Goes round once, then ROUNDS times more; what the rounds cost is the count of a run less that of
// a run with 0 rounds. With up to 3 raw events (hexadecimal) it counts them itself, in user mode,
// with RDPMC around 1 + ROUNDS rounds and around one, and prints the difference. The fourth counter
// counts interrupts, whose code and data would take part: it tries until none has come, and until
// two trials agree. All loops touch nothing but what they are about: no stack, no data.
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE 64ul
#define PAGE 4096ul
#define LARGE (2ul << 20)
#define EVENTS 3
#define INTERRUPTS 0xcf
#define TRIALS 5000

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *memory(size_t bytes, int protection, int flags)
{
	char *at =
		mmap(NULL, bytes + LARGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	at = (char *)(((uintptr_t)at + LARGE - 1) & ~(LARGE - 1));
	if (!(flags & MAP_HUGETLB))
		madvise(at, bytes, MADV_NOHUGEPAGE);
	return at;
}

// What the rounds of the case go round in.
static void *start;
static uint64_t size;

// Three instructions a step: one access, one branch.
static inline __attribute__((always_inline)) void chase(uint64_t steps)
{
	void *at = start;

	if (!steps)
		return;
	__asm__ volatile(".p2align 6\n"
			 "1: mov (%0), %0\n"
			 "dec %1\n"
			 "jnz 1b\n"
			 : "+r"(at), "+r"(steps)
			 :
			 : "memory", "cc");
}

static void data_rounds(uint64_t rounds)
{
	chase(size * rounds);
}

// `size` words, one every `stride` bytes, each in another line of its stride when `scatter`;
// chained.
static void make_data(size_t stride, int scatter, int flags)
{
	start = memory(size * stride, PROT_READ | PROT_WRITE, flags);
	for (size_t i = 0; i < size; ++i) {
		size_t next = (i + 1) % size;
		char *from = (char *)start + i * stride + (scatter ? i * LINE % stride : 0);
		char *to = (char *)start + next * stride + (scatter ? next * LINE % stride : 0);

		*(char **)from = to;
	}
}

static void code_rounds(uint64_t rounds)
{
	if (rounds)
		__asm__ volatile("call *%1" : "+c"(rounds) : "r"(start) : "memory", "cc");
}

// `size` jumps, one every `stride` bytes, each in another line of its stride when `scatter`; the
// last counts the rounds down in %rcx (dec, jz, jmp) and returns.
static void make_code(size_t stride, int scatter, int flags)
{
	unsigned char *end = NULL;

	start = memory(size * stride, PROT_READ | PROT_WRITE | PROT_EXEC, flags);
	for (size_t i = 0; i < size; ++i) {
		size_t next = (i + 1) % size;
		unsigned char *from =
			(unsigned char *)start + i * stride + (scatter ? i * LINE % stride : 0);
		unsigned char *to = (unsigned char *)start + next * stride +
				    (scatter ? next * LINE % stride : 0);

		if (next == 0) {
			memcpy(from, "\x48\xff\xc9\x74\x05", 5); // dec %rcx; jz over the jump
			from += 5;
			end = from + 5;
		}
		int32_t offset = (int32_t)(to - (from + 5));

		from[0] = 0xe9;
		memcpy(from + 1, &offset, 4);
	}
	if (end)
		*end = 0xc3;
}

// Two functions that chase the same words nine to one, to be told apart by a sampler.
__attribute__((noinline)) void nine_of_ten(void)
{
	chase(size * 9);
}

__attribute__((noinline)) void one_of_ten(void)
{
	chase(size);
}

static void nine_to_one(uint64_t rounds)
{
	for (; rounds; --rounds) {
		nine_of_ten();
		one_of_ten();
	}
}

// An inner loop of `size`: its branch is predicted but for the last time.
static void inner_loop(uint64_t rounds)
{
	uint64_t left;

	if (rounds)
		__asm__ volatile(".p2align 6\n"
				 "1: mov %2, %0\n"
				 "2: dec %0\n"
				 "jnz 2b\n"
				 "dec %1\n"
				 "jnz 1b\n"
				 : "=&r"(left), "+r"(rounds)
				 : "r"(size)
				 : "cc");
}

// Calls `size` deep, and back.
static void deep_calls(uint64_t rounds)
{
	if (rounds)
		__asm__ volatile("jmp 3f\n"
				 "1: dec %%rax\n"
				 "jz 2f\n"
				 "call 1b\n"
				 "2: ret\n"
				 "3: mov %1, %%rax\n"
				 "call 1b\n"
				 "dec %0\n"
				 "jnz 3b\n"
				 : "+r"(rounds)
				 : "r"(size)
				 : "rax", "cc", "memory");
}

// One indirect jump that goes to one place and to the other in turn: two jumps a round.
static void indirect(uint64_t rounds)
{
	if (rounds)
		__asm__ volatile("lea 1f(%%rip), %%rax\n"
				 "lea 2f(%%rip), %%rdx\n"
				 "shl $1, %0\n"
				 "3: jmp *%%rax\n"
				 "1: nop\n"
				 "2: xchg %%rax, %%rdx\n"
				 "dec %0\n"
				 "jnz 3b\n"
				 : "+r"(rounds)
				 :
				 : "rax", "rdx", "cc");
}

static void (*make(const char *name))(uint64_t rounds)
{
	size_t stride;

	if (!strcmp(name, "inner-loop"))
		return inner_loop;
	if (!strcmp(name, "deep-calls"))
		return deep_calls;
	if (!strcmp(name, "indirect"))
		return indirect;

	if (!strcmp(name, "pages") || !strcmp(name, "nine-to-one"))
		make_data(PAGE, 1, 0);
	else if (!strcmp(name, "large-pages"))
		make_data(LARGE, 1, MAP_HUGETLB);
	else if (sscanf(name, "large-pages-every-%zu-MiB", &stride) == 1)
		make_data(stride << 20, 1, MAP_HUGETLB | MAP_NORESERVE);
	else if (!strcmp(name, "lines"))
		make_data(LINE, 0, 0);
	else if (!strcmp(name, "lines-in-large-pages"))
		make_data(LINE, 0, MAP_HUGETLB);
	else if (sscanf(name, "stride-%zu", &stride) == 1)
		make_data(stride, 0, 0);
	else {
		if (!strcmp(name, "code-pages"))
			make_code(PAGE, 1, 0);
		else if (!strcmp(name, "code-large-pages"))
			make_code(LARGE, 1, MAP_HUGETLB);
		else if (!strcmp(name, "code-lines"))
			make_code(LINE, 0, 0);
		else if (!strcmp(name, "code-lines-in-large-pages"))
			make_code(LINE, 0, MAP_HUGETLB);
		else
			return NULL;
		return code_rounds;
	}
	return strcmp(name, "nine-to-one") ? data_rounds : nine_to_one;
}

static volatile struct perf_event_mmap_page *open_event(uint64_t code)
{
	struct perf_event_attr attributes = {
		.size = sizeof attributes,
		.type = PERF_TYPE_RAW,
		.config = code,
		.exclude_kernel = 1,
		.pinned = 1,
	};
	int event = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
	void *page;

	if (event < 0)
		die("perf_event_open");
	page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, event, 0);
	if (page == MAP_FAILED)
		die("mmap of the event");
	return page;
}

// A counter's 48 bits. Several are read one after the other; what that costs is in the runs of one
// round too.
static uint64_t read_counter(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(index) : "memory");
	return (uint64_t)high << 32 | low;
}

static int count(void (*go)(uint64_t rounds), uint64_t rounds, char **codes, int events)
{
	volatile struct perf_event_mmap_page *page[EVENTS + 1];
	const uint64_t times[] = { 1, 1, 1 + rounds }; // the first time to warm up
	uint64_t before[3][EVENTS + 1], after[3][EVENTS + 1];
	int64_t more[EVENTS], more_before[EVENTS];
	int undisturbed = 0;

	for (int i = 0; i <= events; ++i) {
		page[i] = open_event(i < events ? strtoull(codes[i], NULL, 16) : INTERRUPTS);
		if (!page[i]->cap_user_rdpmc || !page[i]->index) {
			fprintf(stderr, "no counter to read for event %s\n",
				i < events ? codes[i] : "of interrupts");
			return 1;
		}
	}
	for (int trial = 0; trial < TRIALS; ++trial) {
		for (int run = 0; run < 3; ++run) {
			for (int i = 0; i <= events; ++i)
				before[run][i] = read_counter(page[i]->index - 1);
			go(times[run]);
			for (int i = 0; i <= events; ++i)
				after[run][i] = read_counter(page[i]->index - 1);
		}
		// The first trial has code and data of its own to load. Two that agree are free of
		// what comes once, like an exception.
		if (trial > 0 && after[2][events] == before[0][events]) {
			for (int i = 0; i < events; ++i) {
				uint64_t one = after[1][i] - before[1][i],
					 all = after[2][i] - before[2][i];

				more[i] = (int64_t)((all - one) << 16) >> 16;
			}
			if (undisturbed && !memcmp(more, more_before, events * sizeof(*more)))
				break;
			memcpy(more_before, more, sizeof(more));
			undisturbed = 1;
		}
		if (trial + 1 == TRIALS) {
			fprintf(stderr, "no two of %d trials without an interrupt agree\n", TRIALS);
			return 1;
		}
	}
	for (int i = 0; i < events; ++i)
		printf("%s %lld\n", codes[i], (long long)more[i]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 4 || argc > 4 + EVENTS) {
		fprintf(stderr, "usage: pmu_oracle CASE N ROUNDS [EVENT...]\n");
		return 2;
	}
	uint64_t rounds = strtoull(argv[3], NULL, 0);
	void (*go)(uint64_t rounds);

	size = strtoul(argv[2], NULL, 0);
	go = make(argv[1]);
	if (!go)
		return 2;
	go(1);
	if (argc > 4)
		return count(go, rounds, argv + 4, argc - 4);
	go(rounds);
	return 0;
}
