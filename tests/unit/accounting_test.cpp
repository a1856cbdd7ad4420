// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/accounting.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <string>

#include "stacks.h"

namespace xenoprof {
namespace {

const std::vector<Event> kOne = {{"instructions", 100000}};
const std::vector<Event> kTwo = {{"instructions", 100000}, {"cycles", 200000}};

using Losses = std::map<std::string, std::uint64_t>;

std::uint64_t taken(const DomainTotals& domain) {
  std::uint64_t sum = 0;
  for (const EventTotals& event : domain.events) {
    sum += event.taken;
  }
  return sum;
}

std::uint64_t taken(std::span<const VcpuTotals> totals) {
  std::uint64_t sum = 0;
  for (const VcpuTotals& vcpu : totals) {
    sum += vcpu.taken();
  }
  return sum;
}

// All that arrived is in the profile.
Received whole(const std::vector<std::uint64_t>& samples) {
  return {.arrived = samples, .delivered = samples};
}

TEST(Account, WithoutLossTakenIsDelivered) {
  const VcpuTotals vcpu{.hypervisor = 10, .kernel = 20, .user = 30, .emitted = {60}};
  const auto result = account(kOne, std::array{vcpu}, whole({60}), true);
  EXPECT_EQ(taken(result), 60u);
  EXPECT_EQ(result.events[0].delivered, 60u);
  EXPECT_TRUE(result.events[0].lost.empty());
  EXPECT_FALSE(result.events[0].estimated);
}

TEST(Account, EveryLossHasItsCause) {
  const std::array totals{
      VcpuTotals{.hypervisor = 10, .kernel = 20, .user = 30, .lost = 7, .emitted = {55}},
      VcpuTotals{.vcpu = 1, .user = 40, .lost = 1, .emitted = {40}}};
  const auto result = account(kOne, totals, whole({92}), true);
  EXPECT_EQ(taken(result), taken(totals));
  EXPECT_EQ(result.counted, taken(totals));
  EXPECT_EQ(result.events[0].lost,
            (Losses{{kLostInHypervisor, 8}, {kLostInDriver, 5}, {kLostInPerf, 3}}));
  EXPECT_EQ(result.events[0].taken, 108u);
}

TEST(Account, DividedLossesSumUpExactlyAndAreMarked) {
  for (std::uint64_t lost : {1, 2, 7, 100, 101}) {
    const VcpuTotals vcpu{.kernel = 500, .lost = lost, .emitted = {333, 167}};
    auto result = account(kTwo, std::array{vcpu}, whole({333, 167}), true);
    EXPECT_EQ(taken(result), vcpu.taken());
    EXPECT_EQ(result.events[0].lost[kLostInHypervisor] + result.events[1].lost[kLostInHypervisor],
              lost);
    EXPECT_TRUE(result.events[0].estimated);
  }
}

TEST(Account, LossWithoutAnySampleIsStillCounted) {
  const VcpuTotals vcpu{.lost = 9};
  const auto result = account(kTwo, std::array{vcpu}, whole({0, 0}), true);
  EXPECT_EQ(taken(result), 9u);
}

TEST(Account, WithoutTheLastWordTheRestIsLostWithTheAgent) {
  const VcpuTotals vcpu{.user = 50, .lost = 2, .emitted = {45}};
  const auto result = account(kOne, std::array{vcpu}, whole({40}), false);
  EXPECT_FALSE(result.whole);
  EXPECT_EQ(taken(result), 52u);
  EXPECT_EQ(result.events[0].lost, (Losses{{kLostInHypervisor, 2}, {kLostWithAgent, 10}}));
  // Records can be ahead of the last totals that were reported.
  EXPECT_EQ(taken(account(kOne, std::array{vcpu}, whole({48}), false)), 52u);
}

TEST(Account, WhatTheDiskDidNotTakeIsLostThere) {
  const VcpuTotals vcpu{.user = 50, .lost = 2, .emitted = {45}};
  const Received received{.arrived = {40}, .delivered = {30}};
  const auto passive = account(kOne, std::array{vcpu}, received, true);
  EXPECT_EQ(taken(passive), 52u);
  EXPECT_EQ(passive.events[0].delivered, 30u);
  EXPECT_EQ(
      passive.events[0].lost,
      (Losses{{kLostInHypervisor, 2}, {kLostInDriver, 5}, {kLostInPerf, 5}, {kLostOnDisk, 10}}));
  const auto without_agent = account(kOne, std::array{vcpu}, received, false);
  EXPECT_EQ(taken(without_agent), 52u);
  EXPECT_EQ(without_agent.events[0].lost,
            (Losses{{kLostInHypervisor, 2}, {kLostWithAgent, 10}, {kLostOnDisk, 10}}));
  // Also what came after the last totals.
  EXPECT_EQ(taken(account(kOne, std::array{vcpu}, {.arrived = {60}, .delivered = {30}}, false)),
            62u);
}

// Samples by mode of the profile's events.
std::map<Mode, std::vector<std::uint64_t>> by_mode(const Profile& profile) {
  std::map<Mode, std::vector<std::uint64_t>> sums;
  for (const Sample& sample : profile.samples()) {
    std::vector<std::uint64_t>& sum = sums[sample.key.mode];
    sum.resize(sample.samples.size());
    std::ranges::transform(sum, sample.samples, sum.begin(), std::plus<>());
  }
  return sums;
}

TEST(Untold, IsWhatWasTakenWithoutWhatTheAgentNamed) {
  Profile taken(kTwo);
  add(taken, {.calls = {{"[guest.user]", ""}}, .samples = 10});
  add(taken, {.calls = {{"[guest.kernel]", ""}}, .samples = 5, .mode = Mode::kKernel});
  add(taken, {.calls = {{"[guest.kernel]", ""}}, .samples = 3, .mode = Mode::kKernel, .event = 1});
  EXPECT_EQ(by_mode(untold(taken, nullptr)), by_mode(taken));

  // A guest that samples itself as well tells of its own events first.
  Profile told({{"instructions@guest", 100000}, {"cycles@guest", 200000}, kTwo[0], kTwo[1]});
  add(told, {.calls = {{}}, .samples = 4, .event = 2});
  add(told, {.calls = {{}}, .samples = 1, .mode = Mode::kKernel, .event = 3});
  add(told, {.calls = {{}}, .samples = 99, .event = 0});
  EXPECT_EQ(by_mode(untold(taken, &told)), (std::map<Mode, std::vector<std::uint64_t>>{
                                               {Mode::kUser, {6, 0}}, {Mode::kKernel, {5, 2}}}));
}

TEST(Untold, IsNeverMoreThanWasTakenWhateverTheAgentTells) {
  Profile taken(kOne);
  add(taken, {.calls = {{"[guest.user]", ""}}, .samples = 10});
  add(taken, {.calls = {{"[guest.kernel]", ""}}, .samples = 5, .mode = Mode::kKernel});
  Profile told(kOne);  // all of it of one mode
  add(told, {.calls = {{}}, .samples = 12, .mode = Mode::kKernel});
  EXPECT_EQ(untold(taken, &told).total(0), 3u);
  add(told, {.calls = {{}}, .samples = 1000, .mode = Mode::kHypervisor});
  EXPECT_EQ(untold(taken, &told).total(0), 0u);
}

}  // namespace
}  // namespace xenoprof
