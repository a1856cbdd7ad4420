// SPDX-License-Identifier: GPL-2.0-or-later
#define pr_fmt(fmt) "xenoprof: " fmt

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <linux/ptrace.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <xen/page.h>

#include "buffers.h"
#include "hypercall.h"

#define CREATE_TRACE_POINTS
#include "xenoprof_trace.h"

static int point_at(void *address, pte_t pte)
{
	return HYPERVISOR_update_va_mapping((unsigned long)address, pte, UVMF_INVLPG | UVMF_ALL);
}

/*
 * The hypervisor's pages belong to no page frame of ours, so nothing in the kernel maps them for a
 * module. We allocate an area of our own and point its page table entries elsewhere meanwhile.
 */
static int map_area(struct xenoprof_buffers *buffers, u64 address, size_t size)
{
	u32 i;
	int ret;

	buffers->first_frame = address >> PAGE_SHIFT;
	buffers->num_pages = DIV_ROUND_UP(size, PAGE_SIZE);
	buffers->area = vzalloc((size_t)buffers->num_pages * PAGE_SIZE);
	if (!buffers->area)
		return -ENOMEM;
	for (i = 0; i < buffers->num_pages; i++)
		buffers->page[i] = vmalloc_to_page(buffers->area + i * PAGE_SIZE);
	for (i = 0; i < buffers->num_pages; i++) {
		ret = point_at(buffers->area + i * PAGE_SIZE,
			       mfn_pte(buffers->first_frame + i, PAGE_KERNEL));
		if (ret) {
			pr_err("the hypervisor refuses to map its sample buffer (error %d)\n", ret);
			xenoprof_buffers_unmap(buffers);
			return -EIO;
		}
	}
	return 0;
}

static void read_words(const struct xenabi_buffer *shared, u64 *words)
{
	words[WORD_HYPERVISOR] = READ_ONCE(shared->xen_samples);
	words[WORD_KERNEL] = READ_ONCE(shared->kernel_samples);
	words[WORD_USER] = READ_ONCE(shared->user_samples);
	words[WORD_LOST] = READ_ONCE(shared->lost_samples);
}

int xenoprof_buffers_map(struct xenoprof_buffers *buffers, u16 domain, s32 nbuf, s32 bufsize,
			 u64 address)
{
	const size_t log_offset = offsetof(struct xenabi_buffer, event_log);
	struct xenoprof_ring *ring;
	u32 vcpu;
	s32 i;
	int ret;

	if (nbuf > XENOPROF_MAX_VCPUS)
		return -E2BIG;
	if (nbuf < 1 || bufsize < (s32)(log_offset + 2 * sizeof(struct xenabi_entry)) ||
	    bufsize > XENABI_MAX_PAGES * PAGE_SIZE / nbuf || offset_in_page(address)) {
		pr_err("the hypervisor offers %d buffers of %d bytes, which cannot be used\n", nbuf,
		       bufsize);
		return -EIO;
	}

	xenoprof_buffers_free(buffers);
	buffers->ring = kcalloc(nbuf, sizeof(*buffers->ring), GFP_KERNEL);
	if (!buffers->ring)
		return -ENOMEM;
	buffers->num_rings = nbuf;

	ret = map_area(buffers, address, (size_t)nbuf * bufsize);
	if (ret)
		goto fail;

	for (i = 0; i < nbuf; i++) {
		struct xenabi_buffer *shared = buffers->area + (size_t)i * bufsize;

		vcpu = READ_ONCE(shared->vcpu_id);
		if (vcpu >= (u32)nbuf || buffers->ring[vcpu].shared) {
			pr_err("the hypervisor's buffer %d of %d claims to be vCPU %u's\n", i, nbuf,
			       vcpu);
			ret = -EIO;
			goto fail;
		}
		ring = &buffers->ring[vcpu];
		ring->shared = shared;
		ring->size = (bufsize - log_offset) / sizeof(struct xenabi_entry);
		ring->domain = domain;
		ring->vcpu = vcpu;
	}
	return 0;

fail:
	xenoprof_buffers_free(buffers);
	return ret;
}

void xenoprof_buffers_unmap(struct xenoprof_buffers *buffers)
{
	bool restored = true;
	u32 i;

	if (!buffers->area)
		return;
	for (i = 0; i < buffers->num_rings; i++)
		buffers->ring[i].shared = NULL;
	for (i = 0; i < buffers->num_pages; i++)
		if (point_at(buffers->area + i * PAGE_SIZE, mk_pte(buffers->page[i], PAGE_KERNEL)))
			restored = false;
	/* Pages that are not known to be back in place must never be given to anyone else. */
	if (!WARN_ON(!restored))
		vfree(buffers->area);
	buffers->area = NULL;
}

void xenoprof_buffers_free(struct xenoprof_buffers *buffers)
{
	xenoprof_buffers_unmap(buffers);
	kfree(buffers->ring);
	buffers->ring = NULL;
	buffers->num_rings = 0;
}

void xenoprof_buffers_reset(struct xenoprof_buffers *buffers)
{
	u32 i;

	for (i = 0; i < buffers->num_rings; i++) {
		struct xenoprof_ring *ring = &buffers->ring[i];

		ring->tail = 0;
		ring->broken = false;
		ring->rejected = 0;
		memset(ring->emitted, 0, sizeof(ring->emitted));
		if (ring->shared)
			read_words(ring->shared, ring->base);
		memcpy(ring->last, ring->base, sizeof(ring->last));
	}
}

/* The sample was taken in the very context that was interrupted, whose stack is still as it was. */
static bool is_exact(struct pt_regs *regs, u64 ip, u8 mode)
{
	if (!regs || regs->ip != ip)
		return false;
	return mode == (user_mode(regs) ? XENOPROF_MODE_USER : XENOPROF_MODE_KERNEL);
}

static void emit(struct xenoprof_ring *ring, const struct xenabi_entry *entry, struct pt_regs *regs)
{
	u64 ip = READ_ONCE(entry->eip);
	u8 mode = READ_ONCE(entry->mode);
	u8 event = READ_ONCE(entry->event);

	if (event >= XENOPROF_MAX_COUNTERS || mode > XENOPROF_MODE_HYPERVISOR ||
	    ip == XENABI_ESCAPE_CODE) {
		ring->rejected++;
		return;
	}
	ring->emitted[event]++;
	trace_sample(ip, ring->domain, ring->vcpu, mode, event, is_exact(regs, ip, mode));
}

u32 xenoprof_ring_drain(struct xenoprof_ring *ring, struct pt_regs *regs)
{
	u32 head, next;
	u32 taken = 0;

	if (!ring->shared || ring->broken || ring->draining)
		return 0;
	ring->draining = true;
	/* The bound holds however fast new samples come. */
	while (taken < ring->size) {
		head = smp_load_acquire(&ring->shared->event_head);
		if (unlikely(head >= ring->size)) {
			ring->broken = true;
			break;
		}
		if (head == ring->tail)
			break;
		next = ring->tail + 1 == ring->size ? 0 : ring->tail + 1;
		emit(ring, &ring->shared->event_log[ring->tail], next == head ? regs : NULL);
		ring->tail = next;
		/* Only now may the hypervisor use the entry again. */
		smp_store_release(&ring->shared->event_tail, next);
		taken++;
	}
	ring->draining = false;
	return taken;
}

void xenoprof_buffers_close(struct xenoprof_buffers *buffers)
{
	u32 i;

	for (i = 0; i < buffers->num_rings; i++) {
		struct xenoprof_ring *ring = &buffers->ring[i];

		if (ring->shared)
			read_words(ring->shared, ring->last);
		if (ring->broken)
			pr_err("corrupt sample buffer (domain %u, vCPU %u): samples were left in it\n",
			       ring->domain, ring->vcpu);
	}
}

int xenoprof_buffers_totals(struct xenoprof_buffers *buffers, struct xenoprof_totals *totals)
{
	struct xenoprof_ring *ring;
	int i;

	if (totals->vcpu >= buffers->num_rings)
		return -ERANGE;
	ring = &buffers->ring[totals->vcpu];
	if (buffers->live && ring->shared)
		read_words(ring->shared, ring->last);
	totals->vcpus = buffers->num_rings;
	totals->broken = READ_ONCE(ring->broken);
	totals->hypervisor = ring->last[WORD_HYPERVISOR] - ring->base[WORD_HYPERVISOR];
	totals->kernel = ring->last[WORD_KERNEL] - ring->base[WORD_KERNEL];
	totals->user = ring->last[WORD_USER] - ring->base[WORD_USER];
	totals->lost = ring->last[WORD_LOST] - ring->base[WORD_LOST];
	for (i = 0; i < XENOPROF_MAX_COUNTERS; i++)
		totals->emitted[i] = READ_ONCE(ring->emitted[i]);
	totals->rejected = READ_ONCE(ring->rejected);
	return 0;
}
