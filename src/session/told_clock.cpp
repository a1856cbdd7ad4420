// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/told_clock.h"

#include <algorithm>
#include <chrono>

namespace xenoprof {
namespace {

std::uint64_t real_clock() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

}  // namespace

// We may be taken off the CPU between any two looks.
RealLook look_at_real_clock() {
  RealLook look;
  look.earliest = perf::raw_clock();
  look.real = real_clock();
  look.latest = perf::raw_clock();
  return look;
}

void ToldClock::add(const perf::TscLook& asked, const perf::TscLook& heard,
                    const ClockAnswer& answer, const RealLook& now) {
  add(asked.tsc, heard.tsc, answer.tsc);
  // The moment was between the two, else the answer does not know it.
  const std::uint64_t ago = now.real - answer.host_realtime;
  if (ago > now.latest - asked.raw || answer.within > heard.tsc - asked.tsc) {
    return;
  }
  // While CLOCK_REALTIME is corrected it may run so much faster or slower (kernel/time/ntp.c:
  // MAXFREQ, and as much again for an offset).
  constexpr std::uint64_t kPartOfCorrection = 1000;
  constexpr std::uint64_t kRounded = 2;  // ns
  const std::uint64_t corrected = ago / kPartOfCorrection + kRounded;
  perf::ClockRelation tsc_of_raw;
  tsc_of_raw.add(asked.raw, asked.tsc);
  tsc_of_raw.add(heard.raw, heard.tsc);
  const std::uint64_t within = std::max(asked.within, heard.within) + answer.within;
  const std::uint64_t before = tsc_of_raw.other_at(now.earliest - ago - corrected) - within;
  const std::uint64_t after = tsc_of_raw.other_at(now.latest - ago + corrected) + within;
  if (before <= heard.tsc && after >= asked.tsc) {
    add(std::max(before, asked.tsc), std::min(after, heard.tsc), answer.tsc);
  }
}

void ToldClock::add(std::uint64_t before, std::uint64_t after, std::uint64_t guest) {
  const auto least = static_cast<std::int64_t>(guest - after);
  const auto most = static_cast<std::int64_t>(guest - before);
  if (known_ && least <= most_ && most >= least_) {
    least_ = std::max(least_, least);
    most_ = std::min(most_, most);
    return;
  }
  changes_ += known_ ? 1 : 0;
  known_ = true;
  least_ = least;
  most_ = most;
}

TscRelation ToldClock::relation() const {
  return {.offset = static_cast<std::int64_t>(static_cast<std::uint64_t>(least_) + error()),
          .ratio = 1,
          .fraction_bits = 0};
}

std::uint64_t ToldClock::error() const {
  return (static_cast<std::uint64_t>(most_) - static_cast<std::uint64_t>(least_)) / 2;
}

}  // namespace xenoprof
