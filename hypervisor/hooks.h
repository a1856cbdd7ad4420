/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XENOPROF_HYPERVISOR_HOOKS_H
#define XENOPROF_HYPERVISOR_HOOKS_H

struct payload;

/* Called by Xen, with its lock on live patches: before it applies this one; 0 or why not. */
int xenoprof_preapply(struct payload *payload);
/* Before it reverts it: ends the session. */
int xenoprof_prerevert(struct payload *payload);
/* In the place of its own reverting, while all CPUs wait. */
int xenoprof_revert(struct payload *payload);

#endif
