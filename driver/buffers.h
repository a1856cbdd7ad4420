/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The buffers that the hypervisor shares for one domain: a ring per vCPU, drained into the
 * tracepoint. Their content is not trusted.
 */
#ifndef XENOPROF_BUFFERS_H
#define XENOPROF_BUFFERS_H

#include <linux/types.h>

#include "xenoprof.h"
#include "xenoprof_abi.h"

struct page;
struct pt_regs;

enum xenoprof_word { WORD_HYPERVISOR, WORD_KERNEL, WORD_USER, WORD_LOST, NUM_WORDS };

struct xenoprof_ring {
	struct xenabi_buffer *shared; /* NULL while not mapped */
	u32 size; /* of event_log[]; the shared copy is not believed */
	u32 tail; /* ours; the shared copy is only written */
	u16 domain;
	u16 vcpu;
	bool draining; /* a tracepoint's handler may come back to us */
	bool broken;
	u64 base[NUM_WORDS]; /* the hypervisor's words at arm */
	u64 last[NUM_WORDS]; /* and when they were last read */
	u64 emitted[XENOPROF_MAX_COUNTERS];
	u64 rejected;
};

struct xenoprof_buffers {
	u32 num_rings; /* stays after unmapping, for the totals */
	struct xenoprof_ring *ring; /* by vCPU id */
	bool live; /* off: the rings may not be drained */
	void *area; /* NULL while not mapped */
	u64 first_frame; /* machine frames, these two stay as well */
	u32 num_pages;
	struct page *page[XENABI_MAX_PAGES]; /* what area showed before */
};

int xenoprof_buffers_map(struct xenoprof_buffers *buffers, u16 domain, s32 nbuf, s32 bufsize,
			 u64 address);
void xenoprof_buffers_unmap(struct xenoprof_buffers *buffers);
void xenoprof_buffers_free(struct xenoprof_buffers *buffers);

/* To be called while the hypervisor does not write; it has set its indices to 0, or will. */
void xenoprof_buffers_reset(struct xenoprof_buffers *buffers);

/*
 * One caller at a time for each ring. @regs: the interrupted context when called from the
 * hypervisor's sample interrupt, else NULL. Returns the number of entries taken out.
 */
u32 xenoprof_ring_drain(struct xenoprof_ring *ring, struct pt_regs *regs);

/* Keeps the hypervisor's words for after unmapping, and reports a broken ring to the log. */
void xenoprof_buffers_close(struct xenoprof_buffers *buffers);

int xenoprof_buffers_totals(struct xenoprof_buffers *buffers, struct xenoprof_totals *totals);

#endif
