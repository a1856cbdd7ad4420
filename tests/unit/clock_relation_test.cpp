// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/clock_relation.h"

#include <gtest/gtest.h>

namespace xenoprof::perf {
namespace {

TEST(ClockRelation, GoesByTheTwoLooksAroundATime) {
  ClockRelation clocks;
  clocks.add(1000, 10'000);
  clocks.add(2000, 12'000);  // twice as fast
  clocks.add(3000, 15'000);  // three times
  EXPECT_EQ(clocks.other_at(1500), 11'000u);
  EXPECT_EQ(clocks.other_at(2000), 12'000u);
  EXPECT_EQ(clocks.other_at(2500), 13'500u);
}

TEST(ClockRelation, OutsideOfAllLooksGoesByTheNearestTwo) {
  ClockRelation clocks;
  clocks.add(1000, 10'000);
  clocks.add(2000, 12'000);
  clocks.add(3000, 15'000);
  EXPECT_EQ(clocks.other_at(500), 9'000u);
  EXPECT_EQ(clocks.other_at(4000), 18'000u);
}

TEST(ClockRelation, BeforeTheOtherBeganItsTimeIsNought) {
  ClockRelation clocks;
  clocks.add(10'000, 1000);
  clocks.add(11'000, 2000);
  EXPECT_EQ(clocks.other_at(9'500), 500u);
  EXPECT_EQ(clocks.other_at(5'000), 0u);
}

TEST(ClockRelation, OneLookIsADifference) {
  ClockRelation clocks;
  clocks.add(1000, 10'000);
  EXPECT_EQ(clocks.other_at(900), 9'900u);
  EXPECT_EQ(clocks.other_at(1100), 10'100u);
}

// A day at some gigahertz, where a double has no single nanosecond left.
TEST(ClockRelation, IsExactForLargeTimes) {
  constexpr std::uint64_t kLate = std::uint64_t{1} << 60;
  ClockRelation clocks;
  clocks.add(kLate, 3 * kLate);
  clocks.add(kLate + 1000, 3 * kLate + 3000);
  EXPECT_EQ(clocks.other_at(kLate + 1), 3 * kLate + 3);
}

TEST(ClockRelation, LooksThatGoBackAreNotHeeded) {
  ClockRelation clocks;
  clocks.add(1000, 10'000);
  clocks.add(2000, 11'000);
  clocks.add(1500, 99'000);
  EXPECT_EQ(clocks.other_at(1500), 10'500u);
}

// What a guest's records and its host's are brought together by: a millionth of a second is much
// less than any task runs.
TEST(ClockRelation, TellsThisMachinesClockByItsCounter) {
  ClockRelation raw_of_tsc;
  const TscLook begin = look_at_tsc();
  while (raw_clock() < begin.raw + 2'000'000) {
  }
  const TscLook middle = look_at_tsc();
  while (raw_clock() < begin.raw + 4'000'000) {
  }
  const TscLook end = look_at_tsc();
  raw_of_tsc.add(begin.tsc, begin.raw);
  raw_of_tsc.add(end.tsc, end.raw);
  EXPECT_NEAR(static_cast<double>(raw_of_tsc.other_at(middle.tsc) - begin.raw),
              static_cast<double>(middle.raw - begin.raw), 20'000);
}

}  // namespace
}  // namespace xenoprof::perf
