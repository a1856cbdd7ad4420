// SPDX-License-Identifier: GPL-2.0-or-later
// What is opened on each CPU: a ring of samples, and one of mappings, names and the like, so that
// no flood of samples can lose those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <vector>

#include "perf/recorder.h"
#include "perf/ring.h"
#include "perf/tracepoint.h"

namespace xenoprof::perf {

Result<std::vector<int>> online_cpus();

struct EventRing {
  Ring ring;
  std::vector<std::size_t> events;  // of the layout's: what each of the ring's is
  std::uint64_t latest = 0;         // the time of its last record
  std::uint64_t lost = 0;           // by its records
};

struct CpuRings {
  int cpu;
  EventRing sideband;
  std::optional<EventRing> samples;
  std::uint64_t enabled = 0;  // sideband's time when has_gone() looked last
  // How long sideband had run when samples began and when they ended, nanoseconds.
  std::uint64_t ran_before = 0;
  std::optional<std::uint64_t> ran_until;

  // Of the whole system's: the CPU was offline since. It takes its events along, and when it comes
  // back it has none. To be asked seldom: an event that is not running looks so too.
  bool has_gone();
};

// Opens them for a recording; keeps the options' address.
class RingOpener {
 public:
  RingOpener(const RecorderOptions& options, const Tracepoint* tracepoint);

  // Of the size asked for, or where the user may not lock so much memory of a smaller one.
  Result<std::vector<CpuRings>> open(const std::vector<int>& cpus);
  // One more, of that size.
  std::expected<CpuRings, RingError> open(int cpu) const;

  // 0: they have the size asked for.
  std::size_t smaller_sample_bytes() const { return smaller_ ? sample_bytes_ : 0; }

 private:
  struct Wanted;
  std::expected<std::vector<CpuRings>, RingError> try_to_open(const std::vector<int>& cpus) const;
  std::expected<EventRing, RingError> open_ring(int cpu, std::span<const Wanted> wanted,
                                                std::size_t bytes) const;
  bool make_smaller();

  const RecorderOptions& options_;
  const Tracepoint* tracepoint_;  // null: perf's own events, or no samples
  std::size_t sample_bytes_;
  std::size_t sideband_bytes_;
  bool smaller_ = false;
};

}  // namespace xenoprof::perf
