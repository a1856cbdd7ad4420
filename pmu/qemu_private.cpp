// SPDX-License-Identifier: GPL-2.0-or-later
// Source of the facts: QEMU 10.0, include/exec/cpu-common.h (cpu_restore_state, cpu_loop_exit,
// cpu_physical_memory_rw), include/hw/core/cpu.h (qemu_get_cpu,
// current_cpu, cpu_interrupt),
// include/qemu/main-loop.h (bql_lock_impl, bql_unlock), target/i386/gdbstub.c (register numbers),
// target/i386/cpu.h (CPU_INTERRUPT_NMI, CPUX86State), target/i386/tcg/helper-tcg.h
// (cpu_svm_check_intercept_param), target/i386/svm.h (exit codes),
// include/tcg/helper-info.h (TCGHelperInfo), include/hw/core/tcg-cpu-ops.h (TCGCPUOps),
// target/i386/tcg/system/seg_helper.c (x86_cpu_exec_interrupt, x86_cpu_do_interrupt),
// include/tcg/tcg.h (tcg_ctx, TCGContext), accel/tcg/plugin-gen.c (plugin_insn),
// accel/tcg/cpu-exec.c (cpu_handle_interrupt, cpu_handle_exception),
// accel/tcg/cpu-exec-common.c (cpu_loop_exit_noexc),
// target/i386/tcg/system/svm_helper.c (helper_vmrun),
// target/i386/tcg/system/fpu_helper.c (cpu_clear_ignne). Of VMCB: AMD64 APM volume 2 (24593),
// appendix B.
//
// Newer plugin APIs can write registers and set the program counter. They are not used: setting
// the program counter needs a virtual address, which a block QEMU shares between mappings does not
// have, and drops the flags that QEMU has not computed yet.
#include "qemu_private.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

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

// TCGContext has tens of KiB. plugin_tb, plugin_db and plugin_insn are three words of its
// beginning.
constexpr size_t kTranslatorSearchWords = 1024;

// From the start of CPUX86State.
constexpr size_t kRip = 16 * 8;
constexpr size_t kHflags = kRip + 48;
constexpr size_t kHflags2 = kHflags + 4;
constexpr size_t kSegments = kHflags2 + 4;
constexpr size_t kSegmentSize = 24;
constexpr size_t kSegmentBase = 8;
constexpr size_t kCodeSegment = 1;
constexpr size_t kControlRegisters = kSegments + 10 * kSegmentSize;  // ES to GS, LDT, TR, GDT, IDT
constexpr uint32_t kHflagRing = 3;
constexpr uint32_t kHflagLongMode = 1 << 14;
constexpr uint32_t kHflag64BitCode = 1 << 15;
constexpr uint32_t kHflagGuest = 1 << 21;
constexpr uint32_t kHflag2Ignne = 1 << 7;

constexpr uint64_t kVmcbAsid = 0x58;  // 32 bits, then TLB_CONTROL in 8
constexpr uint64_t kVmcbNestedControl = 0x90;
constexpr uint64_t kVmcbNestedCr3 = 0xb0;
constexpr uint64_t kVmcbNestedPaging = 1;

constexpr int kInterruptHard = 0x2;
constexpr int kInterruptVirtual = 0x100;

// Local vector table entry for performance counters, at the APIC's default base, where every
// system we know leaves it. AMD64 APM volume 2, 16.4.
constexpr uint64_t kApicLvtPerformance = 0xfee00340;
constexpr uint32_t kLvtMasked = 1u << 16;
constexpr uint32_t kLvtDeliveryMode = 7u << 8;
constexpr uint32_t kLvtDeliverNmi = 4u << 8;

using Helper = void (*)(void* environment);
using WriteControlRegister = void (*)(void* environment, uint32_t number, uint64_t value);
using FlushPage = void (*)(void* environment, uint64_t address);
using Vmrun = void (*)(void* environment, int address_size, int next_rip_addend);
using TakeException = void (*)(QemuCpu* cpu);
using TakeInterrupt = bool (*)(QemuCpu* cpu, int request);

// For the hooks, which QEMU calls with nothing of ours.
struct Hooks {
  const QemuPrivate* qemu;
  bool (*wanted)(QemuPrivate::Access access, uint32_t ecx);
  std::array<Helper, 3> helpers;  // QEMU's own, by Access
  QemuPrivate::Listener* listener;
  WriteControlRegister write_control_register;
  FlushPage flush_page;
  Vmrun vmrun;
  TakeException take_exception;
  TakeInterrupt take_interrupt;
  int (*pending_interrupt)(QemuCpu* cpu, int request);
};
Hooks hooks;

// A CPU's own guest control block, as VMRUN was given it. By vCPU; each is its vCPU's own.
std::array<uint64_t, QemuPrivate::kMaxVcpus> control_blocks;

template <QemuPrivate::Access access>
void hook(void* environment) {
  constexpr int kRcx = 1;  // in kFirstRegisters
  const auto ecx = static_cast<uint32_t>(static_cast<const uint64_t*>(environment)[kRcx]);
  if (hooks.wanted(access, ecx)) {
    hooks.qemu->restart(environment, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
  }
  hooks.helpers[static_cast<size_t>(access)](environment);
}

void write_control_register(void* environment, uint32_t number, uint64_t value) {
  const auto* registers =
      reinterpret_cast<const uint64_t*>(static_cast<const char*>(environment) + kControlRegisters);
  const uint64_t before = number <= 4 ? registers[number] : 0;
  hooks.write_control_register(environment, number, value);
  if (number <= 4) {
    hooks.listener->wrote_control_register(hooks.qemu->vcpu_of_environment(environment),
                                           static_cast<int>(number), before, registers[number]);
  }
}

void flush_page(void* environment, uint64_t address) {
  hooks.flush_page(environment, address);
  hooks.listener->invalidated_page(hooks.qemu->vcpu_of_environment(environment), address);
}

void vmrun(void* environment, int address_size, int next_rip_addend) {
  constexpr int k64BitAddresses = 2;
  const unsigned vcpu = hooks.qemu->vcpu_of_environment(environment);
  const uint64_t rax = *static_cast<const uint64_t*>(environment);
  control_blocks[vcpu] = address_size == k64BitAddresses ? rax : static_cast<uint32_t>(rax);
  hooks.vmrun(environment, address_size, next_rip_addend);
  hooks.qemu->forget_exception(vcpu);
  if (hooks.listener != nullptr) {
    hooks.listener->entered_guest(vcpu);
  }
}

void take_exception(QemuCpu* cpu) {
  const unsigned vcpu = hooks.qemu->vcpu_of_cpu(cpu);
  const bool guest = hooks.qemu->in_guest(vcpu);
  hooks.take_exception(cpu);
  if (guest && !hooks.qemu->in_guest(vcpu)) {
    hooks.listener->left_guest(vcpu);
  } else {
    hooks.listener->took_exception(vcpu);
  }
}

bool take_interrupt(QemuCpu* cpu, int request) {
  constexpr int kCounted = kInterruptHard | kInterruptNmi | kInterruptVirtual;
  const unsigned vcpu = hooks.qemu->vcpu_of_cpu(cpu);
  const bool counted = (hooks.pending_interrupt(cpu, request) & kCounted) != 0;
  const bool user = hooks.qemu->in_user(vcpu);
  const bool guest = hooks.qemu->in_guest(vcpu);
  const bool taken = hooks.take_interrupt(cpu, request);
  if (taken && counted) {
    hooks.listener->took_interrupt(vcpu, user, guest);
  }
  return taken;
}

bool protect(const void* begin, size_t size, int protection) {
  const auto page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t page = reinterpret_cast<uintptr_t>(begin) & ~(page_size - 1);
  return mprotect(reinterpret_cast<void*>(page), reinterpret_cast<uintptr_t>(begin) + size - page,
                  protection) == 0;
}

// Tables that QEMU calls through may be read-only after start-up.
template <class Function>
bool replace(Function* entry, Function replacement) {
  if (!protect(entry, sizeof(*entry), PROT_READ | PROT_WRITE)) {
    return false;
  }
  *entry = replacement;
  return true;
}

// For what QEMU calls directly, and while none of its threads does: makes the function of that name
// jump to ours.
bool replace_code(const char* name, void (*replacement)()) {
#ifdef __x86_64__
  void* const code = dlsym(RTLD_DEFAULT, name);
  Dl_info program;
  void* found = nullptr;
  std::array<uint8_t, 12> jump = {0x48, 0xb8, 0, 0, 0,    0,
                                  0,    0,    0, 0, 0xff, 0xe0};  // movabs, jmp rax
  const auto target = reinterpret_cast<uintptr_t>(replacement);
  std::memcpy(jump.data() + 2, &target, sizeof(target));
  if (code == nullptr || dladdr1(code, &program, &found, RTLD_DL_SYMENT) == 0 || found == nullptr ||
      static_cast<const ElfW(Sym)*>(found)->st_size < jump.size() ||
      !protect(code, jump.size(), PROT_READ | PROT_WRITE | PROT_EXEC)) {
    return false;
  }
  std::memcpy(code, jump.data(), jump.size());
  return protect(code, jump.size(), PROT_READ | PROT_EXEC);
#else
  (void)name;
  (void)replacement;
  return false;
#endif
}

// QEMU's table entry of a helper begins with the function that translated code will call.
template <class Function>
bool replace_helper(const char* table_entry, const char* name, Function replacement,
                    Function& original) {
  auto* entry = static_cast<Function*>(dlsym(RTLD_DEFAULT, table_entry));
  original = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  if (entry == nullptr || original == nullptr) {
    return false;
  }
  return *entry == replacement || (*entry == original && replace(entry, replacement));
}

// QEMU's table of what a processor does has no name that is exported: it is where the program's
// data hold the function's address.
template <class Function>
bool replace_in_data(const char* name, Function replacement, Function& original) {
  original = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  if (original == nullptr) {
    return false;
  }
  struct Search {
    Function wanted;
    std::vector<Function*> found;
  } search{original, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* program, size_t, void* data) {
        auto& sought = *static_cast<Search*>(data);
        for (unsigned i = 0; i < program->dlpi_phnum; ++i) {
          const auto& header = program->dlpi_phdr[i];
          if (header.p_type != PT_LOAD || !(header.p_flags & PF_W)) {
            continue;
          }
          auto* word = reinterpret_cast<Function*>(program->dlpi_addr + header.p_vaddr);
          for (size_t left = header.p_memsz / sizeof(Function); left > 0; --left, ++word) {
            if (*word == sought.wanted) {
              sought.found.push_back(word);
            }
          }
        }
        return 1;  // the program itself comes first, and is all that is looked at
      },
      &search);
  return search.found.size() == 1 && replace(search.found.front(), replacement);
}

// CPUState's exception_index is what cpu_loop_exit_noexc() sets to -1. That is one instruction,
// movl $-1, OFFSET(REGISTER), near its beginning. 0 if there is none.
size_t find_exception_index(const uint8_t* code) {
  constexpr size_t kSearchEnd = 32;
  constexpr uint8_t kMoveImmediate = 0xc7;
  constexpr uint8_t kOffsetAndRegister = 0x80;  // ModRM: 32 bits of offset; the low 3 bits vary
  constexpr uint8_t kOtherForm = 0x84;          // a SIB byte follows
  for (size_t i = 0; i < kSearchEnd; ++i) {
    if (code[i] != kMoveImmediate || (code[i + 1] & ~7) != kOffsetAndRegister ||
        code[i + 1] == kOtherForm) {
      continue;
    }
    uint32_t offset = 0;
    int32_t value = 0;
    std::memcpy(&offset, code + i + 2, sizeof(offset));
    std::memcpy(&value, code + i + 6, sizeof(value));
    if (value == -1 && offset < kEnvironmentSearchEnd) {
      return offset;
    }
  }
  return 0;
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
  QemuCpu** current = nullptr;
  look_up(current, "current_cpu", missing);
  look_up(qemu.pending_interrupt_, "x86_cpu_pending_interrupt", missing);
  look_up(qemu.locked_, "bql_locked", missing);
  look_up(qemu.lock_, "bql_lock_impl", missing);
  look_up(qemu.unlock_, "bql_unlock", missing);
  look_up(qemu.physical_memory_, "cpu_physical_memory_rw", missing);
  look_up(qemu.is_device_, "cpu_physical_memory_is_io", missing);
  if (!missing.empty()) {
    return std::unexpected("this QEMU does not export " + missing +
                           ", so it cannot be given a PMU: use a QEMU built with module support, "
                           "as Debian's is");
  }
  const auto* no_exception =
      static_cast<const uint8_t*>(dlsym(RTLD_DEFAULT, "cpu_loop_exit_noexc"));
  qemu.exception_index_ = no_exception == nullptr ? 0 : find_exception_index(no_exception);
  return qemu;
}

bool QemuPrivate::watch_accesses(bool (*wanted)(Access access, uint32_t ecx)) const {
  hooks.qemu = this;
  hooks.wanted = wanted;
  const auto watch = [](const char* entry, const char* name, Helper replacement, Access access) {
    return replace_helper(entry, name, replacement, hooks.helpers[static_cast<size_t>(access)]);
  };
  return watch("helper_info_rdmsr", "helper_rdmsr", hook<Access::kReadMsr>, Access::kReadMsr) &&
         watch("helper_info_wrmsr", "helper_wrmsr", hook<Access::kWriteMsr>, Access::kWriteMsr) &&
         watch("helper_info_rdpmc", "helper_rdpmc", hook<Access::kReadCounter>,
               Access::kReadCounter);
}

bool QemuPrivate::watch_processors(Listener& listener) const {
  hooks.qemu = this;
  hooks.listener = &listener;
  hooks.pending_interrupt = pending_interrupt_;
  return replace_helper("helper_info_write_crN", "helper_write_crN", write_control_register,
                        hooks.write_control_register) &&
         replace_helper("helper_info_flush_page", "helper_flush_page", flush_page,
                        hooks.flush_page) &&
         replace_helper("helper_info_vmrun", "helper_vmrun", vmrun, hooks.vmrun) &&
         replace_in_data("x86_cpu_do_interrupt", take_exception, hooks.take_exception) &&
         replace_in_data("x86_cpu_exec_interrupt", take_interrupt, hooks.take_interrupt);
}

bool QemuPrivate::mend_vmrun() const {
  hooks.qemu = this;
  return exception_index_ != 0 &&
         replace_helper("helper_info_vmrun", "helper_vmrun", vmrun, hooks.vmrun);
}

void QemuPrivate::forget_exception(unsigned vcpu) const {
  if (exception_index_ == 0) {
    return;
  }
  constexpr int32_t kNone = -1;
  std::memcpy(reinterpret_cast<char*>(cpus_[vcpu]) + exception_index_, &kNone, sizeof(kNone));
}

bool QemuPrivate::mend_clear_ignne() const {
  hooks.qemu = this;
  return replace_code("cpu_clear_ignne", [] { hooks.qemu->clear_ignne(); });
}

void QemuPrivate::clear_ignne() const {
  if (environment_offset_ == 0 || cpus_[0] == nullptr) {
    return;  // no CPU has run yet
  }
  auto& flags = *reinterpret_cast<uint32_t*>(environment(0) + kHflags2);
  if ((std::atomic_ref(flags).load(std::memory_order_relaxed) & kHflag2Ignne) != 0) {
    flags &= ~kHflag2Ignne;
  }
}

bool QemuPrivate::find_environment(unsigned vcpu) {
  QemuCpu* cpu = get_cpu_(static_cast<int>(vcpu));
  cpus_[vcpu] = cpu;
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
  if (environment_offset_ == 0) {
    return false;
  }
  return true;
}

bool QemuPrivate::add_vcpu(unsigned vcpu) {
  if (vcpu >= kMaxVcpus) {
    return false;
  }
  cpus_[vcpu] = get_cpu_(static_cast<int>(vcpu));
  translators_[vcpu] = translator();
  return true;
}

// The calling thread's.
const void** QemuPrivate::translator() {
  auto* const* const context = static_cast<const void** const*>(dlsym(RTLD_DEFAULT, "tcg_ctx"));
  return context == nullptr ? nullptr : *context;
}

void QemuPrivate::find_instruction_at_hand(const qemu_plugin_tb* block) {
  const void* const* const words = translator();
  const void* const last = qemu_plugin_tb_get_insn(block, qemu_plugin_tb_n_insns(block) - 1);
  for (size_t i = 0; words != nullptr && i < kTranslatorSearchWords; ++i) {
    if (words[i] == block && words[i + 2] == last) {
      instruction_at_hand_ = i + 2;
      return;
    }
  }
}

bool QemuPrivate::forget_instructions_at_hand() const {
  if (instruction_at_hand_ == 0) {
    return false;
  }
  for (const void** const words : translators_) {
    if (words != nullptr) {
      words[instruction_at_hand_] = nullptr;
    }
  }
  return true;
}

unsigned QemuPrivate::vcpu_of_cpu(const QemuCpu* cpu) const {
  return static_cast<unsigned>(std::find(cpus_.begin(), cpus_.end(), cpu) - cpus_.begin());
}

unsigned QemuPrivate::current_vcpu() const {
  static thread_local QemuCpu* const* const current =
      static_cast<QemuCpu* const*>(dlsym(RTLD_DEFAULT, "current_cpu"));
  return vcpu_of_cpu(*current);
}

unsigned QemuPrivate::vcpu_of_environment(const void* environment) const {
  return vcpu_of_cpu(reinterpret_cast<const QemuCpu*>(static_cast<const char*>(environment) -
                                                      environment_offset_));
}

char* QemuPrivate::environment(unsigned vcpu) const {
  return reinterpret_cast<char*>(cpus_[vcpu]) + environment_offset_;
}

template <class Type>
Type QemuPrivate::field(unsigned vcpu, size_t offset) const {
  Type value;
  std::memcpy(&value, environment(vcpu) + offset, sizeof(value));
  return value;
}

QemuPrivate::ProgramCounter QemuPrivate::program_counter(unsigned vcpu) const {
  const char* start = environment(vcpu);
  return {reinterpret_cast<const uint64_t*>(start + kRip),
          reinterpret_cast<const uint64_t*>(start + kSegments + kCodeSegment * kSegmentSize +
                                            kSegmentBase)};
}

bool QemuPrivate::in_guest(unsigned vcpu) const {
  return (field<uint32_t>(vcpu, kHflags) & kHflagGuest) != 0;
}

bool QemuPrivate::in_user(unsigned vcpu) const {
  return (field<uint32_t>(vcpu, kHflags) & kHflagRing) == 3;
}

bool QemuPrivate::in_64_bit_code(unsigned vcpu) const {
  return (field<uint32_t>(vcpu, kHflags) & kHflag64BitCode) != 0;
}

AddressSpace QemuPrivate::address_space(unsigned vcpu) const {
  const auto control = field<std::array<uint64_t, 5>>(vcpu, kControlRegisters);
  AddressSpace space;
  space.cr0 = control[0];
  space.cr3 = control[3];
  space.cr4 = control[4];
  space.long_mode = (field<uint32_t>(vcpu, kHflags) & kHflagLongMode) != 0;
  if (in_guest(vcpu)) {
    const uint64_t block = control_blocks[vcpu];
    space.asid = static_cast<uint16_t>(read_physical(block + kVmcbAsid));
    space.nested = (read_physical(block + kVmcbNestedControl) & kVmcbNestedPaging) != 0;
    space.nested_cr3 = space.nested ? read_physical(block + kVmcbNestedCr3) : 0;
  }
  return space;
}

uint8_t QemuPrivate::tlb_control(unsigned vcpu) const {
  return static_cast<uint8_t>(read_physical(control_blocks[vcpu] + kVmcbAsid) >> 32);
}

uint64_t QemuPrivate::read_physical(uint64_t address) const {
  uint64_t value = 0;
  physical_memory_(address, &value, sizeof(value), false);
  return value;
}

bool QemuPrivate::is_device(uint64_t physical_address) const {
  return is_device_(physical_address);
}

void QemuPrivate::exit_if_intercepted(unsigned vcpu, Access access, uintptr_t host_pc) const {
  void* environment = this->environment(vcpu);
  if (access == Access::kReadCounter) {
    check_intercept_(environment, kExitRdpmc, 0, host_pc);
  } else {
    check_intercept_(environment, kExitMsr, access == Access::kWriteMsr ? 1 : 0, host_pc);
  }
}

void QemuPrivate::restore_state(unsigned vcpu, uintptr_t host_pc) const {
  restore_state_(cpus_[vcpu], host_pc);
}

void QemuPrivate::resume(unsigned vcpu, uint64_t rax, uint64_t rdx, uint64_t rip) const {
  QemuCpu* cpu = cpus_[vcpu];
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
  // requests are only touched under it. QEMU holds it itself while it takes an interrupt.
  const bool locked_before = locked_();
  if (!locked_before) {
    lock_(__FILE__, __LINE__);
  }
  uint32_t entry = 0;
  physical_memory_(kApicLvtPerformance, &entry, sizeof(entry), false);
  Delivery delivery = Delivery::kNmi;
  if (entry & kLvtMasked) {
    delivery = Delivery::kMasked;
  } else if ((entry & kLvtDeliveryMode) != kLvtDeliverNmi) {
    delivery = Delivery::kUnsupported;
  } else {
    interrupt_(cpus_[vcpu], kInterruptNmi);
  }
  if (!locked_before) {
    unlock_();
  }
  return delivery;
}

}  // namespace xenoprof::pmu
