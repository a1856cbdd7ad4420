// SPDX-License-Identifier: GPL-2.0-or-later
// The four performance counters of an AMD family 10h processor, as plain arithmetic: no QEMU here.
// Facts: AMD BKDG for family 10h (31116), sections 3.12 "PERF_CTL" and "PERF_CTR".
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace xenoprof::pmu {

// What translated code counts. Events are made of these. Cache and TLB models add theirs here.
enum Source : unsigned { kInstructions, kBranches, kSourceCount };
enum Ring : unsigned { kUser, kKernel, kRingCount };  // ring 3, and rings 0 to 2

// How often each source has happened in each ring since the processor started.
using Totals = std::array<std::array<uint64_t, kRingCount>, kSourceCount>;

using SourceSet = unsigned;  // bit per Source

constexpr unsigned kCounters = 4;
constexpr uint64_t kCounterRange = uint64_t{1} << 48;

// PERF_CTL bits.
constexpr uint64_t kSelectUser = uint64_t{1} << 16;
constexpr uint64_t kSelectKernel = uint64_t{1} << 17;
constexpr uint64_t kSelectInterrupt = uint64_t{1} << 20;
constexpr uint64_t kSelectEnable = uint64_t{1} << 22;

constexpr unsigned event_code(uint64_t select) {
  return static_cast<unsigned>((select & 0xff) | (select >> 24 & 0xf00));  // bits 35:32 on top
}

// The source an event code counts, or nothing for an event the model lacks.
std::optional<Source> event_source(unsigned code);

// Trivial on purpose: an all-zero object is four counters switched off, which is how QEMU hands
// out per-vCPU memory.
class Counters {
 public:
  uint64_t select(unsigned index) const { return counters_[index].select; }
  // Takes effect after `now`.
  void write_select(unsigned index, uint64_t select, const Totals& now);
  void write(unsigned index, uint64_t value, const Totals& now);
  uint64_t read(unsigned index, const Totals& now) const;

  // True when a counter that interrupts has wrapped since the last call. The counter goes on from
  // what it counted past the wrap.
  bool take_overflow(const Totals& now);

  // How much of each source may go by in each ring before take_overflow() has to look again.
  // Nothing can wrap sooner; kForever where no counter waits.
  static constexpr uint64_t kForever = ~uint64_t{0};
  Totals slack(const Totals& now) const;

  // What must be counted for the counters that are switched on.
  SourceSet sources() const;
  bool any_enabled() const;

 private:
  struct Counter {
    uint64_t select;
    uint64_t value;    // while stopped
    uint64_t wrap_at;  // while running: the count() at which it wraps next
  };
  static bool running(const Counter& counter);
  static uint64_t count(const Counter& counter, const Totals& now);
  static uint64_t value(const Counter& counter, const Totals& now);
  static void set(Counter& counter, uint64_t value, const Totals& now);

  std::array<Counter, kCounters> counters_;
};

}  // namespace xenoprof::pmu
