/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * Control interface of xenoprof.ko: ioctls on /dev/xenoprof.
 *
 * One holder at a time has the device open (open(2) fails with EBUSY otherwise). The open file is
 * the lease: when its last descriptor goes, profiling ends and everything is released.
 *
 * Order of calls in the initiator (the domain for which xenoprof_info.initiator is 1):
 *	SET_DOMAINS, SET_COUNTERS, ARM, START, STOP, [START, STOP ...], DISARM, TOTALS
 * and in a participant:
 *	ARM, DISARM, TOTALS
 * A participant arms after the initiator's SET_DOMAINS and before its START, and disarms after its
 * STOP (before that, it leaves the running session). SET_DOMAINS after DISARM begins the next
 * session. Participants should have disarmed before the initiator closes or lists domains anew.
 *
 * Errors common to all: EINVAL for a call in the wrong state, a reserved field that is not zero or
 * a value out of range; EPERM for an initiator's call elsewhere; EFAULT; ENOTTY. A call that fails
 * leaves the state as it was unless said otherwise.
 *
 * Samples leave as tracepoint xenoprof:sample, see docs/driver.md.
 */
#ifndef XENOPROF_H
#define XENOPROF_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define XENOPROF_DEVICE "/dev/xenoprof"

#define XENOPROF_ABI 1
#define XENOPROF_MAX_DOMAINS 25 /* active, and as many passive */
#define XENOPROF_MAX_COUNTERS 8
#define XENOPROF_MAX_VCPUS 128 /* per domain; a larger one is refused with E2BIG */

/*
 * Handling a sample takes thousands of instructions. An event that comes with every instruction and
 * a count of less than that would leave the machine time for nothing else, for ever.
 */
#define XENOPROF_MIN_COUNT 10000
#define XENOPROF_MAX_COUNT 0x7fffffff

#define XENOPROF_DOMAIN_SELF 0x7ff0

/* The modes of a sample, as the hypervisor numbers them. */
#define XENOPROF_MODE_USER 0
#define XENOPROF_MODE_KERNEL 1
#define XENOPROF_MODE_HYPERVISOR 2

struct xenoprof_info {
	__u32 abi; /* XENOPROF_ABI */
	__u32 num_counters; /* hardware counters that can be used, at most 8 */
	__u32 initiator; /* 1: this domain may run a session */
	__u32 vcpus; /* of this domain */
	__u32 buffer_samples; /* room per vCPU: what was granted once armed, the wish before */
	__u32 reserved;
	char cpu_type[64]; /* the hypervisor's name, e.g. "x86-64/family10"; ends with 0 */
};

/*
 * Begins a session. The active list must hold the initiator itself (domain 0) and nobody twice, the
 * passive list nobody twice and nobody active. Ends what an earlier session left behind. After any
 * error but EBUSY, EINVAL and EFAULT nothing is listed.
 * List as active only domains that will arm: the hypervisor never lets go of one that does not, and
 * it stays as a zombie when destroyed.
 *	EBUSY	armed; or a passive domain takes part by itself, or has not left a session it was in
 *	ESRCH	no such domain
 */
struct xenoprof_domains {
	__u32 num_active;
	__u32 num_passive;
	__u16 active[XENOPROF_MAX_DOMAINS];
	__u16 passive[XENOPROF_MAX_DOMAINS];
	__u32 passive_samples; /* wished room per passive vCPU, 0: the largest; the first
				* session since the domain's creation decides */
};

struct xenoprof_counter {
	__u32 event; /* the CPU's event select code, at most 0xfff */
	__u32 unit_mask; /* at most 0xff */
	__u64 count; /* one sample each, XENOPROF_MIN_COUNT ... MAX_COUNT */
	__u8 user; /* count in ring 3: user space AND the kernel of a PV domain */
	__u8 kernel; /* count in ring 0: under PV the hypervisor only */
	__u8 hypervisor; /* handed on; Xen 4.17 ignores it */
	__u8 reserved[5];
};

/*
 * Once after each SET_DOMAINS. Counters from num on stay off. After an error of the hypervisor's
 * (EBUSY: somebody else has the counters) begin again with SET_DOMAINS.
 */
struct xenoprof_counters {
	__u32 num; /* 1 ... xenoprof_info.num_counters */
	__u32 pad;
	struct xenoprof_counter counter[XENOPROF_MAX_COUNTERS];
};

/*
 * Since the last ARM. domain and vcpu select; the rest is filled in. For a passive domain the base
 * is the initiator's ARM. Readable from ARM on, until the next ARM (own) or SET_DOMAINS (passive).
 * After DISARM, while broken is 0:
 *	hypervisor + kernel + user == sum(emitted) + rejected
 *	EINVAL	never armed
 *	ESRCH	neither XENOPROF_DOMAIN_SELF nor a passive domain of this session
 *	ERANGE	no such vcpu: they are 0 ... vcpus - 1
 */
struct xenoprof_totals {
	__u16 domain; /* in */
	__u16 pad;
	__u32 vcpu; /* in */
	__u32 vcpus; /* buffers of that domain */
	__u32 broken; /* 1: the shared indices were corrupt; not drained any further */
	__u64 hypervisor; /* samples the hypervisor stored, by mode */
	__u64 kernel;
	__u64 user;
	__u64 lost; /* samples the hypervisor dropped because the buffer was full */
	__u64 emitted[XENOPROF_MAX_COUNTERS]; /* tracepoints, by counter */
	__u64 rejected; /* entries with an impossible counter or mode */
};

#define XENOPROF_INFO _IOR('x', 0xd0, struct xenoprof_info)
#define XENOPROF_SET_DOMAINS _IOW('x', 0xd1, struct xenoprof_domains)
#define XENOPROF_SET_COUNTERS _IOW('x', 0xd2, struct xenoprof_counters)

/*
 * Maps the buffers and takes part.
 *	EPERM	not on the initiator's active list (yet)
 *	EBUSY	armed already; or somebody else (vPMU) has the CPU's counters
 */
#define XENOPROF_ARM _IO('x', 0xd3)

/* Initiator, armed. EAGAIN: an active domain has not armed yet, or has left. EBUSY: started. */
#define XENOPROF_START _IO('x', 0xd4)
#define XENOPROF_STOP _IO('x', 0xd5)

/* Drains what is left and leaves. EBUSY: the initiator has to STOP first. */
#define XENOPROF_DISARM _IO('x', 0xd6)

#define XENOPROF_TOTALS _IOWR('x', 0xd7, struct xenoprof_totals)

#endif
