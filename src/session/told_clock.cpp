// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/told_clock.h"

#include <algorithm>

namespace xenoprof {

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
