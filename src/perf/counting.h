// SPDX-License-Identifier: GPL-2.0-or-later
// What this system's own perf counts for an event, and how often it takes a sample.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "model/event.h"
#include "model/result.h"

struct perf_event_attr;

namespace xenoprof::perf {

// The part of a perf_event_attr that tells events apart (linux/perf_event.h).
struct Counting {
  std::uint32_t type = 0;
  std::uint64_t config = 0;
  std::uint64_t config1 = 0;
  std::uint64_t config2 = 0;
  std::uint64_t frequency = 0;  // samples a second and CPU; 0: one each Event::count
  bool exclude_user = false;
  bool exclude_kernel = false;
  bool guests = false;  // what virtual machines do counts, too

  friend bool operator==(const Counting&, const Counting&) = default;
};

// Sets that part, and the count.
void apply(const Counting& counting, std::uint64_t count, perf_event_attr& attr);

struct CountedEvent {
  Event event;  // its count is 0 where samples are taken by frequency
  Counting counting;
};

// "NAME" or "NAME:COUNT". Without a count `frequency` holds: clocks and, where a CPU's frequency is
// known, cycles get the count that makes as many samples on a busy CPU, as samples that stand for
// unlike numbers of events make wrong shares; other events are sampled by frequency. Names are
// perf's (instructions, cpu-clock, dTLB-load-misses), libpfm4's for this CPU, or rHEX, the CPU's
// own code; they may end in modifiers, as in instructions:u.
Result<CountedEvent> find_counted_event(std::string_view text, std::uint64_t frequency);

// kernel.perf_event_max_sample_rate, which the kernel lowers where interrupts take long.
std::uint64_t most_samples_a_second();

// The kernel samples a clock with a period, which is not shorter than this, also where a frequency
// was asked for (perf_swevent_init_hrtimer(), perf_swevent_start_hrtimer() in
// kernel/events/core.c).
inline constexpr std::uint64_t kShortestClockPeriod = 10'000;  // ns
bool is_clock(std::uint32_t type, std::uint64_t config);
std::uint64_t clock_period(std::uint64_t frequency);

// Cycles a second of this system's fastest CPU at its highest frequency, by cpufreq or else
// /proc/cpuinfo; 0: neither tells. `root`: where proc and sys are.
std::uint64_t cpu_frequency(const std::filesystem::path& root = "/");

// Whether this system's kernel has hardware counters for perf.
bool has_hardware_counters();

}  // namespace xenoprof::perf
