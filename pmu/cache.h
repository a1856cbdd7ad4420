// SPDX-License-Identifier: GPL-2.0-or-later
// A cache's directory: which lines are in it, least recently used first to go.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "geometry.h"

namespace xenoprof::pmu {

class Cache {
 public:
  Cache(const CacheGeometry& geometry, uint32_t line_bytes)
      : ways_(geometry.ways),
        sets_(geometry.bytes / line_bytes / geometry.ways),
        lines_(size_t{sets_} * ways_, kNone) {}

  // True if `line` (a line's number in physical memory) is there; afterwards it is. `index` is the
  // line's number in the address space that picks the set: virtual or physical.
  bool access(uint64_t index, uint64_t line) {
    uint64_t* const set = &lines_[size_t{index & (sets_ - 1)} * ways_];  // most recent first
    if (set[0] == line) {
      return true;
    }
    uint64_t carried = set[0];
    set[0] = line;
    for (uint32_t way = 1; way < ways_; ++way) {
      std::swap(carried, set[way]);
      if (carried == line) {
        return true;
      }
    }
    return false;
  }

  uint32_t sets() const { return sets_; }
  void clear() { std::fill(lines_.begin(), lines_.end(), kNone); }

 private:
  static constexpr uint64_t kNone = ~uint64_t{0};

  uint32_t ways_;
  uint32_t sets_;  // a power of two
  std::vector<uint64_t> lines_;
};

}  // namespace xenoprof::pmu
