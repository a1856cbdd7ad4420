// SPDX-License-Identifier: GPL-2.0-or-later
#include "slots.h"

struct slot slots[XPH_MAX_DOMAINS];
uint32_t num_slots;

static uint64_t buffer_bytes; /* of all slots */

/*
 * A vCPU's time in each of its four states sums up to its age at its last change of state
 * (vcpu_runstate_change() in xen/common/sched/core.c, 4.17 to 4.22). Another CPU may be changing
 * it: then the two readings differ, or the difference of a torn one does.
 */
uint64_t domain_created(const struct domain *domain)
{
	const struct vcpu *vcpu = domain_vcpu(domain, 0);
	uint64_t before = 0;
	int i, j;

	if (!vcpu)
		return 0;
	for (i = 0; i < 8; i++) {
		uint64_t entry = XEN_FIELD(const uint64_t, vcpu, layout.vcpu_runstate_entry);
		uint64_t created = entry;

		machine_barrier();
		for (j = 0; j < 4; j++)
			created -=
				XEN_FIELD(const uint64_t, vcpu, layout.vcpu_runstate_time + 8 * j);
		machine_barrier();
		if (entry == XEN_FIELD(const uint64_t, vcpu, layout.vcpu_runstate_entry) && i &&
		    created == before)
			return created;
		before = created;
	}
	return 0;
}

bool slot_is_of(const struct slot *slot, const struct domain *domain)
{
	return slot->owner == domain && slot->id == domain_number(domain) &&
	       slot->created == domain_created(domain);
}

static void lock(struct slot *slot)
{
	while (__atomic_exchange_n(&slot->locked, 1, __ATOMIC_ACQUIRE))
		machine_pause();
}

static bool try_lock(struct slot *slot)
{
	return !__atomic_exchange_n(&slot->locked, 1, __ATOMIC_ACQUIRE);
}

static void unlock(struct slot *slot)
{
	__atomic_store_n(&slot->locked, 0, __ATOMIC_RELEASE);
}

static void slot_close(struct slot *slot)
{
	uint32_t i;

	__atomic_store_n(&slot->closing, 1, __ATOMIC_SEQ_CST);
	lock(slot);
	slot->owner = NULL;
	slot->state = SLOT_FREE;
	for (i = 0; slot->ring && i < slot->num_rings; i++)
		xfree(slot->ring[i]);
	xfree(slot->ring);
	slot->ring = NULL;
	slot->num_rings = 0;
	slot->created = 0;
	slot->id = 0;
	slot->gone = 0;
	slot->notify = 0;
	unlock(slot);
	__atomic_store_n(&slot->closing, 0, __ATOMIC_SEQ_CST);
}

void slots_close(void)
{
	for (; num_slots; num_slots--)
		slot_close(&slots[num_slots - 1]);
	buffer_bytes = 0;
}

/* One piece of memory: the ring, its samples, its parts. */
static struct ring *make_ring(uint32_t size, bool with_parts)
{
	uint64_t bytes = sizeof(struct ring) + (uint64_t)size * sizeof(struct xph_sample) +
			 (with_parts ? (uint64_t)size * sizeof(struct xph_part) : 0);
	struct ring *ring;

	if (bytes > XPH_MAX_MEMORY - buffer_bytes)
		return NULL;
	ring = _xzalloc(bytes, 64);
	if (!ring)
		return NULL;
	buffer_bytes += bytes;
	ring->size = size;
	ring->sample = (struct xph_sample *)(ring + 1);
	if (with_parts)
		ring->part = (struct xph_part *)(ring->sample + size);
	return ring;
}

static long fill(struct slot *slot, const struct domain *domain, bool with_parts, uint32_t size)
{
	uint32_t num = domain_vcpus(domain), i;
	uint64_t least = (uint64_t)size * sizeof(struct xph_sample);

	if (domain_is_dying(domain) || !num)
		return -XEN_ESRCH;
	if (num > XPH_MAX_VCPUS || least * num > XPH_MAX_MEMORY - buffer_bytes)
		return -XEN_E2BIG;
	slot->created = domain_created(domain);
	if (!slot->created)
		return -XEN_ESRCH;
	slot->ring = _xzalloc(num * sizeof(*slot->ring), 64);
	if (!slot->ring)
		return -XEN_ENOMEM;
	slot->num_rings = num;
	for (i = 0; i < num; i++) {
		slot->ring[i] = make_ring(size, with_parts);
		if (!slot->ring[i])
			return -XEN_ENOMEM;
	}
	return 0;
}

long slot_open(uint16_t id, bool passive, bool sees_all, uint32_t buffer_samples)
{
	struct domain *domain;
	struct slot *slot;
	long error;

	if (num_slots == XPH_MAX_DOMAINS)
		return -XEN_E2BIG;
	domain = get_domain_by_id(id);
	if (!domain)
		return -XEN_ESRCH;
	slot = &slots[num_slots++];
	lock(slot);
	error = fill(slot, domain, !passive && !sees_all, buffer_samples);
	if (!error) {
		slot->id = id;
		slot->owner = domain;
		slot->state = passive ? SLOT_PASSIVE : SLOT_LISTED;
	}
	unlock(slot);
	domain_put(domain);
	return error;
}

struct slot *slot_by_number(uint16_t id)
{
	uint32_t i;

	for (i = 0; i < num_slots; i++)
		if (slots[i].state != SLOT_FREE && slots[i].id == id)
			return &slots[i];
	return NULL;
}

struct slot *slot_enter(const struct domain *domain, long *error)
{
	uint32_t i;

	/* All of them: num_slots is not ours to read. */
	for (i = 0; i < XPH_MAX_DOMAINS; i++) {
		struct slot *slot = &slots[i];

		if (__atomic_load_n(&slot->owner, __ATOMIC_RELAXED) != domain)
			continue;
		if (__atomic_load_n(&slot->closing, __ATOMIC_SEQ_CST) || !try_lock(slot)) {
			*error = -XEN_EAGAIN;
			return NULL;
		}
		if (slot->state != SLOT_FREE && slot->state != SLOT_PASSIVE &&
		    slot_is_of(slot, domain))
			return slot;
		unlock(slot);
	}
	*error = -XEN_EPERM;
	return NULL;
}

void slot_leave(struct slot *slot)
{
	unlock(slot);
}

void slot_reset(struct slot *slot)
{
	uint32_t i;

	for (i = 0; i < slot->num_rings; i++) {
		struct ring *ring = slot->ring[i], kept = *ring;

		memset(ring, 0, sizeof(*ring));
		ring->size = kept.size;
		ring->sample = kept.sample;
		ring->part = kept.part;
	}
}

struct ring *slot_find_ring(const struct domain *domain, uint32_t vcpu, const struct slot **found)
{
	uint32_t i;

	for (i = 0; i < num_slots; i++) {
		if (slots[i].owner != domain)
			continue;
		*found = &slots[i];
		return vcpu < slots[i].num_rings ? slots[i].ring[vcpu] : NULL;
	}
	return NULL;
}

/* So many are copied at a time: from the stack, where they were cut to what the reader may see. */
#define BATCH 16u

long ring_read_samples(struct ring *ring, uint64_t to, uint32_t most, bool sees_all)
{
	struct xph_sample batch[BATCH];
	uint32_t done = 0, i;

	if (most > XPH_READ_MOST)
		most = XPH_READ_MOST;
	while (done < most) {
		uint32_t num = ring_waiting(&ring->samples);
		uint32_t tail = ring->samples.tail;

		if (num > most - done)
			num = most - done;
		if (num > BATCH)
			num = BATCH;
		if (!num)
			break;
		for (i = 0; i < num; i++) {
			batch[i] = ring->sample[(tail + i) & (ring->size - 1)];
			if (batch[i].mode == XPH_HYPERVISOR && !sees_all)
				batch[i].pc = 0;
		}
		if (!copy_out(to + (uint64_t)done * sizeof(batch[0]), batch,
			      num * sizeof(batch[0])))
			return done ? (long)done : -XEN_EFAULT;
		for (i = 0; i < num; i++)
			ring->delivered[batch[i].counter]++;
		__atomic_store_n(&ring->samples.tail, tail + num, __ATOMIC_RELEASE);
		done += num;
	}
	return done;
}

long ring_read_parts(struct ring *ring, uint64_t to, uint32_t most)
{
	struct xph_part batch[BATCH];
	uint32_t done = 0, i;

	if (!ring->part)
		return 0;
	if (most > XPH_READ_MOST)
		most = XPH_READ_MOST;
	while (done < most) {
		uint32_t num = ring_waiting(&ring->parts);
		uint32_t tail = ring->parts.tail;

		if (num > most - done)
			num = most - done;
		if (num > BATCH)
			num = BATCH;
		if (!num)
			break;
		for (i = 0; i < num; i++)
			batch[i] = ring->part[(tail + i) & (ring->size - 1)];
		if (!copy_out(to + (uint64_t)done * sizeof(batch[0]), batch,
			      num * sizeof(batch[0])))
			return done ? (long)done : -XEN_EFAULT;
		ring->parts_delivered += num;
		__atomic_store_n(&ring->parts.tail, tail + num, __ATOMIC_RELEASE);
		done += num;
	}
	return done;
}
