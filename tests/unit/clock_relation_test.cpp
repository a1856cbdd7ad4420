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

TEST(ClockRelation, LooksThatAreTooNearAreNotHeeded) {
  ClockRelation clocks(1000);
  EXPECT_EQ(clocks.latest(), 0u);
  clocks.add(5000, 10'000);
  clocks.add(5999, 99'000);
  EXPECT_EQ(clocks.latest(), 5000u);
  clocks.add(6000, 11'000);
  EXPECT_EQ(clocks.latest(), 6000u);
  EXPECT_EQ(clocks.other_at(5500), 10'500u);
}

// A guest's clock while the guest is paused: half a second between looks each 100 ms.
TEST(ClockRelation, AClockThatStoodStillGoesByTheNearerLook) {
  constexpr std::uint64_t kMs = 1'000'000;
  ClockRelation clocks;
  for (std::uint64_t look = 0; look <= 5; ++look) {
    clocks.add(look * 100 * kMs, look * 100 * kMs);
  }
  clocks.add(1100 * kMs, 600 * kMs);  // paused from 560 to 1060
  clocks.add(1200 * kMs, 700 * kMs);
  EXPECT_EQ(clocks.other_at(450 * kMs), 450 * kMs);
  EXPECT_EQ(clocks.other_at(510 * kMs), 510 * kMs);
  EXPECT_EQ(clocks.other_at(559 * kMs), 559 * kMs);
  EXPECT_EQ(clocks.other_at(1061 * kMs), 561 * kMs);
  EXPECT_EQ(clocks.other_at(1090 * kMs), 590 * kMs);
  EXPECT_EQ(clocks.other_at(1150 * kMs), 650 * kMs);
}

// The guest has set its counter back: the one interval tells nothing of the clocks' rate.
TEST(ClockRelation, ACounterThatWasSetIsNoStandstillFromThenOn) {
  constexpr std::uint64_t kMs = 1'000'000;
  ClockRelation clocks;
  for (std::uint64_t look = 0; look <= 5; ++look) {
    clocks.add(look * 100 * kMs, look * 100 * kMs);
  }
  constexpr std::uint64_t kSetBack = 30;
  constexpr std::uint64_t kLast = 10;
  for (std::uint64_t look = 6; look <= kLast; ++look) {
    clocks.add((look * 100 - kSetBack) * kMs, look * 100 * kMs);
  }
  EXPECT_EQ(clocks.other_at(((kLast - 1) * 100 + 75 - kSetBack) * kMs), (kLast * 100 - 25) * kMs);
  // And a later standstill is known again.
  clocks.add((kLast * 100 + 600 - kSetBack) * kMs, (kLast * 100 + 100) * kMs);
  EXPECT_EQ(clocks.other_at((kLast * 100 + 50 - kSetBack) * kMs), (kLast * 100 + 50) * kMs);
}

TEST(ClockRelation, AfterAStandstillTimesBeyondAllLooksGoByTheRateBefore) {
  constexpr std::uint64_t kMs = 1'000'000;
  ClockRelation clocks;
  for (std::uint64_t look = 0; look <= 5; ++look) {
    clocks.add(look * 100 * kMs, look * 100 * kMs);
  }
  clocks.add(1100 * kMs, 600 * kMs);
  EXPECT_EQ(clocks.other_at(1110 * kMs), 610 * kMs);
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
