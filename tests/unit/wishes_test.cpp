// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/wishes.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>

namespace xenoprof {
namespace {

// The emulated machine's CPU, whatever this one is.
class OnFamily10h : public testing::Environment {
  void SetUp() override { setenv("LIBPFM_FORCE_PMU", "amd64_fam10h_barcelona", 1); }
};
const auto* const environment = testing::AddGlobalTestEnvironment(new OnFamily10h);

TEST(Wishes, TheUnionHasEachEventOnce) {
  const std::array all{Wishes{"this command", {{"instructions", 100000}}},
                       Wishes{"guest1", {{"branches", 50000}, {"RETIRED_INSTRUCTIONS", 100000}}}};
  const auto agreement = agree(all, 4);
  ASSERT_TRUE(agreement) << agreement.error().message;
  EXPECT_EQ(agreement->events, (std::vector<Event>{{"instructions", 100000}, {"branches", 50000}}));
  ASSERT_EQ(agreement->counters.size(), 2u);
  EXPECT_EQ(agreement->counters[1].event_select, 0xc2u);
  EXPECT_EQ(agreement->counters[1].count, 50000u);
}

TEST(Wishes, TooManyAreListedWithWhoWantsThem) {
  const std::array all{Wishes{"this command", {{"instructions", 100000}}},
                       Wishes{"guest1", {{"branches", 50000}}}};
  const auto agreement = agree(all, 1);
  ASSERT_FALSE(agreement);
  EXPECT_NE(agreement.error().message.find("instructions (this command), branches (guest1)"),
            std::string::npos)
      << agreement.error().message;
}

TEST(Wishes, DifferentCountsOfOneEventNameBothSides) {
  const std::array all{Wishes{"guest1", {{"instructions", 100000}}},
                       Wishes{"guest2", {{"instructions", 200000}}}};
  const auto agreement = agree(all, 4);
  ASSERT_FALSE(agreement);
  EXPECT_NE(agreement.error().message.find("guest1"), std::string::npos);
  EXPECT_NE(agreement.error().message.find("guest2"), std::string::npos);
}

TEST(Wishes, AnUnknownEventNamesWhoWantsIt) {
  const std::array all{Wishes{"guest1", {{"no-such-thing", 100000}}}};
  const auto agreement = agree(all, 4);
  ASSERT_FALSE(agreement);
  EXPECT_TRUE(agreement.error().message.starts_with("guest1 wants no-such-thing"));
}

TEST(Wishes, NoneIsAnError) {
  EXPECT_FALSE(agree({}, 4));
}

}  // namespace
}  // namespace xenoprof
