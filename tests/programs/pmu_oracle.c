// SPDX-License-Identifier: GPL-2.0-or-later
// Loops whose cache misses, TLB misses and mispredicted branches can be computed.
//
//   pmu_oracle CASE N ROUNDS
//
// What ROUNDS rounds cost is the count of a run less that of a run with 0 rounds: the latter sets
// up and goes round once. All loops touch nothing but what they are about: no stack, no data.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINE 64ul
#define PAGE 4096ul
#define LARGE (2ul << 20)

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *memory(size_t bytes, int protection, int flags)
{
	char *at = mmap(NULL, bytes + LARGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	at = (char *)(((uintptr_t)at + LARGE - 1) & ~(LARGE - 1));
	if (!(flags & MAP_HUGETLB))
		madvise(at, bytes, MADV_NOHUGEPAGE);
	return at;
}

// Three instructions a step: one access, one branch.
static void chase(void *start, uint64_t steps)
{
	if (!steps)
		return;
	__asm__ volatile(".p2align 6\n"
			 "1: mov (%0), %0\n"
			 "dec %1\n"
			 "jnz 1b\n"
			 : "+r"(start), "+r"(steps)
			 :
			 : "memory", "cc");
}

// N words, one every `stride` bytes, each in another line of its stride when `scatter`; chained.
static void data(size_t n, size_t stride, int scatter, int flags, uint64_t rounds)
{
	char *start = memory(n * stride, PROT_READ | PROT_WRITE, flags);
	char *first = start;

	for (size_t i = 0; i < n; ++i) {
		size_t next = (i + 1) % n;
		char *from = start + i * stride + (scatter ? i * LINE % stride : 0);
		char *to = start + next * stride + (scatter ? next * LINE % stride : 0);

		*(char **)from = to;
	}
	chase(first, n);
	chase(first, n * rounds);
}

// N jumps, one every `stride` bytes, each in another line of its stride when `scatter`; the last
// counts the rounds down in %rcx (dec, jz, jmp) and returns.
static void code(size_t n, size_t stride, int scatter, uint64_t rounds)
{
	unsigned char *start = memory(n * stride, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
	unsigned char *end = NULL;

	for (size_t i = 0; i < n; ++i) {
		unsigned char *from = start + i * stride + (scatter ? i * LINE % stride : 0);
		size_t next = (i + 1) % n;
		unsigned char *to = start + next * stride + (scatter ? next * LINE % stride : 0);

		if (next == 0) {
			memcpy(from, "\x48\xff\xc9\x74\x05", 5); // dec %rcx; jz over the jump
			from += 5;
			end = from + 5;
		}
		int32_t offset = (int32_t)(to - (from + 5));

		from[0] = 0xe9;
		memcpy(from + 1, &offset, 4);
	}
	*end = 0xc3;
	for (int i = 0; i < 2; ++i) {
		uint64_t times = i ? rounds : 1;

		if (times)
			__asm__ volatile("call *%1" : "+c"(times) : "r"(start) : "memory", "cc");
	}
}

// An inner loop of n: its branch is predicted but for the last time.
static void inner_loop(uint64_t n, uint64_t rounds)
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
				 : "r"(n)
				 : "cc");
}

// Calls n deep, and back.
static void deep_calls(uint64_t n, uint64_t rounds)
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
				 : "r"(n)
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

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: pmu_oracle CASE N ROUNDS\n");
		return 2;
	}
	const char *name = argv[1];
	size_t n = strtoul(argv[2], NULL, 0);
	uint64_t rounds = strtoull(argv[3], NULL, 0);

	if (!strcmp(name, "pages"))
		data(n, PAGE, 1, 0, rounds);
	else if (!strcmp(name, "large-pages"))
		data(n, LARGE, 1, MAP_HUGETLB, rounds);
	else if (!strcmp(name, "lines"))
		data(n, LINE, 0, 0, rounds);
	else if (!strcmp(name, "lines-in-large-pages"))
		data(n, LINE, 0, MAP_HUGETLB, rounds);
	else if (!strcmp(name, "code-pages"))
		code(n, PAGE, 1, rounds);
	else if (!strcmp(name, "code-lines"))
		code(n, LINE, 0, rounds);
	else if (!strcmp(name, "inner-loop"))
		inner_loop(n, rounds);
	else if (!strcmp(name, "deep-calls"))
		deep_calls(n, rounds);
	else if (!strcmp(name, "indirect"))
		indirect(rounds);
	else
		return 2;
	return 0;
}
