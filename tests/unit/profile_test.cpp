// SPDX-License-Identifier: GPL-2.0-or-later
#include "model/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace xenoprof {
namespace {

using testing::ElementsAre;

class ProfileTest : public testing::Test {
 protected:
  LocationId at(std::uint64_t address) {
    return profile_.add_location(profile_.add_image("/prog", ""), address);
  }

  Profile profile_{{{"cycles", 1000}}};
};

TEST_F(ProfileTest, ReadsStacksLeafFirst) {
  const SampleKey key{.stack = profile_.add_stack(std::array{at(3), at(2), at(1)})};
  profile_.add(key, 0, 7);
  const Sample& sample = profile_.samples()[0];
  EXPECT_THAT(std::vector(profile_.stack(sample).begin(), profile_.stack(sample).end()),
              ElementsAre(at(3), at(2), at(1)));
  EXPECT_EQ(profile_.leaf(sample).address, 3u);
  EXPECT_THAT(sample.samples, ElementsAre(7));
}

TEST_F(ProfileTest, StacksThatBeginAlikeShareFrames) {
  const StackId one = profile_.add_stack(std::array{at(3), at(2), at(1)});
  const StackId other = profile_.add_stack(std::array{at(4), at(2), at(1)});
  EXPECT_EQ(profile_.frames().size(), 1u + 4u);
  EXPECT_EQ(profile_.add_stack(std::array{at(3), at(2), at(1)}), one);
  EXPECT_EQ(profile_.frames()[one].caller, profile_.frames()[other].caller);
}

TEST_F(ProfileTest, CallersStandBeforeWhomTheyCall) {
  profile_.add_stack(std::array{at(3), at(2), at(1)});
  profile_.add_stack(std::array{at(1), at(2), at(3)});
  for (StackId id = 1; id < profile_.frames().size(); ++id) {
    EXPECT_LT(profile_.frames()[id].caller, id);
  }
}

TEST_F(ProfileTest, FindsAgainWhatWasNamedSince) {
  const LocationId location = at(1);
  profile_.set_symbol(location, profile_.intern("main"));
  EXPECT_EQ(at(1), location);
  const ImageId image = profile_.add_image("/prog", "");
  profile_.set_build_id(image, profile_.intern("ab"));
  EXPECT_EQ(profile_.add_image("/prog", ""), image);
}

TEST_F(ProfileTest, KeepsThousandsApart) {
  for (std::uint64_t round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 5000; ++i) {
      profile_.add({.pid = static_cast<std::int32_t>(i % 7), .stack = profile_.add_alone(at(i))},
                   0);
    }
  }
  EXPECT_EQ(profile_.locations().size(), 5000u);
  ASSERT_EQ(profile_.samples().size(), 5000u);
  for (std::size_t i = 0; i < 5000; ++i) {
    EXPECT_EQ(profile_.leaf(profile_.samples()[i]).address, i);
    EXPECT_THAT(profile_.samples()[i].samples, ElementsAre(2));
  }
  EXPECT_EQ(profile_.total(0), 10000u);
}

TEST_F(ProfileTest, MergesStacksAndEvents) {
  profile_.add({.stack = profile_.add_stack(std::array{at(2), at(1)})}, 0, 3);
  Profile guest({{"misses", 10}, {"cycles", 1000}});
  const ImageId image = guest.add_image("/prog", "");
  const std::array stack{guest.add_location(image, 2, guest.intern("work")),
                         guest.add_location(image, 1)};
  SampleKey key{.process = guest.intern("crunch"), .stack = guest.add_stack(stack)};
  guest.add(key, 0, 5);
  guest.add(key, 1, 11);
  profile_.merge(guest, "guest1");
  profile_.merge(guest, "guest1");
  ASSERT_EQ(profile_.samples().size(), 2u);
  EXPECT_THAT(profile_.samples()[0].samples, ElementsAre(3, 0));
  const Sample& merged = profile_.samples()[1];
  EXPECT_THAT(merged.samples, ElementsAre(22, 10));
  EXPECT_EQ(profile_.text(merged.key.domain), "guest1");
  EXPECT_EQ(profile_.text(merged.key.process), "crunch");
  EXPECT_EQ(profile_.text(profile_.leaf(merged).symbol), "work");
  EXPECT_EQ(*++profile_.stack(merged).begin(), at(1)) << "the caller is found, not added again";
  EXPECT_EQ(profile_.total(0), 25u);
  EXPECT_EQ(profile_.total(1), 10u);
}

}  // namespace
}  // namespace xenoprof
