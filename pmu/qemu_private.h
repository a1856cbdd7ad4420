// SPDX-License-Identifier: GPL-2.0-or-later
// Everything this plugin needs of QEMU that the public plugin API does not offer: answering an
// instruction in QEMU's place and raising an NMI. QEMU exports these functions for its own modules.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace xenoprof::pmu {

struct QemuCpu;  // QEMU's CPUState

class QemuPrivate {
 public:
  // Looks the functions up in the running process. The error is a sentence for the user.
  static std::expected<QemuPrivate, std::string> find();

  // All of the following are for the calling vCPU's own thread.

  // Brings RIP and the lazily computed flags up to date with the instruction whose callback runs;
  // `host_pc` is that callback's return address.
  void restore_state(unsigned vcpu, uintptr_t host_pc) const;

  // Leaves the running block and goes on at `rip`. Does not run destructors on the stack.
  [[noreturn]] void resume(unsigned vcpu, uint64_t rax, uint64_t rdx, uint64_t rip) const;

  // What the local APIC's performance counter entry makes of an overflow.
  enum class Delivery { kNmi, kMasked, kUnsupported };
  Delivery deliver_overflow(unsigned vcpu) const;

 private:
  QemuCpu* (*get_cpu_)(int index) = nullptr;
  bool (*restore_state_)(QemuCpu* cpu, uintptr_t host_pc) = nullptr;
  int (*write_register_)(QemuCpu* cpu, uint8_t* value, int gdb_number) = nullptr;
  void (*loop_exit_)(QemuCpu* cpu) = nullptr;
  void (*interrupt_)(QemuCpu* cpu, int mask) = nullptr;
  void (*lock_)(const char* file, int line) = nullptr;
  void (*unlock_)() = nullptr;
  void (*physical_memory_)(uint64_t address, void* buffer, uint64_t length, bool write) = nullptr;
};

}  // namespace xenoprof::pmu
