/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sampling of domains that do not know: the initiator maps and drains their buffers. The
 * hypervisor raises no interrupt for their samples, so a thread looks every few milliseconds.
 * Callers serialise.
 */
#ifndef XENOPROF_PASSIVE_H
#define XENOPROF_PASSIVE_H

#include <linux/types.h>

struct xenoprof_totals;

/* Lists the domain with the hypervisor and maps its buffers. */
int xenoprof_passive_add(u16 domain, u32 wished_samples);

/* After the hypervisor's enable_virq, which sets the shared indices to 0. */
int xenoprof_passive_begin(void);

/* Complete when the hypervisor has stopped before. */
void xenoprof_passive_drain(void);

/* The last drain, and no mapping stays. To be called before the hypervisor forgets its list. */
void xenoprof_passive_end(void);

/* Forgets the totals as well. */
void xenoprof_passive_clear(void);

/* -ESRCH for a domain that is not one of them. */
int xenoprof_passive_totals(struct xenoprof_totals *totals);

#endif
