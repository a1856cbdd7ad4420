// SPDX-License-Identifier: GPL-2.0-or-later
// Stock perf at work on the emulated PMU: nothing that it does makes the kernel complain.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "pmu_machine.h"

namespace xenoprof {
namespace {

const PmuMachine& machine() {
  return PmuMachine::shared("preset=family10h");
}

// What prog_pmu_loop executes.
constexpr int64_t kLoopInstructions = 100'000'004;

class PerfTools : public testing::Test {
 protected:
  void SetUp() override { machine().sh("dmesg -c"); }

  // perf's remark that interrupts are slow is switched off with the limit that it is about
  // (in the lab's first process). One that the host kept from running for long is not the PMU's
  // fault.
  void TearDown() override {
    const auto log = machine().sh("dmesg").out;
    for (const char* bad : {"unknown reason", "Dazed and confused", "BUG:", "Oops", "WARNING",
                            "lockup", "stuck", "stall", "perf: ", "MSR"}) {
      EXPECT_EQ(log.find(bad), std::string::npos) << bad << " in:\n" << log;
    }
    machine().sh("echo 0 > /proc/sys/kernel/nmi_watchdog");
  }
};

class WithWatchdog : public PerfTools, public testing::WithParamInterface<bool> {};

TEST_P(WithWatchdog, RecordTopAndStatWork) {
  ASSERT_EQ(
      machine().sh(fmt::format("echo {:d} > /proc/sys/kernel/nmi_watchdog", GetParam())).status, 0);
  ASSERT_EQ(machine().sh("perf record -q -o /tmp/data -a -- pmu_loop").status, 0);
  const auto recorded = machine().sh("perf report -i /tmp/data --stdio -s symbol");
  EXPECT_NE(recorded.out.find("] round"), std::string::npos) << recorded.out << recorded.err;

  // Its keyboard is a pipe that stays open.
  const auto top = machine().sh(
      "(while :; do pmu_loop; done) & load=$!; "
      "sleep 15 | timeout -s INT 15 perf top -F 100 --stdio -d 2; kill $load");
  EXPECT_NE(top.out.find("] round"), std::string::npos) << top.out << top.err;

  auto counts = machine().stat("-e instructions:u,branches:u pmu_loop");
  EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 100);
}

INSTANTIATE_TEST_SUITE_P(OffAndOn, WithWatchdog, testing::Bool());

TEST_F(PerfTools, CountForWhomTheKernelLets) {
  // Debian's kernel has a level 3 too.
  for (const int paranoid : {-1, 0, 1, 2, 3}) {
    machine().sh(fmt::format("echo {} > /proc/sys/kernel/perf_event_paranoid", paranoid));
    auto counts = machine().stat("-e instructions:u pmu_loop");
    EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 100) << paranoid;
    const auto other = machine().sh(
        "rm -f /tmp/other; start-stop-daemon -S -c 65534:65534 -x /usr/bin/perf -- "
        "stat -x, -o /tmp/other -e instructions:u pmu_loop; cat /tmp/other");
    auto others = parse_stat(other.out);
    if (paranoid <= 2) {
      EXPECT_NEAR(others["instructions:u"], kLoopInstructions, 100) << paranoid << other.err;
    } else {
      EXPECT_TRUE(others.empty()) << paranoid << other.out;
    }
  }
  machine().sh("echo -1 > /proc/sys/kernel/perf_event_paranoid");
}

// With the watchdog's counter on each vCPU, which goes and comes too.
TEST_F(PerfTools, VcpusMayGoAndComeBack) {
  machine().sh("echo 1 > /proc/sys/kernel/nmi_watchdog");
  const auto result = machine().sh(
      "perf record -q -o /tmp/data -a -e instructions -c 1000003 -- sh -c '"
      "for i in 1 2 3; do echo 0 > /sys/devices/system/cpu/cpu1/online; pmu_loop; "
      "echo 1 > /sys/devices/system/cpu/cpu1/online; pmu_loop; done'");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(machine().sh("cat /sys/devices/system/cpu/cpu1/online").out, "1\n");
  auto counts = machine().stat("-e instructions:u,branches:u taskset 2 pmu_loop");
  EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 5'000'000);
  EXPECT_GE(counts["instructions:u"], kLoopInstructions);
  auto samples = machine().sh(
      "perf record -q -o /tmp/data -e instructions:u -c 1000003 taskset 2 pmu_loop; "
      "perf script -i /tmp/data -F event | wc -l");
  EXPECT_GE(std::atoll(samples.out.c_str()), kLoopInstructions / 1000003 - 1);
}

// A vCPU that has nothing to do counts nothing: what remains is the kernel's housekeeping.
TEST_F(PerfTools, CountersRestWhileAVcpuIsIdle) {
  auto idle = machine().stat("-a -A -e instructions,cycles taskset 1 sleep 3");
  auto busy = machine().stat("-a -A -e instructions,cycles taskset 2 pmu_loop");
  EXPECT_GT(busy["CPU1/cycles"], kLoopInstructions);
  EXPECT_LT(idle["CPU1/instructions"], busy["CPU1/instructions"] / 5);
  EXPECT_LT(idle["CPU1/cycles"], busy["CPU1/cycles"] / 2);
}

}  // namespace
}  // namespace xenoprof
