/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compute [ROUNDS]: computes, in two functions of known names; as many instructions in each round.
 * Without ROUNDS until it is killed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE 64

static double a[SIZE][SIZE], b[SIZE][SIZE], product[SIZE][SIZE];

__attribute__((noinline)) void multiply_matrices(void)
{
	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			double sum = 0;

			for (int k = 0; k < SIZE; k++)
				sum += a[i][k] * b[k][j];
			product[i][j] = sum;
		}
}

__attribute__((noinline)) uint64_t hash_product(uint64_t hash)
{
	const unsigned char *bytes = (const unsigned char *)product;

	for (size_t i = 0; i < sizeof(product); i++)
		hash = (hash ^ bytes[i]) * 1099511628211u;
	return hash;
}

int main(int argc, char **argv)
{
	const long rounds = argc > 1 ? atol(argv[1]) : 0;
	volatile uint64_t hash = 14695981039346656037u;

	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			a[i][j] = i + j;
			b[i][j] = i - j;
		}
	for (long round = 0; rounds == 0 || round < rounds; round++) {
		multiply_matrices();
		hash = hash_product(hash);
	}
	printf("%ld rounds computed\n", rounds);
	return 0;
}
