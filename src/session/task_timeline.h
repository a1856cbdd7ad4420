// SPDX-License-Identifier: GPL-2.0-or-later
// In a guest whose samples its host takes: by the context switches that the guest recorded, each
// sample becomes that of the task which ran on its CPU at that time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "perf/recorder.h"
#include "perf/records.h"

namespace xenoprof {

// Times are this system's CLOCK_MONOTONIC_RAW.
struct OutsideSample {
  std::uint64_t time = 0;
  std::uint64_t ip = 0;
  std::uint32_t cpu = 0;
  std::uint32_t event = 0;  // by the layout
  bool known_cpu = true;    // false: no CPU of this system has that number
};

class TaskTimeline {
 public:
  // What comes out are records of that layout, as if this system had sampled itself.
  explicit TaskTimeline(const perf::Layout& layout) : builder_(layout) {}

  // Records of this system in the order of their times, context switches among them and samples
  // that it took itself.
  void add(perf::Bytes record);
  void add(const OutsideSample& sample);
  // Whatever is not younger than `time` has been added: hands it out in order, without the
  // switches.
  void hand_out(std::uint64_t time, const perf::Sink& sink);

  // Samples that came after the records of their time had been handed out, and those before any
  // switch had been seen on their CPU or after some were lost: the former are charged to the task
  // that ran last, the latter to none.
  std::uint64_t late() const { return late_; }
  std::uint64_t unknown() const { return unknown_; }
  // Bytes of records and samples that wait.
  std::size_t waiting() const { return bytes_.size() + samples_.size() * sizeof(OutsideSample); }

 private:
  struct Task {
    std::int32_t pid = -1;
    std::int32_t tid = -1;
  };

  void switched(perf::Bytes record);
  void lost(perf::Bytes record);
  void runs(std::uint32_t cpu, const Task& task);
  void hand_out(const OutsideSample& sample, const perf::Sink& sink);

  perf::RecordBuilder builder_;
  std::vector<std::byte> bytes_;  // records, one after the other
  std::vector<OutsideSample> samples_;
  std::vector<Task> running_;  // by CPU
  std::uint64_t handed_out_ = 0;
  std::uint64_t late_ = 0;
  std::uint64_t unknown_ = 0;
};

}  // namespace xenoprof
