// SPDX-License-Identifier: GPL-2.0-or-later
// A diagnosis with a known answer: the bug that the VEE 2005 paper found, put back.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab_machine.h"

namespace xenoprof {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::Not;

constexpr int kMib = 2;
const std::string kModule = "/lib/modules/xenolinux_rx.ko";

const LabMachine& machine() {
  // One vCPU: sender and receiver cost the same however the host schedules.
  return LabMachine::shared("linux", {"--vcpus", "1"});
}

std::string sh(const std::string& script) {
  const auto result = machine().exec("linux", {"sh", "-c", script});
  EXPECT_EQ(result.status, 0) << script << ": " << result.err;
  return result.out;
}

std::string receive(int mib) {
  return fmt::format("lagging_receiver 262144 256 320000 {}", mib);
}

void record(const std::string& file) {
  sh(fmt::format("perf record -q -g -a -e cycles -c 200003 -o {} -- {}", file, receive(kMib)));
}

std::vector<json> rows(const std::string& command) {
  const json view = json::parse(sh(command));
  return view.at("rows").get<std::vector<json>>();
}

// Of the first rows, in their order.
std::vector<std::string> symbols(const std::vector<json>& rows, std::size_t count) {
  std::vector<std::string> names;
  for (const json& row : rows) {
    if (names.size() < count) {
      names.push_back(row.at("symbol"));
    }
  }
  return names;
}

class ReceiveFootprint : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Packets as they come over a network, none of 64 KiB.
    sh("ifconfig lo mtu 1500 && ethtool -K lo tso off gso off gro off");
    // What happens once after a boot is not to be in one profile alone.
    sh(receive(1));
    sh("insmod " + kModule);
    record("/tmp/with.data");
    // Recorded later, and after it was there: unloaded, it must leave nothing behind.
    sh("rmmod xenolinux_rx");
    record("/tmp/without.data");
    // For the names of its functions.
    sh("insmod " + kModule);
  }
};

// Linux 6.1's skb_copy_bits() copies by calling memcpy(), and pages are cleared by
// clear_page_rep(); XenoLinux did both in place.
TEST_F(ReceiveFootprint, DiffFindsTheBugPutBack) {
  const auto growth = rows(fmt::format(
      "xenoprof diff /tmp/without.data /tmp/with.data --per MiB={0} --per MiB={0} --format json",
      kMib));
  EXPECT_THAT(symbols(growth, 3), IsSupersetOf({"memcpy", "clear_page_rep"}));
  const auto collapse = std::ranges::find_if(
      growth, [](const json& row) { return row.at("symbol") == "tcp_collapse"; });
  ASSERT_NE(collapse, growth.end());
  EXPECT_TRUE(collapse->at("beyond_error").at(0)) << *collapse;
  EXPECT_GT(collapse->at("growth").at(0), 0.0) << *collapse;
}

TEST_F(ReceiveFootprint, CallersSayWhoCopiesAndWhoClears) {
  const auto callers = [](const std::string& symbol) {
    return symbols(rows("xenoprof report /tmp/with.data --format json --callers " + symbol), 3);
  };
  EXPECT_THAT(callers("memcpy"), ElementsAre("memcpy", "skb_copy_bits", "tcp_collapse"));
  EXPECT_THAT(callers("clear_page_rep"), ElementsAre("clear_page_rep", "skbuff_ctor", "received"));
}

TEST_F(ReceiveFootprint, RefusesAFootprintThatCannotBe) {
  sh("rmmod xenolinux_rx");
  EXPECT_NE(machine().exec("linux", {"insmod", kModule, "footprint=4000000000"}).status, 0);
}

TEST_F(ReceiveFootprint, LeavesTheKernelLogClean) {
  const auto log = sh("dmesg");
  for (const char* bad : {"WARNING:", "BUG:", "Oops"}) {
    EXPECT_THAT(log, Not(testing::HasSubstr(bad)));
  }
}

}  // namespace
}  // namespace xenoprof
