// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/clock_relation.h"

#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <cmath>

namespace xenoprof::perf {
namespace {

// Half a minute of looks at ten a second: records that come later than that are not of use.
constexpr std::size_t kMostLooks = 300;

std::uint64_t tsc() {
  _mm_lfence();
  return __rdtsc();
}

}  // namespace

void ClockRelation::add(std::uint64_t one, std::uint64_t other) {
  if (!looks_.empty() && one <= looks_.back().one) {
    return;
  }
  looks_.push_back({one, other});
  if (looks_.size() > kMostLooks) {
    looks_.pop_front();
  }
}

std::uint64_t ClockRelation::other_at(std::uint64_t one) const {
  if (looks_.size() < 2) {
    return looks_.empty() ? one : looks_.front().other + (one - looks_.front().one);
  }
  auto next =
      std::upper_bound(looks_.begin() + 1, looks_.end() - 1, one,
                       [](std::uint64_t time, const Look& look) { return time < look.one; });
  const Look& after = *next;
  const Look& before = *std::prev(next);
  // Differences are small enough for a double to hold exactly; clocks are not.
  const double ratio = static_cast<double>(static_cast<std::int64_t>(after.other - before.other)) /
                       static_cast<double>(after.one - before.one);
  const auto since = static_cast<double>(static_cast<std::int64_t>(one - before.one));
  const auto passed = static_cast<std::uint64_t>(std::llround(since * ratio));
  return since < 0 && 0 - passed > before.other ? 0 : before.other + passed;
}

std::uint64_t raw_clock() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// The quickest of some tries, for one may be interrupted.
TscLook look_at_tsc() {
  constexpr int kTries = 10;
  TscLook best;
  std::uint64_t shortest = ~std::uint64_t{0};
  for (int i = 0; i < kTries; ++i) {
    const std::uint64_t before = tsc();
    const std::uint64_t raw = raw_clock();
    const std::uint64_t took = tsc() - before;
    if (took < shortest) {
      shortest = took;
      best = {.tsc = before + took / 2, .raw = raw};
    }
  }
  return best;
}

}  // namespace xenoprof::perf
