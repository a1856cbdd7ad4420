// SPDX-License-Identifier: GPL-2.0-or-later
// Records of several CPUs in the order of their times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "perf/bytes.h"

namespace xenoprof::perf {

// perf empties the buffers of all CPUs in turn. The records of one turn may be older than those of
// the turn before, but not older than those of the turn before that.
class TimeOrder {
 public:
  struct Entry {
    std::uint64_t time = 0;
    std::uint64_t offset = 0;  // to be kept, see oldest()
    const std::byte* record = nullptr;
  };

  void add(const Entry& entry);
  // A turn has ended (PERF_RECORD_FINISHED_ROUND): what is older than its predecessor comes out.
  void end_turn();
  // No more will be added: all comes out.
  void end();
  // The next that has come out; of equal times the one that was added first.
  std::optional<Entry> next();
  bool empty() const { return position_ == entries_.size(); }
  // The least offset of all entries that wait, or did not come out of next() yet; `none` if there
  // is no such entry.
  std::uint64_t oldest(std::uint64_t none) const;

 private:
  void sort();
  void release(std::uint64_t limit);

  std::vector<Entry> entries_;
  // Where stretches that are in order begin; those of a CPU usually are.
  std::vector<std::size_t> runs_;
  std::size_t position_ = 0;  // of what comes out next
  std::size_t released_ = 0;  // up to here it may
  std::uint64_t latest_ = 0;
  std::uint64_t limit_ = 0;  // latest_ when the turn before ended
};

}  // namespace xenoprof::perf
