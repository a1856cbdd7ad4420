/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The session: who is initiator, what is counted, whether it runs.
 *
 *	FREE --CLAIM--> CLAIMED --DOMAINS--> LISTED --COUNTERS--> READY --START--> RUNNING
 *	                                                          READY <--STOP-- RUNNING
 *	FREE <--RELEASE-- any; CLAIM and DOMAINS begin anew from any but RUNNING
 *
 * The initiator's calls and the timer take the session's lock, never waiting for it. Other domains'
 * calls take the lock of their slot alone (slots.h), so none of them can keep the initiator
 *waiting.
 */
#ifndef XENOPROF_HYPERVISOR_SESSION_H
#define XENOPROF_HYPERVISOR_SESSION_H

#include "abi.h"
#include "xen.h"

enum session_state {
	SESSION_FREE,
	SESSION_CLAIMED,
	SESSION_LISTED,
	SESSION_READY,
	SESSION_STARTING, /* inside START alone */
	SESSION_RUNNING,
};

/* The initiator's, with copies of what the caller passed. */
long session_claim(struct xph_claim *claim);
long session_domains(const struct xph_domains *domains);
long session_counters(const struct xph_counters *counters);
long session_start(const struct xph_start *start);
long session_stop(uint64_t session);
long session_release(uint64_t session);
long session_read_parts(const struct xph_read *read);

/* An active domain's. */
long session_arm(void);
long session_disarm(void);
long session_notify(const struct xph_notify *notify);

/* Both's. */
long session_read(const struct xph_read *read);
long session_totals(struct xph_totals *totals);

void session_version(struct xph_version *version);

/* Ends whatever there is. -EBUSY: a call is under way; try again. */
long session_end(void);

/* Nothing of it is left anywhere: the code may go. */
bool session_is_free(void);

/* Why nothing may be counted on this machine: an XPH_REFUSED_..., or 0. */
int session_refusal(void);

#endif
