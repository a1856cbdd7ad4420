/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The samples of one vCPU: a ring with one producer and one consumer, without locks.
 *
 * The producer is the NMI handler of the pCPU on which the vCPU is current. There are never two at
 * a time: a vCPU is current on one pCPU at most, because the scheduler of another one waits until
 * the first has finished switching away from it (vcpu.is_running, cleared in context_saved() after
 * the switch), and NMIs do not nest (the handler refuses if one does). So what one pCPU wrote
 * happened before what the next one writes.
 * The consumer is whoever holds the lock of the domain's slot (see slots.h), or, of the
 * parts, of the session.
 *
 * Head and tail run freely and wrap; the producer alone writes head, the consumer alone tail.
 */
#ifndef XENOPROF_HYPERVISOR_RING_H
#define XENOPROF_HYPERVISOR_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "machine.h"

struct ring_side {
	uint32_t head;
	uint32_t tail;
};

struct ring {
	uint32_t size; /* of both arrays, a power of two */
	struct xph_sample *sample;
	struct xph_part *part; /* NULL: the reader of the samples sees all */
	struct ring_side samples;
	struct ring_side parts;
	uint32_t told; /* samples.head when the last interrupt was sent; the timer's */
	/* The producer's. */
	uint64_t number;
	uint64_t parts_lost;
	struct {
		uint64_t taken[XPH_MODES], lost, throttled, unarmed;
	} produced[XPH_MAX_COUNTERS];
	/* The consumers'. */
	uint64_t delivered[XPH_MAX_COUNTERS];
	uint64_t parts_delivered;
};

static inline uint32_t ring_waiting(const struct ring_side *side)
{
	return __atomic_load_n(&side->head, __ATOMIC_ACQUIRE) -
	       __atomic_load_n(&side->tail, __ATOMIC_ACQUIRE);
}

static inline void ring_put_part(struct ring *ring, uint64_t pc)
{
	struct xph_part *part;

	if (!ring->part)
		return;
	if (ring_waiting(&ring->parts) >= ring->size) {
		ring->parts_lost++;
		return;
	}
	part = &ring->part[ring->parts.head & (ring->size - 1)];
	part->number = ring->number;
	part->pc = pc;
	__atomic_store_n(&ring->parts.head, ring->parts.head + 1, __ATOMIC_RELEASE);
}

/* The sample's number is given here. */
static inline void ring_put(struct ring *ring, const struct xph_sample *sample)
{
	struct xph_sample *slot;

	ring->produced[sample->counter].taken[sample->mode]++;
	if (ring_waiting(&ring->samples) >= ring->size) {
		ring->produced[sample->counter].lost++;
		return;
	}
	slot = &ring->sample[ring->samples.head & (ring->size - 1)];
	*slot = *sample;
	if (sample->mode == XPH_HYPERVISOR) {
		slot->number = ++ring->number;
		ring_put_part(ring, sample->pc);
	}
	__atomic_store_n(&ring->samples.head, ring->samples.head + 1, __ATOMIC_RELEASE);
}

#endif
