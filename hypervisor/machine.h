/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processor's instructions. In the unit tests, functions of the same names play a processor. */
#ifndef XENOPROF_HYPERVISOR_MACHINE_H
#define XENOPROF_HYPERVISOR_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef XPH_FAKE_MACHINE
#include XPH_FAKE_MACHINE
#else

/* Of registers that machine_probe() has found. */
static inline uint64_t machine_rdmsr(uint32_t msr)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void machine_wrmsr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr"
		     :
		     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
		     : "memory");
}

/*
 * Whether the register is there. Not for the NMI handler: the return from the fault that this may
 * raise would let the next NMI in. The table's format is xen/arch/x86/include/asm/asm_defns.h's,
 * the same from 4.17 to 4.22; Xen searches a live patch's own table, too.
 */
static inline bool machine_probe(uint32_t msr, uint64_t *value)
{
	uint32_t low = 0, high = 0, good = 0;

	asm volatile("1:	rdmsr\n"
		     "	mov	$1, %[good]\n"
		     "2:\n"
		     "	.pushsection .ex_table, \"a\"\n"
		     "	.balign 4\n"
		     "	.long 1b - ., 2b - .\n"
		     "	.popsection"
		     : "+a"(low), "+d"(high), [good] "+r"(good)
		     : "c"(msr));
	*value = (uint64_t)high << 32 | low;
	return good;
}

static inline bool machine_probe_write(uint32_t msr, uint64_t value)
{
	uint32_t good = 0;

	asm volatile("1:	wrmsr\n"
		     "	mov	$1, %[good]\n"
		     "2:\n"
		     "	.pushsection .ex_table, \"a\"\n"
		     "	.balign 4\n"
		     "	.long 1b - ., 2b - .\n"
		     "	.popsection"
		     : [good] "+r"(good)
		     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
		     : "memory");
	return good;
}

static inline uint64_t machine_tsc(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void machine_cpuid(uint32_t leaf, uint32_t out[4])
{
	asm volatile("cpuid"
		     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
		     : "a"(leaf), "c"(0));
}

/* The end of the stack of this CPU; NMIs run on pages of the same one. STACK_ORDER is 3 in all. */
static inline char *machine_stack_end(void)
{
	uint64_t stack;

	asm volatile("mov %%rsp, %0" : "=r"(stack));
	return (char *)((stack | 0x7fff) + 1);
}

static inline uint32_t machine_apic_read(const volatile void *page, uint32_t offset)
{
	return *(const volatile uint32_t *)((const volatile char *)page + offset);
}

static inline void machine_apic_write(volatile void *page, uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)((volatile char *)page + offset) = value;
}

static inline void machine_pause(void)
{
	asm volatile("pause" ::: "memory");
}

/* x86 reorders no two stores and no two loads: the compiler is all that has to be held. */
static inline void machine_barrier(void)
{
	asm volatile("" ::: "memory");
}

/* @index, or 0 while a processor speculates that an index out of range is in it. */
static inline uint32_t machine_clamp(uint32_t index, uint32_t size)
{
	uint64_t mask;

	asm volatile("cmp %2, %1; sbb %0, %0"
		     : "=r"(mask)
		     : "r"((uint64_t)index), "r"((uint64_t)size)
		     : "cc");
	return index & (uint32_t)mask;
}

#endif
#endif
