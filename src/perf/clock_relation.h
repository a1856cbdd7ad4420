// SPDX-License-Identifier: GPL-2.0-or-later
// Two clocks that run side by side, one told in the other's terms. Between two looks at both, each
// is taken to be steady, except that the other may have stood still: a guest's clocks do while the
// guest is paused, and its time stamp counter goes on.
#pragma once

#include <cstdint>
#include <deque>

namespace xenoprof::perf {

class ClockRelation {
 public:
  // A look that is nearer than `apart` to the one before, by the one clock, is not heeded: what two
  // are inexact by must be little beside what passes between them.
  explicit ClockRelation(std::uint64_t apart = 0) : apart_(apart) {}

  // What both said at the same moment; of the looks so far, the latest.
  void add(std::uint64_t one, std::uint64_t other);

  // The one clock's time at the last look that was heeded; 0: there was none.
  std::uint64_t latest() const { return looks_.empty() ? 0 : looks_.back().one; }

  // The other clock's time at `one`. Before two looks have been had both are taken to run alike.
  // Times outside of all looks go by the nearest two; 0 where the other clock had not begun.
  std::uint64_t other_at(std::uint64_t one) const;

 private:
  struct Look {
    std::uint64_t one;
    std::uint64_t other;
    // The other stood still for a time since the look before, and ran at this rate otherwise. 0 if
    // it did not stand still.
    double steady_rate = 0;
  };
  void measure(Look& look);

  std::uint64_t apart_;
  std::deque<Look> looks_;
  // What passed between looks, without those where the other stood still.
  std::uint64_t steady_one_ = 0;
  std::uint64_t steady_other_ = 0;
};

// CLOCK_MONOTONIC_RAW in nanoseconds.
std::uint64_t raw_clock();

// The time stamp counter and CLOCK_MONOTONIC_RAW at the same moment, as near as can be had.
struct TscLook {
  std::uint64_t tsc = 0;
  std::uint64_t raw = 0;
  std::uint64_t within = 0;  // tsc is at most so many ticks off
};
TscLook look_at_tsc();

}  // namespace xenoprof::perf
