// SPDX-License-Identifier: GPL-2.0-or-later
// The four performance counters of an AMD family 10h processor, as plain arithmetic: no QEMU here.
// Facts: AMD BKDG for family 10h (31116), sections 3.12 "PERF_CTL" and "PERF_CTR" and 3.14
// "Performance Counter Events".
#pragma once

#include <array>
#include <cstdint>

namespace xenoprof::pmu {

// What is counted. Events are made of these.
enum Source : unsigned {
  kInstructions,
  kWaitCycles,  // beyond one for each instruction
  kBranches,
  kMispredicts,
  kDataAccesses,
  kDataMisses,
  kFetches,
  kFetchMisses,
  kInterrupts,
  kDtlbSecondHits,                   // missed in the first level: 4 KiB, then 2 MiB, then 1 GiB
  kDtlbWalks = kDtlbSecondHits + 3,  // missed in both: the same three
  kItlbSecondHits = kDtlbWalks + 3,  // of any page size
  kItlbWalks,                        // 4 KiB, 2 MiB, 1 GiB
  kL2RequestsCode = kItlbWalks + 3,
  kL2RequestsData,
  kL2RequestsWalk,
  kL2MissesCode,
  kL2MissesData,
  kL2MissesWalk,
  kSourceCount,
};

// In whose code: user is ring 3, kernel is rings 0 to 2. A guest is one of a hypervisor that uses
// SVM; the guests of Xen's paravirtualisation are not.
enum Mode : uint8_t { kUser, kKernel, kGuestUser, kGuestKernel, kModeCount };

// How often each source has happened in each mode since the processor started.
using Totals = std::array<std::array<uint64_t, kModeCount>, kSourceCount>;

using SourceSet = uint32_t;  // bit per Source
static_assert(kSourceCount <= 32);

constexpr SourceSet bits(Source first, unsigned count = 1) {
  return ((1u << count) - 1) << first;
}

constexpr unsigned kCounters = 4;
constexpr uint64_t kCounterRange = uint64_t{1} << 48;

// PERF_CTL bits.
constexpr uint64_t kSelectUser = uint64_t{1} << 16;
constexpr uint64_t kSelectKernel = uint64_t{1} << 17;
constexpr uint64_t kSelectInterrupt = uint64_t{1} << 20;
constexpr uint64_t kSelectEnable = uint64_t{1} << 22;
constexpr uint64_t kSelectGuestOnly = uint64_t{1} << 40;
constexpr uint64_t kSelectHostOnly = uint64_t{1} << 41;

constexpr unsigned event_code(uint64_t select) {
  return static_cast<unsigned>((select & 0xff) | (select >> 24 & 0xf00));  // bits 35:32 on top
}

// The sources whose sum a select register's event and unit mask count; none for an event that the
// model lacks, and for a mask that selects none of an event's units.
SourceSet event_sources(uint64_t select);

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

  // How much of each source may go by in each mode before take_overflow() has to look again.
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
    // Of `select`, looked up once:
    SourceSet sources;  // none while stopped
    uint8_t modes;      // bit per Mode
  };
  static uint64_t count(const Counter& counter, const Totals& now);
  static uint64_t value(const Counter& counter, const Totals& now);
  static void set(Counter& counter, uint64_t value, const Totals& now);

  std::array<Counter, kCounters> counters_;
};

}  // namespace xenoprof::pmu
