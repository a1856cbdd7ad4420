// SPDX-License-Identifier: GPL-2.0-or-later
// Records this system with perf_event_open: who ran with which mappings, and samples: those that
// xenoprof.ko hands out as a tracepoint, or those of perf's own events.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/result.h"
#include "perf/records.h"

namespace xenoprof::perf {

// The tracepoint's `domain` of a sample that is this system's own (DOMID_SELF in Xen). Any other
// value is the number of a passive domain.
inline constexpr std::uint16_t kOwnDomain = 0x7ff0;

// Takes one record; called in time order. Records of passive domains are samples only, with pid and
// tid 0; they belong into a file per domain (see passive_head()).
using Sink = std::function<void(std::uint16_t domain, Bytes record)>;

struct RecorderOptions {
  // Without countings, events[i] is what the driver's counter i counts. With `outside`, events
  // beyond the countings are the host's.
  Layout layout;
  // With countings: of these threads and all that they begin; empty: of the whole system.
  std::vector<std::int32_t> threads = {};
  // Samples begin when a thread of the above executes a program.
  bool from_exec = false;
  // Samples of this system are taken by its host (and by itself, of the countings if there are
  // some). Context switches are handed out, as PERF_RECORD_SWITCH_CPU_WIDE, to tell whose they are.
  bool outside = false;
  // Times are CLOCK_MONOTONIC_RAW's, else of the kernel's own clock for perf.
  bool raw_clock = false;
  // Per CPU, rounded up to a power of two pages; less for all CPUs where the user may not lock so
  // much memory. Mappings and names have rings of their own, so that no flood of samples can lose
  // them.
  std::size_t sample_ring_bytes = std::size_t{2} << 20;
  std::size_t sideband_ring_bytes = std::size_t{512} << 10;
  std::string tracepoint = "xenoprof:sample";
};

// Since start(), up to the last drain.
struct RecorderLosses {
  std::uint64_t samples = 0;   // the ring was full: larger rings or a larger count help
  std::uint64_t sideband = 0;  // mappings or names: samples of new processes may lack their image
  std::vector<std::uint64_t> of_event;  // samples, by event where perf's own are counted
  std::uint64_t throttled = 0;  // times that the kernel paused an event: it took too much time
};

class Recorder {
 public:
  // Opens everything on every online CPU; nothing is recorded yet. A recording of the whole system
  // takes in CPUs that come online later, within two seconds.
  static Result<Recorder> open(const RecorderOptions& options);
  Recorder(Recorder&&) noexcept;
  Recorder& operator=(Recorder&&) noexcept;
  ~Recorder();

  // Begins recording, and hands out what exists already: kernel, modules, processes, mappings.
  // Samples that are emitted before it returns are missed: arm the driver afterwards.
  Result<void> start(const Sink& sink);

  // Sleeps until a ring is half full, the time is over, or `also` can be read (-1: nothing else).
  Result<void> wait(std::chrono::milliseconds limit, int also = -1);

  // Empties the rings and hands out what is old enough to be in order for sure: all that is as old
  // as what had been read 0.1 s ago.
  void drain(const Sink& sink);

  // Ends recording and hands out all the rest.
  void stop(const Sink& sink);

  // With raw_clock: all records that are not younger have been handed out.
  std::uint64_t handed_out() const;

  RecorderLosses losses() const;
  // Sentences about what the recording lacks, samples apart.
  std::vector<std::string> notes() const;

 private:
  class Impl;
  explicit Recorder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace xenoprof::perf
