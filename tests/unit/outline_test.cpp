// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/outline.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/unit/stacks.h"

namespace xenoprof {
namespace {

Profile two_functions() {
  Profile profile({{"instructions", 1000}, {"cycles", 1000}});
  add(profile, {.calls = {{.symbol = "main"}, {.symbol = "hot", .address = 0x10}}, .samples = 5});
  add(profile, {.calls = {{.symbol = "hot", .address = 0x20}},
                .samples = 3,
                .pid = 11,
                .tid = 12,
                .vcpu = 1});
  add(profile, {.calls = {{.symbol = "cold"}}, .samples = 1, .event = 1});
  return profile;
}

TEST(Outline, AddsUpByFunction) {
  const Profile all = outline(two_functions());
  ASSERT_EQ(all.samples().size(), 2u);
  const Sample hot = all.samples()[0];
  EXPECT_EQ(all.text(all.leaf(hot).symbol), "hot");
  EXPECT_EQ(all.text(hot.key.process), "a");
  EXPECT_EQ(hot.samples[0], 8u);
  EXPECT_EQ(all.total(1), 1u);
}

TEST(Outline, KeepsAddressesThatHaveNoNameYet) {
  Profile profile({{"instructions", 1000}});
  add(profile, {.calls = {{.image = "[xen]", .symbol = "", .address = 0xffff82d040200010}}});
  add(profile, {.calls = {{.image = "[xen]", .symbol = "", .address = 0xffff82d040200020}}});
  const Profile all = outline(profile);
  ASSERT_EQ(all.samples().size(), 2u);
  EXPECT_EQ(all.leaf(all.samples()[0]).address, 0xffff82d040200010);
}

TEST(Outline, OfMoreRowsThanAskedForTheLargestAndTheRestByMode) {
  Profile profile({{"instructions", 1000}});
  add(profile, {.calls = {{.symbol = "small"}}, .samples = 1});
  add(profile, {.calls = {{.symbol = "large"}}, .samples = 9});
  add(profile, {.calls = {{.symbol = "other"}}, .samples = 2});
  add(profile,
      {.calls = {{.image = "[kernel]", .symbol = "do_read"}}, .samples = 3, .mode = Mode::kKernel});
  const Profile some = outline(profile, 1);
  EXPECT_EQ(some.total(0), 15u);
  std::map<std::string, std::uint64_t> found;
  for (const Sample& sample : some.samples()) {
    found[std::string(some.text(some.leaf(sample).symbol)) + " " +
          std::string(to_string(sample.key.mode))] = sample.samples[0];
  }
  EXPECT_EQ(found, (std::map<std::string, std::uint64_t>{
                       {"large user", 9}, {"(others) user", 3}, {"(others) kernel", 3}}));
}

}  // namespace
}  // namespace xenoprof
