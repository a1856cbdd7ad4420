/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What has to be looked at now and then while the session runs, by a timer of Xen's: which domain
 * has something to read, which is gone, whether the initiator is alive, whether every CPU still
 * samples. None of that can be done in the NMI handler.
 */
#ifndef XENOPROF_HYPERVISOR_TICK_H
#define XENOPROF_HYPERVISOR_TICK_H

#include <stdbool.h>

/* Both with the session's lock held. -ENOMEM. */
long tick_begin(void);
/* Afterwards the timer does not run, anywhere. */
void tick_end(void);

/* The session's side, in session.c: false where it is busy, or does not run (any more). */
bool session_tick_enter(void);
void session_tick_leave(void);
bool session_tick_runs(void);

#endif
