/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processors' counters: which model this is, and how its registers are written. */
#ifndef XENOPROF_HYPERVISOR_COUNTERS_H
#define XENOPROF_HYPERVISOR_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"

struct counter_model {
	const char *name;
	char vendor[12]; /* CPUID leaf 0: EBX, EDX, ECX; no 0 at its end */
	uint32_t first_family, last_family;
	uint32_t num;
	uint32_t bits; /* counts up; the highest bit is 0 after an overflow */
	uint32_t select, counter, stride; /* registers of counter i: select + i * stride ... */
	uint64_t enabled; /* of a select register: somebody uses the counter */
	/* False: the model has no such event or mask. */
	bool (*encode)(const struct xph_counter *counter, uint64_t *select);
};

/* NULL: none that we know. */
const struct counter_model *counter_model_here(uint32_t *family);

static inline uint64_t counter_mask(const struct counter_model *model)
{
	return (1ull << model->bits) - 1;
}

/* Whether a counter that was set below 0 has come to it. */
static inline bool counter_overflowed(const struct counter_model *model, uint64_t value)
{
	return !(value >> (model->bits - 1) & 1);
}

#endif
