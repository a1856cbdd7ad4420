/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sampling of the domain we run in: its buffers, its interrupts and when they are drained.
 * Callers serialise.
 */
#ifndef XENOPROF_OWN_H
#define XENOPROF_OWN_H

#include <linux/types.h>

struct xenoprof_totals;

/* Finds the kernel's tracepoints. Once, before all else. */
int xenoprof_own_init(void);

int xenoprof_own_arm(u32 wished_samples);

/* Drains what is left and takes no part any more, in whatever state the session is. */
void xenoprof_own_leave(void);

/* The last use. */
void xenoprof_own_exit(void);

/* 0 before the hypervisor has said. */
u32 xenoprof_own_vcpus(void);
u32 xenoprof_own_buffer_samples(void);

int xenoprof_own_totals(struct xenoprof_totals *totals);

#endif
