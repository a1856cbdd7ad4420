/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hypervisor/machine.h of a processor that hypervisor_payload_test.cpp plays. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

uint64_t machine_rdmsr(uint32_t msr);
void machine_wrmsr(uint32_t msr, uint64_t value);
bool machine_probe(uint32_t msr, uint64_t* value);
bool machine_probe_write(uint32_t msr, uint64_t value);
uint64_t machine_tsc(void);
void machine_cpuid(uint32_t leaf, uint32_t out[4]);
char* machine_stack_end(void);
uint32_t machine_apic_read(const volatile void* page, uint32_t offset);
void machine_apic_write(volatile void* page, uint32_t offset, uint32_t value);
void machine_pause(void);

static inline void machine_barrier(void) {
  __asm__ volatile("" ::: "memory");
}

static inline uint32_t machine_clamp(uint32_t index, uint32_t size) {
  return index < size ? index : 0;
}
