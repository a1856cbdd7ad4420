/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sampling of each pCPU: its counters, its NMIs, what it counted of nobody's. */
#ifndef XENOPROF_HYPERVISOR_CPU_H
#define XENOPROF_HYPERVISOR_CPU_H

#include "abi.h"
#include "counters.h"
#include "xen.h"

/* What is counted; set before cpus_start(), and as it is until cpus_stop() has returned. */
struct sampling {
	const struct counter_model *model;
	uint32_t num;
	uint64_t select[XPH_MAX_COUNTERS];
	uint64_t period[XPH_MAX_COUNTERS];
	uint64_t window; /* of the limit on the rate, in TSC cycles */
	uint32_t window_nmis; /* on one CPU, without lengthened periods */
};
extern struct sampling sampling;

/* Sums over all CPUs since cpus_start(). */
struct cpu_sums {
	uint64_t idle[XPH_MAX_COUNTERS][XPH_MODES], others[XPH_MAX_COUNTERS][XPH_MODES];
	uint64_t idle_throttled[XPH_MAX_COUNTERS], others_throttled[XPH_MAX_COUNTERS];
	uint64_t missed[XPH_MAX_COUNTERS];
	uint64_t foreign;
};

/* All of these in a context that takes interrupts, and one caller at a time. */

/* Programs every CPU that is online. -EBUSY, -EIO, -ENOMEM: none is. */
long cpus_start(void);
/* Sees to CPUs that came online since, slept, or lost an NMI. */
void cpus_service(void);
/* Afterwards no NMI handler of ours touches a ring. */
void cpus_stop(void);
/* The counts stay for cpus_sum() until the next start, or this. */
void cpus_free(void);
void cpus_sum(struct cpu_sums *sums);

#endif
