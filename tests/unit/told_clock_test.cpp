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
