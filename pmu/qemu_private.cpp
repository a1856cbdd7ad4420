// SPDX-License-Identifier: GPL-2.0-or-later
// Source of the facts: QEMU 10.0, include/exec/cpu-common.h (cpu_restore_state, cpu_loop_exit,
// cpu_physical_memory_rw), include/hw/core/cpu.h (qemu_get_cpu, cpu_interrupt),
// include/qemu/main-loop.h (bql_lock_impl, bql_unlock), target/i386/gdbstub.c (register numbers),
// target/i386/cpu.h (CPU_INTERRUPT_NMI).
//
// Newer plugin APIs can write registers and set the program counter. They are not used: setting
// the program counter needs a virtual address, which a block QEMU shares between mappings does not
// have, and drops the flags that QEMU has not computed yet.
#include "qemu_private.h"

#include <dlfcn.h>

#include <cstdlib>

namespace xenoprof::pmu {
namespace {

constexpr int kInterruptNmi = 0x200;
constexpr int kGdbRax = 0;
constexpr int kGdbRdx = 3;
constexpr int kGdbRip = 16;

// Local vector table entry for performance counters, at the APIC's default base, where every
// system we know leaves it. AMD64 APM volume 2, 16.4.
constexpr uint64_t kApicLvtPerformance = 0xfee00340;
constexpr uint32_t kLvtMasked = 1u << 16;
constexpr uint32_t kLvtDeliveryMode = 7u << 8;
constexpr uint32_t kLvtDeliverNmi = 4u << 8;

template <class Function>
void look_up(Function& function, const char* name, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  if (function == nullptr) {
    missing += missing.empty() ? "" : ", ";
    missing += name;
  }
}

}  // namespace

std::expected<QemuPrivate, std::string> QemuPrivate::find() {
  QemuPrivate qemu;
  std::string missing;
  look_up(qemu.get_cpu_, "qemu_get_cpu", missing);
  look_up(qemu.restore_state_, "cpu_restore_state", missing);
  look_up(qemu.write_register_, "x86_cpu_gdb_write_register", missing);
  look_up(qemu.loop_exit_, "cpu_loop_exit", missing);
  look_up(qemu.interrupt_, "cpu_interrupt", missing);
  look_up(qemu.lock_, "bql_lock_impl", missing);
  look_up(qemu.unlock_, "bql_unlock", missing);
  look_up(qemu.physical_memory_, "cpu_physical_memory_rw", missing);
  if (!missing.empty()) {
    return std::unexpected("this QEMU does not export " + missing +
                           ", so it cannot be given a PMU: use a QEMU built with module support, "
                           "as Debian's is");
  }
  return qemu;
}

void QemuPrivate::restore_state(unsigned vcpu, uintptr_t host_pc) const {
  restore_state_(get_cpu_(static_cast<int>(vcpu)), host_pc);
}

void QemuPrivate::resume(unsigned vcpu, uint64_t rax, uint64_t rdx, uint64_t rip) const {
  QemuCpu* cpu = get_cpu_(static_cast<int>(vcpu));
  write_register_(cpu, reinterpret_cast<uint8_t*>(&rax), kGdbRax);
  write_register_(cpu, reinterpret_cast<uint8_t*>(&rdx), kGdbRdx);
  write_register_(cpu, reinterpret_cast<uint8_t*>(&rip), kGdbRip);
  loop_exit_(cpu);
  std::abort();
}

QemuPrivate::Delivery QemuPrivate::deliver_overflow(unsigned vcpu) const {
  // The big lock: devices (the APIC is one, and answers for the calling vCPU) and interrupt
  // requests are only touched under it.
  lock_(__FILE__, __LINE__);
  uint32_t entry = 0;
  physical_memory_(kApicLvtPerformance, &entry, sizeof(entry), false);
  Delivery delivery = Delivery::kNmi;
  if (entry & kLvtMasked) {
    delivery = Delivery::kMasked;
  } else if ((entry & kLvtDeliveryMode) != kLvtDeliverNmi) {
    delivery = Delivery::kUnsupported;
  } else {
    interrupt_(get_cpu_(static_cast<int>(vcpu)), kInterruptNmi);
  }
  unlock_();
  return delivery;
}

}  // namespace xenoprof::pmu
