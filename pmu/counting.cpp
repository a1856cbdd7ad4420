// SPDX-License-Identifier: GPL-2.0-or-later
#include "counting.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstddef>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <span>
#include <type_traits>
#include <utility>

#include "processor.h"

namespace xenoprof::pmu {
namespace {

// After so many instructions of a vCPU, code stops counting what no counter has needed meanwhile:
// about as many as cost what a new translation costs. That is fewer where models run for nothing,
// and still more than pass between perf's turns with a counter.
constexpr uint64_t kIdleSlack = 500'000'000;
constexpr uint64_t kIdleModelSlack = 10'000'000;

static_assert(std::is_trivial_v<Vcpu>);
// Elements are adjacent: the slack keeps other vCPUs off the last cache line. A power of two is
// what translated code multiplies by fastest.
constexpr size_t kVcpuElement = std::bit_ceil(sizeof(Vcpu) + 64);

qemu_plugin_id_t plugin_id;
const QemuPrivate* qemu;
qemu_plugin_simple_cb_t install;
qemu_plugin_scoreboard* scoreboard;
bool verbose;

std::mutex mutex;
std::array<SourceSet, QemuPrivate::kMaxVcpus> needed_by;  // enabled counters' sources, by vCPU
// By any vCPU's at some time since this one last reviewed what is counted.
std::array<SourceSet, QemuPrivate::kMaxVcpus> needed_since_review;
// Written with the mutex held, read without.
std::atomic<SourceSet> needed;   // by any vCPU
std::atomic<SourceSet> counted;  // by code translated from now on: with instructions, or nothing
std::atomic<uint64_t> machine_resets;

uint64_t instructions(const Totals& totals) {
  uint64_t sum = 0;
  for (const uint64_t of_mode : totals[kInstructions]) {
    sum += of_mode;
  }
  return sum;
}

void set_limits(Vcpu& vcpu, const Totals& now) {
  const uint64_t idle_slack = parts_for(counted) != 0 ? kIdleModelSlack : kIdleSlack;
  const uint64_t retired = instructions(now);
  vcpu.review_at = std::min(vcpu.review_at, retired + idle_slack);
  const Totals slack = vcpu.counters.slack(now);
  for (unsigned source = 0; source < kSourceCount; ++source) {
    const uint64_t most = source == kInstructions ? vcpu.review_at - retired : kLimit / 2;
    for (unsigned mode = 0; mode < kModeCount; ++mode) {
      vcpu.gauge[source][mode] = kLimit - std::min(slack[source][mode], most);
      vcpu.offset[source][mode] = now[source][mode] - vcpu.gauge[source][mode];
    }
  }
}

// Has all code translated anew, counting `sources`: this vCPU's before its next block, the others'
// as soon as all have been stopped for it. Wants the mutex held.
void count_sources(SourceSet sources) {
  counted = sources;
  if (verbose) {
    log("translated code counts sources %06" PRIx32, sources);
  }
  qemu_plugin_reset(plugin_id, install);
}

void note_needed(unsigned index, const Vcpu& vcpu) {
  const std::lock_guard lock(mutex);
  const SourceSet sources = vcpu.counters.sources();
  if (needed_by[index] != sources) {
    needed_by[index] = sources;
    const std::span all(needed_by.data(), static_cast<size_t>(qemu_plugin_num_vcpus()));
    needed = std::accumulate(all.begin(), all.end(), SourceSet{0}, std::bit_or<>());
    for (SourceSet& since : std::span(needed_since_review.data(), all.size())) {
      since |= needed;
    }
  }
  if ((sources & ~counted) != 0) {
    count_sources(counted | sources | bits(kInstructions));
  }
}

// Not after what no counter needs at this moment: perf takes turns with its counters, and switches
// them off while another task runs.
void review(unsigned index) {
  const std::lock_guard lock(mutex);
  const SourceSet used = needed_since_review[index];
  needed_since_review[index] = needed;
  const SourceSet enough = used == 0 ? 0 : used | bits(kInstructions);
  if (counted != enough) {
    count_sources(enough);
  }
}

void follow_machine_reset(unsigned index, Vcpu& vcpu) {
  const uint64_t resets = machine_resets;
  if (vcpu.machine_resets != resets) {
    vcpu.machine_resets = resets;
    vcpu.counters = {};
    note_needed(index, vcpu);
    set_limits(vcpu, totals(vcpu));
  }
}

}  // namespace

void log_once(const char* format, unsigned value) {
  static std::mutex said_mutex;
  static std::set<std::pair<const char*, unsigned>> said;
  const std::lock_guard lock(said_mutex);
  if (said.size() < 100 && said.emplace(format, value).second) {
    log(format, value);
  }
}

void start_counting(qemu_plugin_id_t id, const QemuPrivate& found,
                    qemu_plugin_simple_cb_t install_callbacks, bool say_all) {
  plugin_id = id;
  qemu = &found;
  install = install_callbacks;
  verbose = say_all;
  scoreboard = qemu_plugin_scoreboard_new(kVcpuElement);
}

std::array<Vcpu*, QemuPrivate::kMaxVcpus> states;

void find_states() {
  for (unsigned vcpu = 0; vcpu < states.size(); ++vcpu) {
    if (states[vcpu] != nullptr) {
      states[vcpu] = static_cast<Vcpu*>(qemu_plugin_scoreboard_find(scoreboard, vcpu));
    }
  }
}

void add_vcpu_counters(unsigned index) {
  states[index] = static_cast<Vcpu*>(qemu_plugin_scoreboard_find(scoreboard, index));
  Vcpu& vcpu = state_of(index);
  vcpu = {};
  vcpu.machine_resets = machine_resets;
  vcpu.review_at = Counters::kForever;
  set_limits(vcpu, Totals{});
}

Totals totals(const Vcpu& vcpu) {
  Totals sum = vcpu.gauge;
  for (unsigned source = 0; source < kSourceCount; ++source) {
    for (unsigned mode = 0; mode < kModeCount; ++mode) {
      sum[source][mode] += vcpu.offset[source][mode];
    }
  }
  return sum;
}

qemu_plugin_u64 gauge_of(Source source, Mode mode) {
  const size_t index = size_t{source} * kModeCount + mode;
  return {scoreboard, offsetof(Vcpu, gauge) + sizeof(uint64_t) * index};
}

qemu_plugin_u64 word_of(uint64_t Vcpu::* member) {
  return {scoreboard,
          member == &Vcpu::fetched ? offsetof(Vcpu, fetched) : offsetof(Vcpu, pending_branch)};
}

SourceSet counted_sources() {
  return counted;
}

void on_limit(unsigned index, void*) {
  Vcpu& vcpu = state_of(index);
  follow_machine_reset(index, vcpu);
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
  if (instructions(now) >= vcpu.review_at) {
    review(index);
    vcpu.review_at = Counters::kForever;
  }
  set_limits(vcpu, now);
}

void note_machine_reset() {
  ++machine_resets;
}

bool is_pmu(QemuPrivate::Access access, uint32_t number) {
  if (access == QemuPrivate::Access::kReadCounter) {
    return number < kCounters;
  }
  return number >= kMsrSelect0 && number < kMsrCounter0 + kCounters;
}

void write_msr(unsigned index, uint32_t msr, uint64_t value) {
  Vcpu& vcpu = state_of(index);
  follow_machine_reset(index, vcpu);
  const Totals now = totals(vcpu);
  if (msr >= kMsrCounter0) {
    vcpu.counters.write(msr - kMsrCounter0, value, now);
  } else {
    vcpu.counters.write_select(msr - kMsrSelect0, value, now);
    if ((value & kSelectEnable) && event_sources(value) == 0) {
      log_once("event and unit mask 0x%x are not modelled: they count nothing",
               event_code(value) << 8 | static_cast<unsigned>(value >> 8 & 0xff));
    }
    note_needed(index, vcpu);
  }
  set_limits(vcpu, now);
  if (verbose) {
    log("vCPU %u: MSR %08" PRIx32 " = %012" PRIx64, index, msr, value);
  }
}

uint64_t read_msr(unsigned index, uint32_t msr, SourceSet counted_with, Mode mode,
                  uint32_t cycles_per_instruction) {
  Vcpu& vcpu = state_of(index);
  follow_machine_reset(index, vcpu);
  if (msr < kMsrCounter0) {
    return vcpu.counters.select(msr - kMsrSelect0);
  }
  Totals before = totals(vcpu);
  if (counted_with & bits(kInstructions)) {
    before[kInstructions][mode] -= 1;
  }
  if (counted_with & bits(kWaitCycles)) {
    before[kWaitCycles][mode] -= cycles_per_instruction - 1;
  }
  return vcpu.counters.read(msr - kMsrCounter0, before);
}

void wake_up() {
  const std::lock_guard lock(mutex);
  if (counted == 0) {
    count_sources(bits(kInstructions));
  }
}

}  // namespace xenoprof::pmu
