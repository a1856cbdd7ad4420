/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Xen's functions and variables that the payload uses (symbols.def has all of their names), and its
 * structures, whose members lie where the loader's layout says. Xen's own headers are not used:
 * a domain, a vCPU and saved registers are opaque here.
 */
#ifndef XENOPROF_HYPERVISOR_XEN_H
#define XENOPROF_HYPERVISOR_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "machine.h"

struct domain;
struct vcpu;
struct cpu_user_regs;
struct payload;
struct timer;
struct cpumask;

/* Errors as Xen and Linux number them. */
enum {
	XEN_EPERM = 1,
	XEN_ESRCH = 3,
	XEN_EIO = 5,
	XEN_E2BIG = 7,
	XEN_EAGAIN = 11,
	XEN_ENOMEM = 12,
	XEN_EFAULT = 14,
	XEN_EBUSY = 16,
	XEN_ENODEV = 19,
	XEN_EINVAL = 22,
	XEN_ERANGE = 34,
	XEN_ENOSYS = 38,
	XEN_EOPNOTSUPP = 95,
	XEN_ESTALE = 116,
};

#define XEN_VIRQ_XENOPROF 7 /* xen/include/public/xen.h; per vCPU (event_channel.c) */
#define XEN_CDF_HVM 1u /* XEN_DOMCTL_CDF_hvm, of domain.options */
#define XEN_TF_KERNEL_MODE 1ul /* TF_kernel_mode of a 64-bit PV vCPU */

typedef int nmi_callback(const struct cpu_user_regs *regs, int cpu);

/* What the compiler calls by itself, too. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
void printk(const char *format, ...) __attribute__((format(printf, 1, 2)));
nmi_callback *set_nmi_callback(nmi_callback *callback);
void on_selected_cpus(const struct cpumask *mask, void (*function)(void *), void *data, int wait);
extern unsigned long cpu_online_map[];
extern unsigned int nr_cpu_ids;
extern unsigned long cpu_khz;
extern unsigned int nmi_watchdog;
extern unsigned int opt_vpmu_enabled;
extern struct domain *hardware_domain;
extern char per_cpu__curr_vcpu[];
void *ioremap(uint64_t address, size_t size);
void vunmap(const void *address);
void *_xzalloc(unsigned long size, unsigned long alignment);
void xfree(void *memory);
unsigned int copy_to_guest_pv(void *to, const void *from, unsigned int size);
unsigned int copy_from_guest_pv(void *to, const void *from, unsigned int size);
unsigned int copy_to_user_hvm(void *to, const void *from, unsigned int size);
unsigned int copy_from_user_hvm(void *to, const void *from, unsigned int size);
extern const unsigned char svm_asm_do_resume[];
void init_timer(struct timer *timer, void (*function)(void *), void *data, unsigned int cpu);
void set_timer(struct timer *timer, int64_t expires);
void kill_timer(struct timer *timer);
int64_t get_s_time(void);
struct domain *get_domain_by_id(uint16_t id);
void domain_destroy(struct domain *domain);
void send_guest_vcpu_virq(struct vcpu *vcpu, uint32_t virq);
int revert_payload(struct payload *payload);

/*
 * What not every Xen has. The loader makes a missing one the number 0, which no 32-bit distance
 * reaches: so each address is a 64-bit word of its own, and no constant to the compiler.
 */
struct optional {
	int (*reserve_lapic_nmi)(void);
	void (*release_lapic_nmi)(void);
	const int *ss_initialized;
};
extern volatile struct optional optional;

#define XEN_FIELD(type, base, offset) (*(type volatile *)((char *)(uintptr_t)(base) + (offset)))

static inline char *this_cpu_info(void)
{
	return machine_stack_end() - layout.cpu_info_size;
}

static inline uint32_t this_cpu(void)
{
	return XEN_FIELD(uint32_t, this_cpu_info(), layout.cpu_info_processor);
}

static inline struct vcpu *current_vcpu(void)
{
	return XEN_FIELD(struct vcpu *, this_cpu_info(), layout.cpu_info_vcpu);
}

/*
 * Whose registers lie at the bottom of this CPU's stack. It is not the current vCPU inside a
 * context switch, nor while the idle vCPU runs without having saved its predecessor's
 * (xen/arch/x86/domain.c).
 */
static inline struct vcpu *vcpu_of_guest_regs(void)
{
	return XEN_FIELD(struct vcpu *, per_cpu__curr_vcpu,
			 XEN_FIELD(uint64_t, this_cpu_info(), layout.cpu_info_per_cpu));
}

static inline const struct cpu_user_regs *guest_regs(void)
{
	return (const struct cpu_user_regs *)(this_cpu_info() + layout.cpu_info_guest_regs);
}

static inline uint64_t regs_pc(const struct cpu_user_regs *regs)
{
	return XEN_FIELD(const uint64_t, regs, layout.regs_rip);
}

static inline uint64_t regs_flags(const struct cpu_user_regs *regs)
{
	return XEN_FIELD(const uint64_t, regs, layout.regs_rflags);
}

static inline struct domain *vcpu_domain(const struct vcpu *vcpu)
{
	return XEN_FIELD(struct domain *const, vcpu, layout.vcpu_domain);
}

static inline uint32_t vcpu_number(const struct vcpu *vcpu)
{
	return XEN_FIELD(const uint32_t, vcpu, layout.vcpu_id);
}

static inline uint16_t domain_number(const struct domain *domain)
{
	return XEN_FIELD(const uint16_t, domain, layout.domain_id);
}

static inline bool domain_is_hvm(const struct domain *domain)
{
	return XEN_FIELD(const uint32_t, domain, layout.domain_options) & XEN_CDF_HVM;
}

/* Only of a PV domain: the field shares its memory with HVM's. */
static inline bool domain_is_pv32(const struct domain *domain)
{
	return !domain_is_hvm(domain) && XEN_FIELD(const uint8_t, domain, layout.domain_pv_32bit);
}

static inline uint32_t domain_vcpus(const struct domain *domain)
{
	return XEN_FIELD(const uint32_t, domain, layout.domain_vcpus);
}

/* NULL: the domain has none of that number (yet). */
static inline struct vcpu *domain_vcpu(const struct domain *domain, uint32_t number)
{
	struct vcpu **vcpu = XEN_FIELD(struct vcpu * *const, domain, layout.domain_vcpu);

	return vcpu && number < domain_vcpus(domain) ? vcpu[number] : NULL;
}

static inline bool domain_is_dying(const struct domain *domain)
{
	return XEN_FIELD(const uint32_t, domain, layout.domain_dying);
}

/* What get_domain_by_id() took. Never kept longer than one call: a kept one makes a zombie. */
static inline void domain_put(struct domain *domain)
{
	int32_t *count = (int32_t *)((char *)domain + layout.domain_refcnt);

	if (!__atomic_sub_fetch(count, 1, __ATOMIC_SEQ_CST))
		domain_destroy(domain);
}

static inline bool cpu_is_online(uint32_t cpu)
{
	return __atomic_load_n(&cpu_online_map[cpu / 64], __ATOMIC_RELAXED) >> cpu % 64 & 1;
}

static inline const struct cpumask *online_cpus(void)
{
	return (const struct cpumask *)cpu_online_map;
}

/*
 * To and from the memory of the caller of a hypercall. Xen's functions check the address: for a PV
 * domain that it is not Xen's, for others that the domain maps it.
 */
static inline bool copy_in(void *to, uint64_t from, uint32_t size)
{
	const void *address = (const void *)(uintptr_t)from;

	return !(domain_is_hvm(vcpu_domain(current_vcpu())) ?
			 copy_from_user_hvm(to, address, size) :
			 copy_from_guest_pv(to, address, size));
}

static inline bool copy_out(uint64_t to, const void *from, uint32_t size)
{
	void *address = (void *)(uintptr_t)to;

	return !(domain_is_hvm(vcpu_domain(current_vcpu())) ?
			 copy_to_user_hvm(address, from, size) :
			 copy_to_guest_pv(address, from, size));
}

#endif
