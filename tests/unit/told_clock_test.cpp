// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/told_clock.h"

#include <gtest/gtest.h>

namespace xenoprof {
namespace {

constexpr std::uint64_t kBehind = 1'000'000;  // the guest's counter began so much later

TEST(ToldClock, EveryAnswerNarrowsWhatTheOthersLeft) {
  ToldClock clock;
  EXPECT_FALSE(clock.known());
  // Answered 10 after the question, heard 90 later: somewhere within 100.
  clock.add(2'000'000, 2'000'100, 2'000'010 - kBehind);
  EXPECT_TRUE(clock.known());
  EXPECT_EQ(clock.error(), 50u);
  EXPECT_NEAR(static_cast<double>(clock.relation().guest(3'000'000)), 2'000'000, 50);
  // This one the other way about: together they leave 20.
  clock.add(4'000'000, 4'000'100, 4'000'090 - kBehind);
  EXPECT_EQ(clock.error(), 10u);
  EXPECT_EQ(clock.relation().guest(5'000'000), 5'000'000 - kBehind);
  // A slow one adds nothing.
  clock.add(6'000'000, 6'900'000, 6'500'000 - kBehind);
  EXPECT_EQ(clock.error(), 10u);
  EXPECT_EQ(clock.changes(), 0u);
}

TEST(ToldClock, AContradictionBeginsAnew) {
  ToldClock clock;
  clock.add(2'000'000, 2'000'100, 2'000'050 - kBehind);
  clock.add(3'000'000, 3'000'200, 7'000'100);
  EXPECT_EQ(clock.changes(), 1u);
  EXPECT_EQ(clock.error(), 100u);
  EXPECT_EQ(clock.relation().guest(4'000'000), 8'000'000u);
}

TEST(ToldClock, CountersThatRunApartContradictSoon) {
  ToldClock clock;
  for (std::uint64_t host = 0; host < 10'000'000; host += 1'000'000) {
    clock.add(host, host + 100, host + host / 1000 + 50);
  }
  EXPECT_EQ(clock.changes(), 9u);
}

constexpr std::uint64_t kBoot = 1'700'000'000'000'000'000;  // CLOCK_REALTIME of raw 0

// 3 ticks a nanosecond; asked at 1 ms and heard at 2.
class ToldClockByHost : public testing::Test {
 protected:
  static perf::TscLook look(std::uint64_t raw) {
    return {.tsc = 3 * raw, .raw = raw, .within = 300};
  }
  void answer(std::uint64_t raw, std::uint64_t within, std::uint64_t lost = 100) {
    clock_.add(
        look(1'000'000), look(2'000'000),
        {.tsc = 3 * raw - kBehind, .host_realtime = kBoot + raw, .within = within},
        {.earliest = 2'100'000, .real = kBoot + 2'100'000 + lost / 2, .latest = 2'100'000 + lost});
  }
  ToldClock clock_;
};

TEST_F(ToldClockByHost, KnowsTheMomentAsWellAsBothSidesLooked) {
  answer(1'500'000, 600);
  EXPECT_EQ(clock_.changes(), 0u);
  EXPECT_NEAR(static_cast<double>(clock_.relation().guest(9'000'000)),
              static_cast<double>(9'000'000 - kBehind), 1);
  // 600 and 300 of the looks, 50 ns of the last one, some 600 ns of what it may be corrected by.
  EXPECT_GE(clock_.error(), 600u + 300 + 150 + 1800);
  EXPECT_LE(clock_.error(), 600u + 300 + 150 + 1800 + 20);
}

TEST_F(ToldClockByHost, TimeLostBetweenLooksWidensWhatIsKnown) {
  answer(1'500'000, 600, 200'000);
  EXPECT_GE(clock_.error(), 300'000u);
  answer(1'900'000, 600);
  EXPECT_EQ(clock_.changes(), 0u);
  EXPECT_LE(clock_.error(), 3000u);
}

TEST_F(ToldClockByHost, AMomentThatCannotBeTellsNothing) {
  for (const std::uint64_t raw : {std::uint64_t{999'000}, std::uint64_t{2'200'000},
                                  std::uint64_t{0}, ~std::uint64_t{0} - kBoot}) {
    ToldClock clock;
    clock.add(look(1'000'000), look(2'000'000),
              {.tsc = 4'500'000 - kBehind, .host_realtime = kBoot + raw, .within = 0},
              {.earliest = 2'100'000, .real = kBoot + 2'100'000, .latest = 2'100'100});
    EXPECT_EQ(clock.error(), 1'500'000u) << raw;
    EXPECT_EQ(clock.changes(), 0u);
  }
  answer(1'500'000, ~std::uint64_t{0});
  EXPECT_EQ(clock_.error(), 1'500'000u);
}

// An answer out of a guest can be any number.
TEST(ToldClock, NothingOverflows) {
  ToldClock clock;
  for (const std::uint64_t guest : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    clock.add(0, ~std::uint64_t{0}, guest);
    clock.add(100, 50, guest);
    (void)clock.relation().guest(guest);
    (void)clock.error();
  }
}

}  // namespace
}  // namespace xenoprof
