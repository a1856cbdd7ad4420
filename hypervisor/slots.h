/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The domains that take part, and their rings.
 *
 * Who may touch a slot:
 * - the holder of the session's lock (session.h) fills and empties slots, and only while no CPU
 * samples; in doing so it also holds the slot's own lock;
 * - a domain in a call of its own holds the slot's lock, and no other one. It only ever tries the
 *   lock, so its vCPUs delay nobody; and a slot that is to be emptied takes no new callers, so the
 *   session's holder waits for one bounded call at most;
 * - the NMI handler reads owner, state and rings, which do not change while it can run.
 *
 * No reference to a domain is held between calls. A slot remembers the number, the address, which
 * is only compared, and when its vCPU 0 was created: that tells a domain from a later one of the
 * same number, which a toolstack may well put at the same address.
 */
#ifndef XENOPROF_HYPERVISOR_SLOTS_H
#define XENOPROF_HYPERVISOR_SLOTS_H

#include "abi.h"
#include "ring.h"
#include "xen.h"

enum slot_state {
	SLOT_FREE,
	SLOT_LISTED, /* active, has not armed */
	SLOT_ARMED,
	SLOT_LEFT, /* has armed once, and disarmed */
	SLOT_PASSIVE,
};

struct slot {
	struct domain *owner; /* never followed */
	uint64_t created;
	uint16_t id;
	uint8_t state; /* enum slot_state */
	uint8_t gone; /* the domain has been destroyed */
	uint8_t notify;
	uint8_t locked;
	uint8_t closing;
	uint32_t num_rings;
	struct ring **ring; /* by vCPU number */
};

extern struct slot slots[XPH_MAX_DOMAINS];
extern uint32_t num_slots; /* under the session's lock; the first so many of slots[] are taken */

/* When the domain's vCPU 0 was created, in ns since boot; 0: it cannot be told now. */
uint64_t domain_created(const struct domain *domain);

/* Whether the slot's domain is this one, and still the same. */
bool slot_is_of(const struct slot *slot, const struct domain *domain);

/* The following under the session's lock. */

/* Takes the next slot. @passive or active; an active domain's hypervisor samples get parts unless
 * @sees_all. */
long slot_open(uint16_t id, bool passive, bool sees_all, uint32_t buffer_samples);
void slots_close(void);
struct slot *slot_by_number(uint16_t id);

/* For a call of the domain itself. NULL: it takes no part (*error says so) or another vCPU is in
 * it. */
struct slot *slot_enter(const struct domain *domain, long *error);
void slot_leave(struct slot *slot);

/* Everything counted and stored is forgotten. No CPU samples. */
void slot_reset(struct slot *slot);

/* In the NMI handler. NULL: the domain takes no part, or has no such vCPU. */
struct ring *slot_find_ring(const struct domain *domain, uint32_t vcpu, const struct slot **slot);

/*
 * At most @most of what waits goes to the caller's memory; how many, or an error if none could be
 * written. The caller is the one consumer.
 */
long ring_read_samples(struct ring *ring, uint64_t to, uint32_t most, bool sees_all);
long ring_read_parts(struct ring *ring, uint64_t to, uint32_t most);

#endif
