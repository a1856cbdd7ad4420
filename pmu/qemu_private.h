// SPDX-License-Identifier: GPL-2.0-or-later
// Everything this plugin needs of QEMU that the public plugin API does not offer: answering an
// instruction in QEMU's place, raising an NMI, what a hypervisor in the machine intercepts, and
// when a vCPU's address space or flow of control changes. QEMU exports these functions for its own
// modules.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>

#include "address_space.h"
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

  // What vCPUs do between instructions, or by instructions that no translated code of ours sees.
  // Each is called after it has happened, on the vCPU's thread.
  class Listener {
   public:
    virtual void wrote_control_register(unsigned vcpu, int number, uint64_t before,
                                        uint64_t after) = 0;
    virtual void invalidated_page(unsigned vcpu, uint64_t address) = 0;
    // VMRUN has begun a guest. If it had to begin with an exception, took_exception() is called
    // instead.
    virtual void entered_guest(unsigned vcpu) = 0;
    virtual void left_guest(unsigned vcpu) = 0;  // a #VMEXIT
    // An exception or software interrupt.
    virtual void took_exception(unsigned vcpu) = 0;
    // A hardware interrupt or NMI; user and guest tell what the vCPU ran before.
    virtual void took_interrupt(unsigned vcpu, bool user, bool guest) = 0;

   protected:
    ~Listener() = default;
  };
  // Once, before the first vCPU runs; false if this QEMU's tables are not as expected.
  bool watch_processors(Listener& listener) const;

  // QEMU's own mistakes that end hypervisors and their guests inside the machine. Each to be called
  // once, before any vCPU runs; false if this QEMU is not as expected.
  //
  // A VMRUN that injects an external interrupt delivers it, but leaves it in exception_index: the
  // next time that QEMU stops this vCPU for another reason than an interrupt, it delivers it again.
  // This has VMRUN forget it.
  bool mend_vmrun() const;
  void forget_exception(unsigned vcpu) const;
  // QEMU changes the first vCPU's state (hflags2: who may be interrupted, whose page tables hold)
  // from the thread of any other that loads the x87's status word, to withdraw IGNNE. Done beside
  // that vCPU's own change, as at the end of a guest's turn, the own one is lost: the hypervisor
  // then goes on in its guest's memory. This makes it do so only if there is something to withdraw,
  // which is never with CR0.NE set.
  bool mend_clear_ignne() const;
  void clear_ignne() const;

  // All of the following are for the calling vCPU's own thread.

  // Finds out where QEMU keeps a vCPU's registers; once, before the first vCPU runs. False if they
  // are nowhere to be found.
  bool find_environment(unsigned vcpu);

  // Makes a vCPU known, before it runs; false if there are too many.
  static constexpr unsigned kMaxVcpus = 1024;
  bool add_vcpu(unsigned vcpu);

  // Finds out where QEMU keeps the instruction at hand, from within the callback for a translation
  // of `block`.
  void find_instruction_at_hand(const qemu_plugin_tb* block);
  // While no vCPU translates. A guest's fault in the middle of a translation leaves the instruction
  // at hand where it is until the next translation with a plugin; QEMU crashes in one without.
  // False if it is not known where.
  bool forget_instructions_at_hand() const;

  unsigned current_vcpu() const;  // the calling thread's
  unsigned vcpu_of_cpu(const QemuCpu* cpu) const;
  unsigned vcpu_of_environment(const void* environment) const;

  // In a nested guest whose hypervisor intercepts this access, exits to that hypervisor and does
  // not return; `host_pc` as for restore_state().
  void exit_if_intercepted(unsigned vcpu, Access access, uintptr_t host_pc) const;

  // The program counter at the start of a translation block, as a linear address. Within the block
  // it is stale.
  struct ProgramCounter {
    const uint64_t* offset;        // in the code segment
    const uint64_t* segment_base;  // to be added outside 64-bit code
  };
  ProgramCounter program_counter(unsigned vcpu) const;

  bool in_guest(unsigned vcpu) const;  // of a hypervisor that uses SVM
  bool in_user(unsigned vcpu) const;   // in ring 3
  bool in_64_bit_code(unsigned vcpu) const;
  AddressSpace address_space(unsigned vcpu) const;
  // In a guest: TLB_CONTROL of its VMCB.
  uint8_t tlb_control(unsigned vcpu) const;
  uint64_t read_physical(uint64_t address) const;  // eight bytes, aligned
  bool is_device(uint64_t physical_address) const;

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
  template <class Type>
  Type field(unsigned vcpu, size_t offset) const;
  char* environment(unsigned vcpu) const;
  static const void** translator();

  bool (*locked_)() = nullptr;
  void (*lock_)(const char* file, int line) = nullptr;
  void (*unlock_)() = nullptr;
  void (*physical_memory_)(uint64_t address, void* buffer, uint64_t length, bool write) = nullptr;
  bool (*is_device_)(uint64_t address) = nullptr;
  int (*pending_interrupt_)(QemuCpu* cpu, int request) = nullptr;
  std::array<QemuCpu*, kMaxVcpus> cpus_{};             // known ones; the rest null
  size_t environment_offset_ = 0;                      // of CPUX86State in CPUState
  std::array<const void**, kMaxVcpus> translators_{};  // of each vCPU's thread, its TCGContext
  size_t instruction_at_hand_ = 0;                     // in words of it; 0 if unknown
  size_t exception_index_ = 0;                         // in CPUState; 0 if unknown
};

}  // namespace xenoprof::pmu
