/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the demo's second guest does: computes, in two functions of known names. */
#include <stdint.h>
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

int main(void)
{
	volatile uint64_t hash = 14695981039346656037u;

	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			a[i][j] = i + j;
			b[i][j] = i - j;
		}
	for (;;) {
		multiply_matrices();
		hash = hash_product(hash);
	}
}
