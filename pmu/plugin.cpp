// SPDX-License-Identifier: GPL-2.0-or-later
// Connects the counters to QEMU: counts in translated code, answers the PMU's instructions, and
// raises an NMI at overflow.
//
// Code is cut into stretches that end at a PMU instruction or at the end of QEMU's translation
// block. A stretch is added to the totals when it is entered, so at a PMU instruction the totals
// hold exactly what has retired, that instruction included.
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cinttypes>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "counters.h"
#include "instruction.h"
#include "qemu_plugin_api.h"
#include "qemu_private.h"

namespace xenoprof::pmu {
namespace {

constexpr uint32_t kMsrSelect0 = 0xc0010000;   // PERF_CTL0-3
constexpr uint32_t kMsrCounter0 = 0xc0010004;  // PERF_CTR0-3
constexpr uint64_t kResetVector = 0xfffffff0;

// Gauges rise towards this; reaching it calls on_limit().
constexpr uint64_t kLimit = uint64_t{1} << 62;
// After so much work of a vCPU without an enabled counter anywhere, the plugin goes to sleep.
constexpr uint64_t kIdleSlack = 500'000'000;

// Per-vCPU state, touched by that vCPU's thread alone. Lives in a QEMU scoreboard, zeroed.
struct Vcpu {
  Totals gauge;   // raised by translated code
  Totals offset;  // gauge + offset = the total
  Counters counters;
  uint64_t interrupts;
  uint64_t machine_resets;    // how many of them this vCPU has acted upon
  uint64_t counting_changes;  // of the machine, when this vCPU last looked
  bool enabled;               // counted in `vcpus_counting`
};
static_assert(std::is_trivial_v<Vcpu>);

// Elements are adjacent: the slack keeps other vCPUs off the last cache line. A power of two is
// what translated code multiplies by fastest.
constexpr size_t kVcpuElement = std::bit_ceil(sizeof(Vcpu) + 64);

// What a PMU instruction's callback knows from translation; packed into the callback's pointer.
struct Site {
  InstructionKind kind;
  uint8_t length;
  uint8_t ring;
  uint8_t counted;  // the SourceSet its stretch was counted with
  uint32_t unused;
};
static_assert(sizeof(Site) == sizeof(void*));

struct Registers {
  qemu_plugin_register* rax;
  qemu_plugin_register* rcx;
  qemu_plugin_register* rdx;
  qemu_plugin_register* rip;
  qemu_plugin_register* cs;
  qemu_plugin_register* eflags;
  qemu_plugin_register* cr0;
  qemu_plugin_register* cr4;
};

qemu_plugin_id_t plugin_id;
std::optional<QemuPrivate> qemu;
qemu_plugin_scoreboard* scoreboard;
Registers registers;
std::once_flag registers_found;
bool print_statistics;
bool verbose;

// `counted_sources` is what code translated from now on counts; it is read without the mutex. With
// nothing to count the plugin is asleep: QEMU translates without asking it, which costs nothing,
// and the first access to the PMU wakes it.
std::mutex counting_mutex;
std::atomic<SourceSet> counted_sources;
unsigned vcpus_counting;    // with at least one enabled counter
uint64_t counting_changes;  // how often that changed, and how often the plugin woke
std::atomic<uint64_t> machine_resets;

template <class... Args>
void log(const char* format, Args... args) {
  char line[200];
  std::snprintf(line, sizeof(line), format, args...);
  std::fprintf(stderr, "xenoprof-pmu: %s\n", line);
}

// An odd event or delivery mode is the guest's matter; saying it once is enough.
void log_once(const char* format, unsigned value) {
  static std::mutex mutex;
  static std::set<std::pair<const char*, unsigned>> said;
  const std::lock_guard lock(mutex);
  if (said.size() < 100 && said.emplace(format, value).second) {
    log(format, value);
  }
}

Vcpu& state_of(unsigned vcpu) {
  return *static_cast<Vcpu*>(qemu_plugin_scoreboard_find(scoreboard, vcpu));
}

Totals totals(const Vcpu& vcpu) {
  Totals sum = vcpu.gauge;
  for (unsigned source = 0; source < kSourceCount; ++source) {
    for (unsigned ring = 0; ring < kRingCount; ++ring) {
      sum[source][ring] += vcpu.offset[source][ring];
    }
  }
  return sum;
}

uint64_t read_register(qemu_plugin_register* handle) {
  static thread_local GByteArray* const buffer = g_byte_array_new();
  g_byte_array_set_size(buffer, 0);
  qemu_plugin_read_register(handle, buffer);
  uint64_t value = 0;
  std::memcpy(&value, buffer->data, std::min<size_t>(buffer->len, sizeof(value)));
  return value;
}

// The ring of the code being translated. QEMU keeps blocks of different rings apart, so what holds
// now holds whenever the block runs.
Ring current_ring() {
  constexpr uint64_t kProtectedMode = 1;
  constexpr uint64_t kVirtual8086 = 1 << 17;
  if (!(read_register(registers.cr0) & kProtectedMode)) {
    return kKernel;
  }
  if (read_register(registers.eflags) & kVirtual8086) {
    return kUser;
  }
  return (read_register(registers.cs) & 3) == 3 ? kUser : kKernel;
}

void set_limits(Vcpu& vcpu, const Totals& now) {
  const bool idle = !vcpu.counters.any_enabled();
  const Totals slack = vcpu.counters.slack(now);
  for (unsigned source = 0; source < kSourceCount; ++source) {
    for (unsigned ring = 0; ring < kRingCount; ++ring) {
      const uint64_t most = idle ? kIdleSlack : kLimit / 2;
      vcpu.gauge[source][ring] = kLimit - std::min(slack[source][ring], most);
      vcpu.offset[source][ring] = now[source][ring] - vcpu.gauge[source][ring];
    }
  }
}

void install_callbacks(qemu_plugin_id_t id);

// Has all code translated anew, counting `sources`: this vCPU's before its next block, the others'
// as soon as all have been stopped for it. Wants counting_mutex held.
void count_sources(SourceSet sources) {
  counted_sources = sources;
  if (verbose) {
    log("translated code counts%s%s%s", sources & 1u << kInstructions ? " instructions" : "",
        sources & 1u << kBranches ? " branches" : "", sources == 0 ? " nothing" : "");
  }
  qemu_plugin_reset(plugin_id, install_callbacks);
}

void note_enabled(Vcpu& vcpu) {
  const std::lock_guard lock(counting_mutex);
  const bool enabled = vcpu.counters.any_enabled();
  if (enabled != vcpu.enabled) {
    vcpu.enabled = enabled;
    vcpus_counting += enabled ? 1 : -1;
    ++counting_changes;
  }
  const SourceSet missing = vcpu.counters.sources() & ~counted_sources;
  if (missing != 0) {
    count_sources(counted_sources | missing);
  }
}

bool is_pmu(QemuPrivate::Access access, uint32_t number) {
  if (access == QemuPrivate::Access::kReadCounter) {
    return number < kCounters;
  }
  return number >= kMsrSelect0 && number < kMsrCounter0 + kCounters;
}

// Set while QEMU goes on with an instruction that on_pmu_instruction() has seen.
thread_local bool seen;

// An access that on_pmu_instruction() has not seen comes from code translated while asleep.
bool wake_up(QemuPrivate::Access access, uint32_t number) {
  if (!is_pmu(access, number)) {
    return false;
  }
  if (seen) {
    seen = false;
    return false;
  }
  const std::lock_guard lock(counting_mutex);
  if (counted_sources == 0) {
    ++counting_changes;
    count_sources(1u << kInstructions);
  }
  return true;
}

// For a vCPU that has spent its idle slack. Sleeping is for a machine that left its counters alone
// all that time, not for one that happens to have none enabled now.
void sleep_if_idle(Vcpu& vcpu) {
  const std::lock_guard lock(counting_mutex);
  if (vcpu.counting_changes != counting_changes) {
    vcpu.counting_changes = counting_changes;
  } else if (vcpus_counting == 0 && counted_sources != 0) {
    count_sources(0);
  }
}

// A machine reset clears the counters, but the plugin API does not report one: the first code to
// run afterwards does, and each vCPU acts upon it when it next gets here.
void follow_machine_reset(Vcpu& vcpu) {
  const uint64_t resets = machine_resets;
  if (vcpu.machine_resets != resets) {
    vcpu.machine_resets = resets;
    vcpu.counters = {};
    note_enabled(vcpu);
    set_limits(vcpu, totals(vcpu));
  }
}

void on_reset_vector(unsigned, void*) {
  ++machine_resets;
}

void on_limit(unsigned index, void*) {
  Vcpu& vcpu = state_of(index);
  follow_machine_reset(vcpu);
  const Totals now = totals(vcpu);
  if (vcpu.counters.take_overflow(now)) {
    switch (qemu->deliver_overflow(index)) {
      case QemuPrivate::Delivery::kNmi:
        ++vcpu.interrupts;
        break;
      case QemuPrivate::Delivery::kMasked:
        break;
      case QemuPrivate::Delivery::kUnsupported:
        log_once(
            "a counter of vCPU %u overflowed, but its LVTPC asks for something else than an "
            "NMI, which is not modelled: no interrupt is delivered",
            index);
        break;
    }
  }
  set_limits(vcpu, now);
  if (!vcpu.enabled) {
    sleep_if_idle(vcpu);
  }
}

void write_msr(Vcpu& vcpu, unsigned index, uint32_t msr, uint64_t value) {
  const Totals now = totals(vcpu);
  if (msr >= kMsrCounter0) {
    vcpu.counters.write(msr - kMsrCounter0, value, now);
  } else {
    vcpu.counters.write_select(msr - kMsrSelect0, value, now);
    if ((value & kSelectEnable) && !event_source(event_code(value))) {
      log_once("event 0x%x is not modelled: it counts nothing", event_code(value));
    }
    note_enabled(vcpu);
  }
  set_limits(vcpu, now);
  if (verbose) {
    log("vCPU %u: MSR %08" PRIx32 " = %012" PRIx64, index, msr, value);
  }
}

uint64_t read_msr(const Vcpu& vcpu, uint32_t msr, const Site& site) {
  if (msr < kMsrCounter0) {
    return vcpu.counters.select(msr - kMsrSelect0);
  }
  Totals before = totals(vcpu);
  if (site.counted & 1u << kInstructions) {
    before[kInstructions][site.ring] -= 1;  // the reading instruction itself
  }
  return vcpu.counters.read(msr - kMsrCounter0, before);
}

void on_pmu_instruction(unsigned index, void* packed) {
  const auto host_pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  const auto site = std::bit_cast<Site>(packed);
  using Access = QemuPrivate::Access;
  const Access access = site.kind == InstructionKind::kRdpmc   ? Access::kReadCounter
                        : site.kind == InstructionKind::kWrmsr ? Access::kWriteMsr
                                                               : Access::kReadMsr;
  const auto number = static_cast<uint32_t>(read_register(registers.rcx));
  if (!is_pmu(access, number)) {
    return;
  }
  constexpr uint64_t kUserMayReadCounters = 1 << 8;  // CR4.PCE
  if (access == Access::kReadCounter && site.ring == kUser &&
      !(read_register(registers.cr4) & kUserMayReadCounters)) {
    seen = true;
    return;  // QEMU raises the exception
  }
  qemu->exit_if_intercepted(index, access, host_pc);
  const uint32_t msr = access == Access::kReadCounter ? kMsrCounter0 + number : number;
  Vcpu& vcpu = state_of(index);
  follow_machine_reset(vcpu);
  if (site.kind == InstructionKind::kWrmsr) {
    // QEMU runs the instruction too, and ignores these MSRs.
    const uint64_t low = static_cast<uint32_t>(read_register(registers.rax));
    write_msr(vcpu, index, msr, read_register(registers.rdx) << 32 | low);
    seen = true;
    return;
  }
  const uint64_t value = read_msr(vcpu, msr, site);
  qemu->restore_state(index, host_pc);
  const uint64_t rip = read_register(registers.rip) + site.length;
  qemu->resume(index, static_cast<uint32_t>(value), value >> 32, rip);
}

void count_stretch(qemu_plugin_insn* first, size_t length, bool branch, Ring ring,
                   SourceSet sources) {
  const auto count = [&](Source source, uint64_t amount) {
    if (!(sources & 1u << source) || amount == 0) {
      return;
    }
    const size_t offset = offsetof(Vcpu, gauge) +
                          sizeof(uint64_t) * (static_cast<size_t>(source) * kRingCount + ring);
    const qemu_plugin_u64 gauge{scoreboard, offset};
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(first, QEMU_PLUGIN_INLINE_ADD_U64, gauge,
                                                        amount);
    qemu_plugin_register_vcpu_insn_exec_cond_cb(first, on_limit, QEMU_PLUGIN_CB_NO_REGS,
                                                QEMU_PLUGIN_COND_GE, gauge, kLimit, nullptr);
  };
  count(kInstructions, length);
  count(kBranches, branch ? 1 : 0);
}

// The longest encoding of a PMU instruction looked for: a segment prefix or two before two bytes.
constexpr size_t kLongestPmuInstruction = 4;

InstructionKind kind_of(const qemu_plugin_insn* instruction) {
  std::array<uint8_t, 16> code;
  const size_t size = std::min(qemu_plugin_insn_size(instruction), code.size());
  return classify({code.data(), qemu_plugin_insn_data(instruction, code.data(), size)});
}

void on_translate(qemu_plugin_id_t, qemu_plugin_tb* tb) {
  const SourceSet sources = counted_sources;
  if (qemu_plugin_tb_vaddr(tb) == kResetVector) {
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_reset_vector, QEMU_PLUGIN_CB_NO_REGS, nullptr);
  }
  std::optional<Ring> ring;
  const auto known_ring = [&] {
    if (!ring) {
      ring = current_ring();
    }
    return *ring;
  };
  const size_t count = qemu_plugin_tb_n_insns(tb);
  size_t start = 0;
  for (size_t i = 0; i < count; ++i) {
    qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(tb, i);
    const bool last = i + 1 == count;
    const bool need_branch = last && (sources & 1u << kBranches);
    auto kind = InstructionKind::kOther;
    if (need_branch || qemu_plugin_insn_size(instruction) <= kLongestPmuInstruction) {
      kind = kind_of(instruction);
    }
    const bool privileged = kind == InstructionKind::kRdmsr || kind == InstructionKind::kWrmsr;
    // In user mode QEMU's own RDMSR and WRMSR fault, as they must.
    const bool answered =
        kind == InstructionKind::kRdpmc || (privileged && known_ring() == kKernel);
    if (sources != 0 && (answered || last)) {
      count_stretch(qemu_plugin_tb_get_insn(tb, start), i + 1 - start,
                    kind == InstructionKind::kBranch, known_ring(), sources);
      start = i + 1;
    }
    if (answered) {
      const Site site{kind, static_cast<uint8_t>(qemu_plugin_insn_size(instruction)),
                      static_cast<uint8_t>(known_ring()), static_cast<uint8_t>(sources), 0};
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_pmu_instruction,
                                             QEMU_PLUGIN_CB_RW_REGS, std::bit_cast<void*>(site));
    }
  }
}

void find_registers(unsigned vcpu) {
  GArray* list = qemu_plugin_get_registers();
  const auto* descriptors = reinterpret_cast<const qemu_plugin_reg_descriptor*>(list->data);
  const auto find = [&](std::string_view name) -> qemu_plugin_register* {
    for (unsigned i = 0; i < list->len; ++i) {
      if (descriptors[i].name == name) {
        return descriptors[i].handle;
      }
    }
    log("QEMU does not offer register %s of this CPU: the counters will not work",
        std::string(name).c_str());
    std::abort();
  };
  registers = {.rax = find("rax"),
               .rcx = find("rcx"),
               .rdx = find("rdx"),
               .rip = find("rip"),
               .cs = find("cs"),
               .eflags = find("eflags"),
               .cr0 = find("cr0"),
               .cr4 = find("cr4")};
  g_array_free(list, 1);
  if (!qemu->find_environment(vcpu)) {
    log("cannot find the registers in this QEMU's CPU object: use another version of QEMU");
    std::abort();
  }
}

void on_vcpu_start(qemu_plugin_id_t, unsigned index) {
  std::call_once(registers_found, find_registers, index);
  Vcpu& vcpu = state_of(index);
  vcpu = {};
  set_limits(vcpu, Totals{});
}

void on_exit(qemu_plugin_id_t, void*) {
  if (!print_statistics) {
    return;
  }
  for (int i = 0; i < qemu_plugin_num_vcpus(); ++i) {
    const Vcpu& vcpu = state_of(static_cast<unsigned>(i));
    const Totals now = totals(vcpu);
    log("vCPU %d: counted %" PRIu64 " user and %" PRIu64 " kernel instructions, %" PRIu64
        " user and %" PRIu64 " kernel branches, %" PRIu64 " NMIs",
        i, now[kInstructions][kUser], now[kInstructions][kKernel], now[kBranches][kUser],
        now[kBranches][kKernel], vcpu.interrupts);
  }
}

void install_callbacks(qemu_plugin_id_t id) {
  qemu_plugin_register_vcpu_init_cb(id, on_vcpu_start);
  if (counted_sources != 0) {
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  }
  qemu_plugin_register_atexit_cb(id, on_exit, nullptr);
}

bool parse_arguments(int count, char** arguments) {
  for (int i = 0; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "stats=on" || argument == "stats=off") {
      print_statistics = argument == "stats=on";
    } else if (argument == "verbose=on" || argument == "verbose=off") {
      verbose = argument == "verbose=on";
    } else {
      log("unknown argument \"%s\": there are stats=on and verbose=on", arguments[i]);
      return false;
    }
  }
  return true;
}

int install(qemu_plugin_id_t id, const qemu_info_t& info, int count, char** arguments) {
  if (!info.system_emulation || std::string_view(info.target_name) != "x86_64") {
    log("this plugin gives a PMU to machines of qemu-system-x86_64 only, not to %s",
        info.target_name);
    return 1;
  }
  if (!parse_arguments(count, arguments)) {
    return 1;
  }
  auto found = QemuPrivate::find();
  if (!found) {
    log("%s", found.error().c_str());
    return 1;
  }
  qemu = *found;
  if (!qemu->watch_accesses(wake_up)) {
    log("this QEMU's helpers for RDMSR, WRMSR and RDPMC are not where they were in QEMU 10.0, so "
        "it "
        "cannot be given a PMU: use another version");
    return 1;
  }
  plugin_id = id;
  scoreboard = qemu_plugin_scoreboard_new(kVcpuElement);
  install_callbacks(id);
  return 0;
}

}  // namespace
}  // namespace xenoprof::pmu

extern "C" {

// The plugin API version this is written for. QEMU 9.2 to 10.0 have it; newer ones accept it, and
// older ones refuse to load the plugin.
[[gnu::visibility("default")]] extern int qemu_plugin_version;
int qemu_plugin_version = 4;

[[gnu::visibility("default")]] int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info,
                                                       int argc, char** argv) {
  return xenoprof::pmu::install(id, *info, argc, argv);
}

}  // extern "C"
