/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * The calls of Xenoprof's hypervisor half, as it comes into a running Xen with a live patch.
 * For the payload itself, for Linux's driver and for user space.
 *
 * The door is hypercall 40 (xenpmu_op), which PV, PVH and HVM domains all have:
 *	HYPERVISOR_xenpmu_op(op, pointer to the structure named below)
 * Without the payload Xen answers these operations with -EOPNOTSUPP or -ENOSYS, so XPH_VERSION
 * comes first. Results are 0 or a number, or a negative errno of Linux's (Xen's are the same).
 *
 * The initiator: CLAIM, DOMAINS, COUNTERS, ARM (for itself, if it is active), START, STOP, RELEASE.
 * An active domain: ARM, READ ..., DISARM.
 * Only the hardware domain can be initiator. CLAIM gives it a session number, and each further call
 * of the initiator names that number: a claimant that has been replaced gets -ESTALE.
 *
 * Errors common to all: -EFAULT; -EINVAL for a reserved field that is not 0 or a value out of
 *range; -EPERM for an initiator's call by another domain; -EAGAIN while another vCPU of the same
 *domain is inside a call; -ENOSYS for an unknown operation; -EOPNOTSUPP for a 32-bit PV domain. A
 *call that fails changes nothing unless said otherwise.
 *
 * All structures have the same layout for 32-bit callers: every 64-bit field lies at a multiple
 *of 8.
 */
#ifndef XENOPROF_HYPERVISOR_ABI_H
#define XENOPROF_HYPERVISOR_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#ifdef __cplusplus
#define XPH_ASSERT(condition) static_assert(condition, "ABI")
#else
#define XPH_ASSERT(condition) _Static_assert(condition, "ABI")
#endif

#define XPH_HYPERCALL 40
#define XPH_ABI 1

#define XPH_MAX_COUNTERS 8
#define XPH_MAX_DOMAINS 64 /* active and passive ones together */
#define XPH_MAX_VCPUS 512 /* of one domain */
#define XPH_MIN_BUFFER 64 /* samples for each vCPU, a power of two, like the next */
#define XPH_MAX_BUFFER 8192
#define XPH_MAX_MEMORY (64u << 20) /* bytes of all buffers of a session */

/* A sample costs thousands of instructions, here and in the domain that reads it. */
#define XPH_MIN_PERIOD 10000u
#define XPH_MAX_PERIOD (1ull << 46)
/* NMIs per second on one CPU. Above the limit periods are lengthened, and what is left out counted.
 */
#define XPH_MIN_RATE 100u
#define XPH_MAX_RATE 100000u
#define XPH_DEFAULT_RATE 20000u
/* Milliseconds that a running session goes on after its initiator's last call. */
#define XPH_MIN_LEASE 1000u
#define XPH_MAX_LEASE 60000u

#define XPH_READ_MOST 512 /* samples or parts that one call hands out */

#define XPH_DOMAIN_SELF 0x7ff0u /* Xen's DOMID_SELF */
#define XPH_DOMAIN_IDLE 0x7fffu /* Xen's DOMID_IDLE, for XPH_TOTALS only, like the next */
#define XPH_DOMAIN_OTHERS 0x7ffeu /* all that are neither active nor passive */

#define XPH_OP_FIRST 0x58500000u
enum xph_op {
	XPH_VERSION = XPH_OP_FIRST, /* struct xph_version; any domain */
	/* The initiator's. */
	XPH_CLAIM, /* struct xph_claim */
	XPH_DOMAINS, /* struct xph_domains */
	XPH_COUNTERS, /* struct xph_counters */
	XPH_START, /* struct xph_start */
	XPH_STOP, /* struct xph_session */
	XPH_RELEASE, /* struct xph_session */
	XPH_READ_PARTS, /* struct xph_read */
	/* Any active domain's. */
	XPH_ARM, /* no argument */
	XPH_DISARM, /* no argument */
	XPH_NOTIFY, /* struct xph_notify */
	/* An active domain's for itself; the initiator's for passive domains. */
	XPH_READ, /* struct xph_read */
	XPH_TOTALS, /* struct xph_totals */
	XPH_OP_END
};

/* Modes as Xenoprof has always numbered them. */
enum xph_mode { XPH_USER = 0, XPH_KERNEL = 1, XPH_HYPERVISOR = 2, XPH_MODES = 3 };

#define XPH_CAN_GUEST_PC 1u /* a sample in the hypervisor says where its guest had been */
#define XPH_CAN_NOTIFY 2u /* VIRQ_XENOPROF */

struct xph_version {
	uint32_t abi; /* XPH_ABI */
	uint32_t capabilities; /* XPH_CAN_... */
	uint32_t num_counters; /* 0: this CPU has none that we know */
	uint32_t initiator; /* 1: the caller may claim */
	uint32_t tsc_khz; /* of xph_sample.tsc */
	uint32_t counter_bits;
	char cpu_type[40]; /* "amd/family10h"; ends with 0 */
};

/*
 * Makes the caller the initiator. What an earlier claimant listed is released.
 *	EBUSY	the session of another claimant runs
 */
struct xph_claim {
	uint64_t session; /* out; never 0 */
};

struct xph_session {
	uint64_t session;
};

/*
 * Who takes part; allocates the buffers. Not while running (EBUSY). Replaces an earlier list, also
 * if it fails.
 *	ESRCH	no such domain, or it is being destroyed
 *	E2BIG	a domain has more than XPH_MAX_VCPUS, or all buffers more than XPH_MAX_MEMORY
 *	ENOMEM	the hypervisor has no memory left for them
 */
struct xph_domains {
	uint64_t session;
	uint32_t num_active;
	uint32_t num_passive;
	uint32_t buffer_samples; /* for each vCPU: a power of two, XPH_MIN_BUFFER ... XPH_MAX_BUFFER
				  */
	uint32_t reserved;
	uint16_t domain[XPH_MAX_DOMAINS]; /* the active ones first, nobody twice */
};

#define XPH_COUNT_USER 1u /* ring 3: user space, and the kernel of a PV domain */
#define XPH_COUNT_KERNEL 2u /* ring 0: the hypervisor, and the kernel of a PVH or HVM domain */

struct xph_counter {
	uint64_t period; /* XPH_MIN_PERIOD ... XPH_MAX_PERIOD */
	uint32_t event; /* the CPU's event select code */
	uint32_t unit_mask;
	uint32_t flags; /* XPH_COUNT_..., at least one */
	uint32_t reserved;
};

/* After DOMAINS, and not while running (EBUSY). */
struct xph_counters {
	uint64_t session;
	uint32_t num; /* 1 ... xph_version.num_counters */
	uint32_t rate; /* NMIs per second and CPU, XPH_MIN_RATE ... XPH_MAX_RATE; 0: the default */
	struct xph_counter counter[XPH_MAX_COUNTERS];
};

/*
 *	EAGAIN	an active domain has not armed, or has left
 *	ESRCH	an active domain is gone
 *	EBUSY	running already; or vpmu, the watchdog or somebody else has the counters
 *	EIO	a CPU does not have the counters' registers
 */
struct xph_start {
	uint64_t session;
	uint32_t lease; /* XPH_MIN_LEASE ... XPH_MAX_LEASE; each call of the initiator renews it */
	uint32_t reserved;
};

/*
 * ARM takes part: EPERM if the caller is not active in a session; EBUSY if it has armed, or the
 * session runs. DISARM leaves; what waits in the buffers stays readable.
 */

/* on: VIRQ_XENOPROF goes to each vCPU whose buffer has something new, at most 100 times a second.
 */
struct xph_notify {
	uint32_t on; /* 0 or 1 */
	uint32_t reserved;
};

/*
 * In the domain's own reading, a hypervisor sample has pc 0; the initiator gets the PC under the
 * same number of the same vCPU by READ_PARTS, or at once in its own samples and those of passive
 * domains.
 */
struct xph_sample {
	uint64_t tsc; /* the CPU's, not the guest's */
	uint64_t pc;
	uint64_t guest_pc; /* mode XPH_HYPERVISOR: from where the guest entered Xen; see flags */
	uint64_t number; /* mode XPH_HYPERVISOR: which of this vCPU's; else 0 */
	uint32_t pcpu;
	uint16_t domain;
	uint16_t vcpu;
	uint8_t counter; /* index in xph_counters */
	uint8_t mode; /* enum xph_mode */
	uint8_t guest_mode; /* of guest_pc: XPH_USER or XPH_KERNEL */
	uint8_t flags; /* XPH_SAMPLE_... */
	uint32_t reserved;
};

#define XPH_SAMPLE_GUEST_PC 1u /* guest_pc and guest_mode hold something */
#define XPH_SAMPLE_MASKED 2u /* Xen had its interrupts off */

/* What only the initiator may see of a hypervisor sample of an active domain. */
struct xph_part {
	uint64_t number;
	uint64_t pc;
};

/*
 * Returns how many were copied, at most XPH_READ_MOST, oldest first; they are then no longer there.
 * READ's domain is XPH_DOMAIN_SELF, or a passive domain's for the initiator; READ_PARTS' an active
 * one's.
 *	ESRCH	no such domain takes part
 *	ERANGE	it has no such vCPU
 */
struct xph_read {
	uint64_t session; /* the initiator's; 0 with XPH_DOMAIN_SELF */
	uint64_t to; /* struct xph_sample[] or struct xph_part[] */
	uint32_t most;
	uint16_t domain;
	uint16_t vcpu;
};

/*
 * Since ARM, or for a passive domain and for XPH_DOMAIN_IDLE and _OTHERS since DOMAINS and START.
 * For each counter and vCPU, at any time that no sample comes:
 *	taken[user] + taken[kernel] + taken[hypervisor] == delivered + lost + waiting
 * and the overflows of a counter, over all vCPUs and both special domains:
 *	sum(taken) + throttled + unarmed + missed
 */
struct xph_counter_totals {
	uint64_t taken[XPH_MODES];
	uint64_t delivered; /* copied out */
	uint64_t lost; /* the buffer was full */
	uint64_t waiting;
	uint64_t throttled; /* periods that were left out, by the limit on the rate */
	uint64_t unarmed; /* the domain had left */
	uint64_t missed; /* XPH_DOMAIN_OTHERS: overflows whose NMI never came */
};

struct xph_totals {
	uint64_t session; /* the initiator's; 0 with XPH_DOMAIN_SELF */
	uint16_t domain; /* in: XPH_DOMAIN_..., or for the initiator any that takes part */
	uint16_t vcpu; /* in; 0 for _IDLE and _OTHERS */
	uint32_t vcpus; /* of that domain */
	uint32_t running;
	uint32_t gone; /* the domain has been destroyed */
	uint64_t parts_delivered;
	uint64_t parts_lost;
	uint64_t foreign; /* XPH_DOMAIN_OTHERS: NMIs that were not ours */
	struct xph_counter_totals counter[XPH_MAX_COUNTERS];
};

/*
 * Why the live patch was not applied: what Xen reports as the action's result. Each names its
 * reason, so that no two have the same number.
 */
#define XPH_REFUSED_CPU 19 /* ENODEV: a CPU whose counters we do not know */
#define XPH_REFUSED_VPMU 98 /* EADDRINUSE: Xen's option vpmu is on */
#define XPH_REFUSED_WATCHDOG 26 /* ETXTBSY: Xen's option watchdog is on */
#define XPH_REFUSED_FLASK 13 /* EACCES: a FLASK policy is loaded, which we cannot ask */
#define XPH_REFUSED_LAYOUT 8 /* ENOEXEC: the loader has not filled in this payload's layout */

XPH_ASSERT(sizeof(struct xph_version) == 64);
XPH_ASSERT(sizeof(struct xph_domains) == 24 + 2 * XPH_MAX_DOMAINS);
XPH_ASSERT(sizeof(struct xph_counter) == 24);
XPH_ASSERT(sizeof(struct xph_counters) == 16 + 24 * XPH_MAX_COUNTERS);
XPH_ASSERT(sizeof(struct xph_start) == 16);
XPH_ASSERT(sizeof(struct xph_sample) == 48);
XPH_ASSERT(sizeof(struct xph_part) == 16);
XPH_ASSERT(sizeof(struct xph_read) == 24);
XPH_ASSERT(sizeof(struct xph_counter_totals) == 72);
XPH_ASSERT(sizeof(struct xph_totals) == 48 + 72 * XPH_MAX_COUNTERS);

#endif
