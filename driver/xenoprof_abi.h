/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the hypervisor expects and shares. Facts: xen/include/public/xenoprof.h and
 * xen/common/xenoprof.c of Xen 4.17 (unchanged in 4.18 ... 4.21). x86-64 layouts only.
 */
#ifndef XENOPROF_ABI_H
#define XENOPROF_ABI_H

#include <linux/build_bug.h>
#include <linux/mm.h>
#include <linux/stddef.h>
#include <linux/types.h>

/* Only init, enable_virq, disable_virq and get_buffer are open to a domain that is not primary. */
enum xenabi_op {
	XENABI_INIT = 0,
	XENABI_RESET_ACTIVE_LIST = 1,
	XENABI_RESET_PASSIVE_LIST = 2,
	XENABI_SET_ACTIVE = 3,
	XENABI_SET_PASSIVE = 4,
	XENABI_RESERVE_COUNTERS = 5,
	XENABI_COUNTER = 6,
	XENABI_SETUP_EVENTS = 7,
	XENABI_ENABLE_VIRQ = 8,
	XENABI_START = 9,
	XENABI_STOP = 10,
	XENABI_DISABLE_VIRQ = 11,
	XENABI_RELEASE_COUNTERS = 12,
	XENABI_SHUTDOWN = 13,
	XENABI_GET_BUFFER = 14,
};

struct xenabi_init {
	s32 num_events;
	s32 is_primary;
	char cpu_type[64];
};

struct xenabi_counter {
	u32 ind;
	u64 count;
	u32 enabled;
	u32 event;
	u32 hypervisor;
	u32 kernel;
	u32 user;
	u64 unit_mask;
};

struct xenabi_get_buffer {
	s32 max_samples;
	s32 nbuf;
	s32 bufsize;
	u64 buf_gmaddr; /* machine address: the caller is never auto-translated */
};

struct xenabi_passive {
	u16 domain_id;
	s32 max_samples;
	s32 nbuf;
	s32 bufsize;
	u64 buf_gmaddr;
};

struct xenabi_entry {
	u64 eip;
	u8 mode;
	u8 event;
};

/* One per vCPU, bufsize bytes apart. Xen writes an entry, then event_head, then a sample count. */
struct xenabi_buffer {
	u32 event_head;
	u32 event_tail;
	u32 event_size;
	u32 vcpu_id;
	u64 xen_samples;
	u64 kernel_samples;
	u64 user_samples;
	u64 lost_samples;
	struct xenabi_entry event_log[];
};

/* "No PC": the hypervisor's mark for the begin of a backtrace, which we never ask for. */
#define XENABI_ESCAPE_CODE (~0ULL)

/* A domain's buffers, all vCPUs together (MAX_OPROF_SHARED_PAGES). */
#define XENABI_MAX_PAGES 32

static_assert(sizeof(struct xenabi_init) == 72);
static_assert(sizeof(struct xenabi_counter) == 48);
static_assert(sizeof(struct xenabi_get_buffer) == 24);
static_assert(sizeof(struct xenabi_passive) == 24);
static_assert(sizeof(struct xenabi_entry) == 16);
static_assert(offsetof(struct xenabi_buffer, event_log) == 48);

#endif
