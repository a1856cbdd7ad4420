// SPDX-License-Identifier: GPL-2.0-or-later
// Everything this plugin needs of QEMU that the public plugin API does not offer: answering an
// instruction in QEMU's place, raising an NMI, and what a hypervisor in the machine intercepts.
// QEMU exports these functions for its own modules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>

#include "qemu_plugin_api.h"

namespace xenoprof::pmu {

struct QemuCpu;  // QEMU's CPUState

class QemuPrivate {
 public:
  // Looks the functions up in the running process. The error is a sentence for the user.
  static std::expected<QemuPrivate, std::string> find();

  enum class Access { kReadMsr, kWriteMsr, kReadCounter };

  // From now on `wanted` is asked before QEMU itself executes an RDMSR, WRMSR or RDPMC of number
  // `ecx`. True has QEMU leave the running block and start the instruction again. Once, before the
  // first vCPU runs; false if this QEMU's table of helpers is not as expected.
  bool watch_accesses(bool (*wanted)(Access access, uint32_t ecx)) const;

  // All of the following are for the calling vCPU's own thread.

  // Finds out where QEMU keeps a vCPU's registers; once, before the first vCPU runs. False if they
  // are nowhere to be found.
  bool find_environment(unsigned vcpu);

  // In a nested guest whose hypervisor intercepts this access, exits to that hypervisor and does
  // not return; `host_pc` as for restore_state().
  void exit_if_intercepted(unsigned vcpu, Access access, uintptr_t host_pc) const;

  // Brings RIP and the lazily computed flags up to date with the instruction whose callback runs;
  // `host_pc` is that callback's return address.
  void restore_state(unsigned vcpu, uintptr_t host_pc) const;

  // Leaves the running block and goes on at `rip`. Does not run destructors on the stack.
  [[noreturn]] void resume(unsigned vcpu, uint64_t rax, uint64_t rdx, uint64_t rip) const;

  // What the local APIC's performance counter entry makes of an overflow.
  enum class Delivery { kNmi, kMasked, kUnsupported };
  Delivery deliver_overflow(unsigned vcpu) const;

  // Leaves the running block and starts the instruction again that called into us from `host_pc`.
  [[noreturn]] void restart(void* environment, uintptr_t host_pc) const;

 private:
  QemuCpu* (*get_cpu_)(int index) = nullptr;
  bool (*restore_state_)(QemuCpu* cpu, uintptr_t host_pc) = nullptr;
  int (*read_register_)(QemuCpu* cpu, GByteArray* value, int gdb_number) = nullptr;
  int (*write_register_)(QemuCpu* cpu, uint8_t* value, int gdb_number) = nullptr;
  void (*check_intercept_)(void* environment, uint32_t exit_code, uint64_t parameter,
                           uintptr_t host_pc) = nullptr;
  void (*loop_exit_)(QemuCpu* cpu) = nullptr;
  void (*interrupt_)(QemuCpu* cpu, int mask) = nullptr;
  void (*lock_)(const char* file, int line) = nullptr;
  void (*unlock_)() = nullptr;
  void (*physical_memory_)(uint64_t address, void* buffer, uint64_t length, bool write) = nullptr;
  size_t environment_offset_ = 0;  // of CPUX86State in CPUState
};

}  // namespace xenoprof::pmu
