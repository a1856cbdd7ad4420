// SPDX-License-Identifier: GPL-2.0-or-later
// A program that misses in its caches, data and code, as programs do: matrices that do not fit, a
// sort, a table looked up at random, and calls all over more code than a cache holds. It calls
// nothing of the C library while it works, because that chooses other code on another processor,
// and makes no system calls.
#include <stdint.h>
#include <stdio.h>

#define SIDE 180
#define WORDS (1u << 16)
#define ENTRIES (1u << 15)

static uint64_t state = 88172645463325252u;
static uint32_t a[SIDE][SIDE], b[SIDE][SIDE], product[SIDE][SIDE];
static uint32_t words[WORDS];
static uint64_t table[ENTRIES];

// Marsaglia's xorshift, 64 bits.
static inline uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void multiply(void)
{
	for (int i = 0; i < SIDE; ++i)
		for (int j = 0; j < SIDE; ++j)
			a[i][j] = b[j][i] = (uint32_t)(i * j);
	for (int i = 0; i < SIDE; ++i)
		for (int j = 0; j < SIDE; ++j) {
			uint32_t sum = 0;

			for (int k = 0; k < SIDE; ++k)
				sum += a[i][k] * b[k][j];
			product[i][j] = sum;
		}
}

// Shell's, with the gaps halved.
static void sort(void)
{
	for (uint32_t i = 0; i < WORDS; ++i)
		words[i] = (uint32_t)next_random();
	for (uint32_t gap = WORDS / 2; gap; gap /= 2)
		for (uint32_t i = gap; i < WORDS; ++i) {
			uint32_t word = words[i], j = i;

			for (; j >= gap && words[j - gap] > word; j -= gap)
				words[j] = words[j - gap];
			words[j] = word;
		}
}

static void look_up(void)
{
	for (int i = 0; i < 1000000; ++i)
		table[next_random() % ENTRIES] += (uint64_t)i;
}

// 1024 functions of some 200 bytes each.
#define BODY(n)                                                                                    \
	static __attribute__((noinline, aligned(64))) uint64_t f##n(uint64_t x)                    \
	{                                                                                          \
		__asm__ volatile(".rept 20\n"                                                      \
				 "lea 3(%0,%0,2), %0\n"                                            \
				 "xor $0x5bd1e995, %0\n"                                           \
				 ".endr\n"                                                         \
				 : "+r"(x)                                                         \
				 :                                                                 \
				 : "cc");                                                          \
		return x + n;                                                                      \
	}
#define NAME(n) f##n,
#define FOUR(X, n) X(n##0) X(n##1) X(n##2) X(n##3)
#define SIXTEEN(X, n) FOUR(X, n##0) FOUR(X, n##1) FOUR(X, n##2) FOUR(X, n##3)
#define SIXTY_FOUR(X, n) SIXTEEN(X, n##0) SIXTEEN(X, n##1) SIXTEEN(X, n##2) SIXTEEN(X, n##3)
#define MANY(X, n) SIXTY_FOUR(X, n##0) SIXTY_FOUR(X, n##1) SIXTY_FOUR(X, n##2) SIXTY_FOUR(X, n##3)
#define ALL(X) MANY(X, 1) MANY(X, 2) MANY(X, 3) MANY(X, 4)

ALL(BODY)
static uint64_t (*const functions[])(uint64_t) = { ALL(NAME) };

static uint64_t call_about(void)
{
	const uint64_t count = sizeof functions / sizeof functions[0];
	uint64_t x = 1;

	for (int i = 0; i < 200000; ++i)
		x = functions[next_random() % count](x);
	return x;
}

int main(void)
{
	multiply();
	sort();
	look_up();
	uint64_t sum = call_about() + words[WORDS / 2] + table[1] + product[SIDE - 1][SIDE - 1];

	printf("%016llx\n", (unsigned long long)sum);
	return 0;
}
