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

// Nearly exact for what fits between looks; never below nought.
std::uint64_t moved(std::uint64_t from, double by) {
  const auto whole = static_cast<std::uint64_t>(std::llround(by));
  return by < 0 && 0 - whole > from ? 0 : from + whole;
}

double difference(std::uint64_t later, std::uint64_t earlier) {
  return static_cast<double>(static_cast<std::int64_t>(later - earlier));
}

}  // namespace

// A look is inexact by what interrupts it, so that a rate is known only after some time.
void ClockRelation::measure(Look& look) {
  constexpr double kLeast = 1e8;     // of the one clock, before which no rate is known
  constexpr double kInexact = 0.01;  // of what passed
  constexpr double kInterrupted = 2e6;
  const Look& before = looks_.back();
  const double one = difference(look.one, before.one);
  const double other = difference(look.other, before.other);
  if (static_cast<double>(steady_one_) >= kLeast) {
    const double steady_rate =
        static_cast<double>(steady_other_) / static_cast<double>(steady_one_);
    const double expected = one * steady_rate;
    const double allowed = expected * kInexact + kInterrupted;
    if (other < expected - allowed) {
      look.steady_rate = steady_rate;
      return;
    }
    if (other > expected + allowed) {  // the rate was wrong, or one of the two was set
      steady_one_ = steady_other_ = 0;
      return;
    }
  }
  if (look.other < before.other) {
    return;
  }
  steady_one_ += look.one - before.one;
  steady_other_ += look.other - before.other;
}

void ClockRelation::add(std::uint64_t one, std::uint64_t other) {
  Look look{.one = one, .other = other};
  if (!looks_.empty()) {
    if (one <= looks_.back().one || one - looks_.back().one < apart_) {
      return;
    }
    measure(look);
  }
  looks_.push_back(look);
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
  const double since = difference(one, before.one);
  if (after.steady_rate == 0) {
    // Differences are small enough for a double to hold exactly; clocks are not.
    const double rate = difference(after.other, before.other) / difference(after.one, before.one);
    return moved(before.other, since * rate);
  }
  // When it stood still is not known, but going by one of the looks the time would often be beyond
  // the other look.
  const std::uint64_t by_before = moved(before.other, since * after.steady_rate);
  const std::uint64_t by_after = moved(after.other, difference(one, after.one) * after.steady_rate);
  return by_before <= after.other ? by_before : std::max(by_after, before.other);
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
      best = {.tsc = before + took / 2, .raw = raw, .within = took / 2 + 1};
    }
  }
  return best;
}

}  // namespace xenoprof::perf
