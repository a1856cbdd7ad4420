// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated PMU under an unmodified Debian kernel, seen with stock perf.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include "pmu_machine.h"

namespace xenoprof {
namespace {

// What prog_pmu_loop executes.
constexpr int64_t kLoopInstructions = 100'000'004;
constexpr int64_t kLoopBranches = 20'000'001;

const PmuMachine& machine() {
  return PmuMachine::shared("preset=family10h");
}

TEST(EmulatedPmu, IsAnAmdPmuToLinux) {
  const auto log = machine().sh("dmesg").out;
  EXPECT_NE(log.find("Performance Events: AMD PMU driver"), std::string::npos) << log;
}

TEST(EmulatedPmu, CountsALoopExactly) {
  for (int round = 0; round < 3; ++round) {
    auto counts = machine().stat("-e instructions:u,branches:u pmu_loop");
    EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 100);
    EXPECT_NEAR(counts["branches:u"], kLoopBranches, 100);
  }
}

// A loop that finds everything in its caches waits for nothing.
TEST(EmulatedPmu, CyclesAreInstructionsAndWhatTheyWaitFor) {
  auto counts = machine().stat("-e cycles:u pmu_loop");
  EXPECT_GE(counts["cycles:u"], kLoopInstructions);
  EXPECT_LT(counts["cycles:u"], kLoopInstructions * 101 / 100);
}

// The three counters are switched on and off one after the other, which is the kernel's work and
// all that may lie between them.
TEST(EmulatedPmu, UserAndKernelMakeTheTotal) {
  auto counts = machine().stat("-e '{instructions:u,instructions:k,instructions}' pmu_loop");
  EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 100);
  EXPECT_GT(counts["instructions:k"], 1000);
  EXPECT_NEAR(counts["instructions:u"] + counts["instructions:k"], counts["instructions"], 1000);
}

TEST(EmulatedPmu, VcpusCountApart) {
  auto counts = machine().stat("-a -A -e instructions:u -- taskset 2 pmu_loop");
  EXPECT_GE(counts["CPU1/instructions:u"], kLoopInstructions);
  EXPECT_LT(counts["CPU1/instructions:u"], kLoopInstructions + 5'000'000);
  EXPECT_LT(counts["CPU0/instructions:u"], 5'000'000);
}

TEST(EmulatedPmu, ReadsAreExactAndKeepTheFlags) {
  const auto result = machine().sh("pmu_reads");
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(EmulatedPmu, OneSampleForEachCount) {
  for (const int64_t period : {1'000'000, 100'003}) {
    ASSERT_EQ(
        machine()
            .sh(fmt::format("perf record -q -o /tmp/data -e instructions:u -c {} pmu_loop", period))
            .status,
        0);
    const auto samples = machine().sh("perf script -i /tmp/data -F event | wc -l");
    const auto whole = kLoopInstructions / period;
    EXPECT_NEAR(std::atoll(samples.out.c_str()), whole, 1) << period;
  }
}

// With the counter read at each sample, perf's periods add up to what was counted on the vCPU.
TEST(EmulatedPmu, OneSampleForEachCountOnEveryVcpu) {
  constexpr int64_t kPeriod = 100'003;
  ASSERT_EQ(machine()
                .sh(fmt::format("perf record -q -o /tmp/data -i -a -e instructions:S -c {} -- "
                                "sh -c 'taskset 1 pmu_loop & taskset 2 pmu_loop; wait'",
                                kPeriod))
                .status,
            0);
  const auto script = machine().sh("perf script -i /tmp/data -F cpu,period");
  std::map<std::string, std::pair<int64_t, int64_t>> vcpus;  // samples, sum of periods
  std::istringstream lines(script.out);
  for (std::string cpu, period; lines >> cpu >> period;) {
    vcpus[cpu].first += 1;
    vcpus[cpu].second += std::atoll(period.c_str());
  }
  ASSERT_EQ(vcpus.size(), 2u) << script.out.substr(0, 500) << script.err;
  for (const auto& [cpu, sums] : vcpus) {
    EXPECT_GE(sums.second, kLoopInstructions) << cpu;
    const auto whole = sums.second / kPeriod;
    EXPECT_NEAR(sums.first, whole, 1) << cpu;
  }
}

// Last: whatever the tests before did, no interrupt came that nobody had asked for.
TEST(EmulatedPmu, LeavesTheKernelLogClean) {
  const auto log = machine().sh("dmesg").out;
  for (const char* bad :
       {"unknown reason", "Dazed and confused", "BUG:", "Oops", "lockup", "stuck"}) {
    EXPECT_EQ(log.find(bad), std::string::npos) << log;
  }
}

}  // namespace
}  // namespace xenoprof
