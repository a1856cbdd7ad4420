// SPDX-License-Identifier: GPL-2.0-or-later
// The plugin as QEMU sees it: its arguments, its callbacks, and the answers to PMU instructions.
#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cstdlib>
#include <cstring>
#include <expected>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "counting.h"
#include "geometry.h"
#include "models.h"
#include "qemu_plugin_api.h"
#include "qemu_private.h"
#include "translation.h"

namespace xenoprof::pmu {
namespace {

struct Registers {
  qemu_plugin_register* rax;
  qemu_plugin_register* rcx;
  qemu_plugin_register* rdx;
  qemu_plugin_register* rip;
  qemu_plugin_register* cr0;
  qemu_plugin_register* cr3;
  qemu_plugin_register* cr4;
};

struct Arguments {
  Geometry geometry;
  bool statistics = false;
  bool verbose = false;
  bool counters = true;
};

std::optional<QemuPrivate> qemu;
Arguments arguments;
Registers registers;
std::once_flag registers_found;

uint64_t read_register(qemu_plugin_register* handle) {
  static thread_local GByteArray* const buffer = g_byte_array_new();
  g_byte_array_set_size(buffer, 0);
  qemu_plugin_read_register(handle, buffer);
  uint64_t value = 0;
  std::memcpy(&value, buffer->data, std::min<size_t>(buffer->len, sizeof(value)));
  return value;
}

// Set while QEMU goes on with an instruction that on_pmu_instruction() has seen.
thread_local bool seen;

// Asked before each access that QEMU itself makes. One that on_pmu_instruction() has not seen comes
// from code translated while asleep.
bool is_for_us(QemuPrivate::Access access, uint32_t number) {
  if (!is_pmu(access, number)) {
    return false;
  }
  if (seen) {
    seen = false;
    return false;
  }
  wake_up();
  return true;
}

void on_pmu_instruction(unsigned vcpu, void* packed) {
  const auto host_pc = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  const auto site = std::bit_cast<PmuSite>(packed);
  using Access = QemuPrivate::Access;
  const Access access = site.kind == InstructionKind::kRdpmc   ? Access::kReadCounter
                        : site.kind == InstructionKind::kWrmsr ? Access::kWriteMsr
                                                               : Access::kReadMsr;
  const auto number = static_cast<uint32_t>(read_register(registers.rcx));
  if (!is_pmu(access, number)) {
    return;
  }
  constexpr uint64_t kUserMayReadCounters = 1 << 8;  // CR4.PCE
  const bool user = site.mode == kUser || site.mode == kGuestUser;
  if (access == Access::kReadCounter && user &&
      !(read_register(registers.cr4) & kUserMayReadCounters)) {
    seen = true;
    return;  // QEMU raises the exception
  }
  qemu->exit_if_intercepted(vcpu, access, host_pc);
  const uint32_t msr = access == Access::kReadCounter ? kMsrCounter0 + number : number;
  if (site.kind == InstructionKind::kWrmsr) {
    // QEMU runs the instruction too, and ignores these MSRs.
    const uint64_t low = static_cast<uint32_t>(read_register(registers.rax));
    write_msr(vcpu, msr, read_register(registers.rdx) << 32 | low);
    seen = true;
    return;
  }
  const uint64_t value =
      read_msr(vcpu, msr, site.counted, site.mode, arguments.geometry.cycles_per_instruction);
  qemu->restore_state(vcpu, host_pc);
  const uint64_t rip = read_register(registers.rip) + site.length;
  qemu->resume(vcpu, static_cast<uint32_t>(value), value >> 32, rip);
}

// Registers that the models look at in QEMU's CPU object, against what the plugin API says of them.
void check_environment(unsigned vcpu) {
  const AddressSpace space = qemu->address_space(vcpu);
  if (space.cr0 != read_register(registers.cr0) || space.cr3 != read_register(registers.cr3) ||
      space.cr4 != read_register(registers.cr4)) {
    log("this QEMU's CPU object is not laid out as in QEMU 10.0: use another version");
    std::abort();
  }
}

void on_translate(qemu_plugin_id_t, qemu_plugin_tb* tb) {
  static std::once_flag checked;
  const unsigned vcpu = qemu->current_vcpu();
  std::call_once(checked, [&] {
    check_environment(vcpu);
    qemu->find_instruction_at_hand(tb);
  });
  const bool user = qemu->in_user(vcpu);
  const Mode mode = qemu->in_guest(vcpu) ? user ? kGuestUser : kGuestKernel
                    : user               ? kUser
                                         : kKernel;
  instrument(tb, {mode, qemu->in_64_bit_code(vcpu)}, arguments.geometry, on_pmu_instruction);
}

void find_registers() {
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
               .cr0 = find("cr0"),
               .cr3 = find("cr3"),
               .cr4 = find("cr4")};
  g_array_free(list, 1);
}

void add_vcpu(unsigned vcpu) {
  static std::once_flag found;
  std::call_once(found, [vcpu] {
    if (!qemu->find_environment(vcpu)) {
      log("cannot find the registers in this QEMU's CPU object: use another version of QEMU");
      std::abort();
    }
  });
  if (!qemu->add_vcpu(vcpu)) {
    log("at most %u vCPUs can have counters", QemuPrivate::kMaxVcpus);
    std::abort();
  }
}

void on_start_of_vcpu_without_counters(qemu_plugin_id_t, unsigned vcpu) {
  add_vcpu(vcpu);
}

void on_vcpu_start(qemu_plugin_id_t, unsigned vcpu) {
  std::call_once(registers_found, find_registers);
  add_vcpu(vcpu);
  add_vcpu_counters(vcpu);
  add_vcpu_model(vcpu);
}

void print_statistics(unsigned vcpu) {
  struct Line {
    const char* name;
    Source first;
    unsigned sources;
  };
  constexpr Line kLines[] = {
      {"instructions", kInstructions, 1},
      {"cycles beyond one an instruction", kWaitCycles, 1},
      {"branches", kBranches, 1},
      {"mispredicted branches", kMispredicts, 1},
      {"data cache accesses", kDataAccesses, 1},
      {"data cache misses", kDataMisses, 1},
      {"instruction fetches", kFetches, 1},
      {"instruction cache misses", kFetchMisses, 1},
      {"data TLB misses, second level hit", kDtlbSecondHits, kPageSizes},
      {"data TLB walks", kDtlbWalks, kPageSizes},
      {"instruction TLB misses, second level hit", kItlbSecondHits, 1},
      {"instruction TLB walks", kItlbWalks, kPageSizes},
      {"L2 requests", kL2RequestsCode, 3},
      {"L2 misses", kL2MissesCode, 3},
      {"interrupts", kInterrupts, 1},
  };
  const Vcpu& state = state_of(vcpu);
  const Totals now = totals(state);
  for (const Line& line : kLines) {
    std::array<uint64_t, kModeCount> sums{};
    for (unsigned source = 0; source < line.sources; ++source) {
      for (unsigned mode = 0; mode < kModeCount; ++mode) {
        sums[mode] += now[line.first + source][mode];
      }
    }
    if (sums == std::array<uint64_t, kModeCount>{}) {
      continue;
    }
    const auto guest = sums[kGuestUser] + sums[kGuestKernel];
    const std::string in_guests = guest == 0
                                      ? ""
                                      : " (and of guests " + std::to_string(sums[kGuestUser]) +
                                            " and " + std::to_string(sums[kGuestKernel]) + ")";
    log("vCPU %u: %s: %" PRIu64 " user, %" PRIu64 " kernel%s", vcpu, line.name, sums[kUser],
        sums[kKernel], in_guests.c_str());
  }
  const Processor::Flushed flushed = flushed_walks(vcpu);
  if (flushed.data_walks + flushed.fetch_walks != 0) {
    log("vCPU %u: of the walks, made necessary by a flush: %" PRIu64 " data, %" PRIu64
        " instruction",
        vcpu, flushed.data_walks, flushed.fetch_walks);
  }
  log("vCPU %u: NMIs: %" PRIu64, vcpu, state.interrupts);
}

void on_exit(qemu_plugin_id_t, void*) {
  if (!arguments.statistics) {
    return;
  }
  for (int i = 0; i < qemu_plugin_num_vcpus(); ++i) {
    print_statistics(static_cast<unsigned>(i));
  }
}

void on_flush(qemu_plugin_id_t) {
  find_states();
}

void install_callbacks(qemu_plugin_id_t id) {
  forget_what_models_found_last();
  qemu_plugin_register_vcpu_init_cb(id, on_vcpu_start);
  // No vCPU runs here. Asleep, QEMU translates without us, if that is safe.
  static bool asked = false;
  asked = counted_sources() != 0 || (asked && !qemu->forget_instructions_at_hand());
  if (asked) {
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  }
  qemu_plugin_register_flush_cb(id, on_flush);
  qemu_plugin_register_atexit_cb(id, on_exit, nullptr);
}

bool is_on_off(std::string_view value) {
  return value == "on" || value == "off";
}

// A preset is taken first, wherever it stands: figures change it.
std::expected<Arguments, std::string> parse_arguments(int count, char** given) {
  Arguments result;
  std::string_view name_of_preset = "family10h";
  std::vector<std::pair<std::string_view, std::string_view>> figures;
  for (int i = 0; i < count; ++i) {
    const std::string_view argument = given[i];
    const size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const std::string_view value =
        equals == argument.npos ? std::string_view() : argument.substr(equals + 1);
    if (name == "stats" && is_on_off(value)) {
      result.statistics = value == "on";
    } else if (name == "verbose" && is_on_off(value)) {
      result.verbose = value == "on";
    } else if (name == "counters" && is_on_off(value)) {
      result.counters = value == "on";
    } else if (name == "preset") {
      name_of_preset = value;
    } else {
      figures.emplace_back(name, value);
    }
  }
  const auto chosen = preset(name_of_preset);
  if (!chosen) {
    return std::unexpected(chosen.error());
  }
  result.geometry = *chosen;
  for (const auto& [name, value] : figures) {
    const auto known = set_figure(result.geometry, name, value);
    if (!known) {
      return std::unexpected(known.error());
    }
    if (!*known) {
      return std::unexpected("unknown argument \"" + std::string(name) +
                             "\": there are stats=on, verbose=on, counters=off, "
                             "preset=family10h|paper and the figures of docs/emulated-pmu.md");
    }
  }
  if (const auto sound = check(result.geometry); !sound) {
    return std::unexpected(sound.error());
  }
  return result;
}

void mend() {
  if (!qemu->mend_vmrun()) {
    log("cannot find where this QEMU keeps a CPU's exception: guests of KVM inside this machine "
        "may get an interrupt twice and hang");
  }
  if (!qemu->mend_clear_ignne()) {
    log("cannot keep this QEMU's CPUs from changing each other's state: a machine of several with "
        "a hypervisor inside may crash");
  }
}

int install(qemu_plugin_id_t id, const qemu_info_t& info, int count, char** given) {
  if (!info.system_emulation || std::string_view(info.target_name) != "x86_64") {
    log("this plugin gives a PMU to machines of qemu-system-x86_64 only, not to %s",
        info.target_name);
    return 1;
  }
  const auto parsed = parse_arguments(count, given);
  if (!parsed) {
    log("%s", parsed.error().c_str());
    return 1;
  }
  arguments = *parsed;
  auto found = QemuPrivate::find();
  if (!found) {
    log("%s", found.error().c_str());
    return 1;
  }
  qemu = *found;
  mend();
  if (!arguments.counters) {
    qemu_plugin_register_vcpu_init_cb(id, on_start_of_vcpu_without_counters);
    return 0;
  }
  start_models(arguments.geometry, *qemu);
  if (!qemu->watch_accesses(is_for_us) || !qemu->watch_processors(processor_listener())) {
    log("this QEMU's tables of helpers are not where they were in QEMU 10.0, so it cannot be given "
        "a PMU: use another version");
    return 1;
  }
  start_counting(id, *qemu, install_callbacks, arguments.verbose);
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
