// SPDX-License-Identifier: GPL-2.0-or-later
// Counts samples whose addresses have been found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/profile.h"

namespace xenoprof::perf {

// Looks up each sample's stack in the profile and counts the sample there, which is half of the
// work on a recording and mostly waits for memory. Samples are gathered, and may be counted by a
// thread of the counter's own while its owner finds the addresses of the next ones.
class StackCounter {
 public:
  enum class Where { kHere, kInThread };
  static constexpr std::size_t kCpus = 64;

  StackCounter(std::vector<Event> events, Where where);
  StackCounter(StackCounter&&) noexcept;
  StackCounter& operator=(StackCounter&&) noexcept;
  ~StackCounter();

  // A sample without a call chain. The key's stack is not looked at.
  void add(const SampleKey& key, std::size_t event, LocationId leaf);
  // One with a call chain, whose first `kept` callers, from the outermost on, are those of the
  // sample before that had one and the same `cpu` (less than kCpus). `callers` follow, then the
  // leaf.
  void add(const SampleKey& key, std::size_t event, LocationId leaf, std::size_t cpu,
           std::size_t kept, std::span<const LocationId> callers);

  // For its texts, images and locations, which the counting leaves alone.
  Profile& places() { return *profile_; }
  // With all samples; waits for them.
  Profile& profile();

 private:
  struct Batch;
  class Counting;
  class Thread;

  void pass_on();

  std::unique_ptr<Profile> profile_;
  std::unique_ptr<Counting> counting_;  // uses profile_
  std::unique_ptr<Batch> batch_;        // being filled
  std::unique_ptr<Thread> thread_;      // null: here; it uses counting_
};

}  // namespace xenoprof::perf
