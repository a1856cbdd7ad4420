// SPDX-License-Identifier: GPL-2.0-or-later
#include "counters.h"
#include "machine.h"

/* AMD64 Architecture Programmer's Manual, volume 2, 13.2.3: PerfEvtSel. */
static bool encode_amd(const struct xph_counter *counter, uint64_t *select)
{
	if (counter->event > 0xfff || counter->unit_mask > 0xff)
		return false;
	*select = (counter->event & 0xff) | (uint64_t)(counter->event >> 8) << 32 |
		  counter->unit_mask << 8 | 1u << 20 /* interrupt */ | 1u << 22 /* enable */;
	if (counter->flags & XPH_COUNT_USER)
		*select |= 1u << 16;
	if (counter->flags & XPH_COUNT_KERNEL)
		*select |= 1u << 17;
	return true;
}

/*
 * Models that are to join: AMD family 17h and later (six, at C001_0200h, stride 2), and Intel's
 * architectural counters, which also need their global control and status registers written, and
 * a VMX guest's PC and privilege level read from the VMCS: sample.c takes every HVM guest for one
 * of SVM.
 */
static const struct counter_model models[] = {
	{
		.name = "amd",
		.vendor = { 'A', 'u', 't', 'h', 'e', 'n', 't', 'i', 'c', 'A', 'M', 'D' },
		.first_family = 0x10,
		.last_family = 0x16,
		.num = 4,
		.bits = 48,
		.select = 0xc0010000,
		.counter = 0xc0010004,
		.stride = 1,
		.enabled = 1u << 22,
		.encode = encode_amd,
	},
};

const struct counter_model *counter_model_here(uint32_t *family)
{
	uint32_t vendor[4], signature[4], i, j;

	machine_cpuid(0, vendor);
	machine_cpuid(1, signature);
	*family = signature[0] >> 8 & 0xf;
	if (*family == 0xf)
		*family += signature[0] >> 20 & 0xff;
	for (i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		const struct counter_model *model = &models[i];
		bool same = *family >= model->first_family && *family <= model->last_family;

		for (j = 0; j < 12; j++) {
			static const uint8_t order[3] = { 1, 3, 2 };

			same = same && (uint8_t)model->vendor[j] ==
					       (uint8_t)(vendor[order[j / 4]] >> j % 4 * 8);
		}
		if (same)
			return model;
	}
	return (void *)0;
}
