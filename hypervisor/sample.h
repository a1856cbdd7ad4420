/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an NMI struck: which vCPU ran, in which mode, at which PC. */
#ifndef XENOPROF_HYPERVISOR_SAMPLE_H
#define XENOPROF_HYPERVISOR_SAMPLE_H

#include "abi.h"
#include "xen.h"

/*
 * Fills in everything but counter and number. Only in the NMI handler. Never a PC of another domain
 * than the current one's.
 */
void sample_here(const struct cpu_user_regs *regs, struct xph_sample *sample);

/* Looks up what sample_here() has to know of this Xen. Once, before it is called. */
void sample_init(void);

#endif
