// SPDX-License-Identifier: GPL-2.0-or-later
// Source of the facts: QEMU 10.0, include/exec/cpu-common.h (cpu_restore_state, cpu_loop_exit,
// cpu_physical_memory_rw), include/hw/core/cpu.h (qemu_get_cpu, cpu_interrupt),
// include/qemu/main-loop.h (bql_lock_impl, bql_unlock), target/i386/gdbstub.c (register numbers),
// target/i386/cpu.h (CPU_INTERRUPT_NMI, CPUX86State), target/i386/tcg/helper-tcg.h
// (cpu_svm_check_intercept_param), target/i386/svm.h (exit codes),
// include/tcg/helper-info.h (TCGHelperInfo).
//
// Newer plugin APIs can write registers and set the program counter. They are not used: setting
// the program counter needs a virtual address, which a block QEMU shares between mappings does not
// have, and drops the flags that QEMU has not computed yet.
#include "qemu_private.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace xenoprof::pmu {
namespace {

constexpr int kInterruptNmi = 0x200;
constexpr int kGdbRax = 0;
constexpr int kGdbRbx = 1;
constexpr int kGdbRcx = 2;
constexpr int kGdbRdx = 3;
constexpr int kGdbRip = 16;

constexpr uint32_t kExitRdpmc = 0x6f;
constexpr uint32_t kExitMsr = 0x7c;

// CPUX86State follows CPUState in one object, whose first part is under 64 KiB and whose second
// begins with RAX, RCX, RDX and RBX.
constexpr size_t kEnvironmentSearchEnd = 64 * 1024;
constexpr std::array<int, 4> kFirstRegisters = {kGdbRax, kGdbRcx, kGdbRdx, kGdbRbx};

// Local vector table entry for performance counters, at the APIC's default base, where every
// system we know leaves it. AMD64 APM volume 2, 16.4.
constexpr uint64_t kApicLvtPerformance = 0xfee00340;
constexpr uint32_t kLvtMasked = 1u << 16;
constexpr uint32_t kLvtDeliveryMode = 7u << 8;
constexpr uint32_t kLvtDeliverNmi = 4u << 8;

using Helper = void (*)(void* environment);

// For the hooks, which QEMU calls with nothing of ours.
struct Hooks {
  const QemuPrivate* qemu;
  bool (*wanted)(QemuPrivate::Access access, uint32_t ecx);
  std::array<Helper, 3> helpers;  // QEMU's own, by Access
};
Hooks hooks;

template <QemuPrivate::Access access>
void hook(void* environment) {
  constexpr int kRcx = 1;  // in kFirstRegisters
  const auto ecx = static_cast<uint32_t>(static_cast<const uint64_t*>(environment)[kRcx]);
  if (hooks.wanted(access, ecx)) {
    hooks.qemu->restart(environment, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
  }
  hooks.helpers[static_cast<size_t>(access)](environment);
}

// QEMU's table entry of a helper begins with the function that translated code will call.
bool replace_helper(const char* table_entry, const char* name, Helper replacement,
                    Helper& original) {
  auto* entry = static_cast<Helper*>(dlsym(RTLD_DEFAULT, table_entry));
  original = reinterpret_cast<Helper>(dlsym(RTLD_DEFAULT, name));
  if (entry == nullptr || original == nullptr || *entry != original) {
    return false;
  }
  // The table may be read-only after start-up.
  const auto page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t page = reinterpret_cast<uintptr_t>(entry) & ~(page_size - 1);
  if (mprotect(reinterpret_cast<void*>(page), page_size, PROT_READ | PROT_WRITE) != 0) {
    return false;
  }
  *entry = replacement;
  return true;
}

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
  look_up(qemu.read_register_, "x86_cpu_gdb_read_register", missing);
  look_up(qemu.write_register_, "x86_cpu_gdb_write_register", missing);
  look_up(qemu.loop_exit_, "cpu_loop_exit", missing);
  look_up(qemu.check_intercept_, "cpu_svm_check_intercept_param", missing);
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

bool QemuPrivate::watch_accesses(bool (*wanted)(Access access, uint32_t ecx)) const {
  hooks.qemu = this;
  hooks.wanted = wanted;
  const auto replace = [](const char* entry, const char* name, Helper replacement, Access access) {
    return replace_helper(entry, name, replacement, hooks.helpers[static_cast<size_t>(access)]);
  };
  return replace("helper_info_rdmsr", "helper_rdmsr", hook<Access::kReadMsr>, Access::kReadMsr) &&
         replace("helper_info_wrmsr", "helper_wrmsr", hook<Access::kWriteMsr>, Access::kWriteMsr) &&
         replace("helper_info_rdpmc", "helper_rdpmc", hook<Access::kReadCounter>,
                 Access::kReadCounter);
}

bool QemuPrivate::find_environment(unsigned vcpu) {
  QemuCpu* cpu = get_cpu_(static_cast<int>(vcpu));
  GByteArray* before = g_byte_array_new();
  std::array<uint64_t, kFirstRegisters.size()> mark;
  for (size_t i = 0; i < mark.size(); ++i) {
    read_register_(cpu, before, kFirstRegisters[i]);
    mark[i] = 0x7a3c51d9 + 0x01020304 * i;  // 32 bits: all that can be written outside long mode
    write_register_(cpu, reinterpret_cast<uint8_t*>(&mark[i]), kFirstRegisters[i]);
  }
  const auto* object = reinterpret_cast<const char*>(cpu);
  for (size_t offset = 0; offset < kEnvironmentSearchEnd; offset += alignof(std::max_align_t)) {
    if (std::memcmp(object + offset, mark.data(), sizeof(mark)) == 0) {
      environment_offset_ = offset;
      break;
    }
  }
  for (size_t i = 0; i < mark.size(); ++i) {
    write_register_(cpu, before->data + i * sizeof(uint64_t), kFirstRegisters[i]);
  }
  return environment_offset_ != 0;
}

void QemuPrivate::exit_if_intercepted(unsigned vcpu, Access access, uintptr_t host_pc) const {
  void* environment =
      reinterpret_cast<char*>(get_cpu_(static_cast<int>(vcpu))) + environment_offset_;
  if (access == Access::kReadCounter) {
    check_intercept_(environment, kExitRdpmc, 0, host_pc);
  } else {
    check_intercept_(environment, kExitMsr, access == Access::kWriteMsr ? 1 : 0, host_pc);
  }
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

void QemuPrivate::restart(void* environment, uintptr_t host_pc) const {
  auto* cpu = reinterpret_cast<QemuCpu*>(static_cast<char*>(environment) - environment_offset_);
  restore_state_(cpu, host_pc);
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
