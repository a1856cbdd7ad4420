// SPDX-License-Identifier: GPL-2.0-or-later
// Every vCPU's counters, fed by translated code and by the models, and what they bring about: NMIs
// at overflow, and which sources code has to count at all.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>

#include "counters.h"
#include "qemu_plugin_api.h"
#include "qemu_private.h"

namespace xenoprof::pmu {

// Per-vCPU state, touched by that vCPU's thread and its translated code alone. Lives in a QEMU
// scoreboard, zeroed.
struct Vcpu {
  Totals gauge;   // raised by translated code and by the models
  Totals offset;  // gauge + offset = the total
  Counters counters;
  uint64_t interrupts;
  uint64_t machine_resets;  // how many of them this vCPU has acted upon
  uint64_t review_at;       // instructions of this vCPU's; then it looks what is still needed
  // For the models (models.h):
  uint64_t fetched;         // identifies the line of code fetched last; 0: none
  uint64_t pending_branch;  // a packed Block whose branch has run; 0: none
};

// Starts with no source counted. `install_callbacks` is called whenever what is counted has
// changed, to register callbacks anew.
void start_counting(qemu_plugin_id_t id, const QemuPrivate& qemu,
                    qemu_plugin_simple_cb_t install_callbacks, bool verbose);

// QEMU may move scoreboards when it adds vCPUs; it flushes all code then.
extern std::array<Vcpu*, QemuPrivate::kMaxVcpus> states;
inline Vcpu& state_of(unsigned vcpu) {
  return *states[vcpu];
}
void find_states();
void add_vcpu_counters(unsigned vcpu);
Totals totals(const Vcpu& vcpu);
qemu_plugin_u64 gauge_of(Source source, Mode mode);
qemu_plugin_u64 word_of(uint64_t Vcpu::* member);

// What code translated from now on counts; 0 when asleep: then nothing is added to it, and the next
// access to the PMU wakes the plugin.
SourceSet counted_sources();

// Gauges rise towards this; one that has reached it wants on_limit().
constexpr uint64_t kLimit = uint64_t{1} << 62;
void on_limit(unsigned vcpu, void*);

// For what the models find.
inline void count(unsigned vcpu, Source source, Mode mode, uint64_t times) {
  if ((state_of(vcpu).gauge[source][mode] += times) >= kLimit) {
    on_limit(vcpu, nullptr);
  }
}

// A machine reset clears the counters, but the plugin API does not report one: the first code to
// run afterwards does.
void note_machine_reset();

// PMU registers. A read takes the instruction that reads out of the totals.
bool is_pmu(QemuPrivate::Access access, uint32_t number);
void write_msr(unsigned vcpu, uint32_t msr, uint64_t value);
uint64_t read_msr(unsigned vcpu, uint32_t msr, SourceSet counted_with, Mode mode,
                  uint32_t cycles_per_instruction);
constexpr uint32_t kMsrSelect0 = 0xc0010000;   // PERF_CTL0-3
constexpr uint32_t kMsrCounter0 = 0xc0010004;  // PERF_CTR0-3

// For an access to the PMU by code translated while asleep.
void wake_up();

template <class... Args>
void log(const char* format, Args... args) {
  char line[300];
  std::snprintf(line, sizeof(line), format, args...);
  std::fprintf(stderr, "xenoprof-pmu: %s\n", line);
}

// An odd event or delivery mode is the guest's matter; saying it once is enough.
void log_once(const char* format, unsigned value);

}  // namespace xenoprof::pmu
