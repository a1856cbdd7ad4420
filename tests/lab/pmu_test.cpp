// SPDX-License-Identifier: GPL-2.0-or-later
// The emulated PMU under an unmodified Debian kernel, seen with stock perf.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "lab_machine.h"

namespace xenoprof {
namespace {

// What prog_pmu_loop executes.
constexpr int64_t kLoopInstructions = 100'000'004;
constexpr int64_t kLoopBranches = 20'000'001;

class EmulatedPmu : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    lab_ = &LabMachine::shared("linux", {"--cpus", "2"});
    for (const std::string name : {"pmu_loop", "pmu_oracle", "pmu_reads"}) {
      lab_->copy_in(std::filesystem::path(XENOPROF_BUILD) / "bin" / ("prog_" + name), "linux",
                    "/usr/bin/" + name);
    }
    // A kernel that finds its interrupts slow, as emulated ones are, would drop samples.
    in("echo 0 > /proc/sys/kernel/perf_cpu_time_max_percent; "
       "echo 100000 > /proc/sys/kernel/perf_event_max_sample_rate");
  }

  static CommandResult in(const std::string& script) {
    return lab_->exec("linux", {"sh", "-c", script});
  }

  // Counts by event name; with `--per-cpu`, by "CPU0/event".
  static std::map<std::string, int64_t> count(const std::string& options) {
    const auto result = in("perf stat -x, -o /tmp/stat " + options + " && cat /tmp/stat");
    EXPECT_EQ(result.status, 0) << result.err;
    std::map<std::string, int64_t> counts;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) {
      std::vector<std::string> fields;
      std::istringstream rest(line);
      for (std::string field; std::getline(rest, field, ',');) {
        fields.push_back(field);
      }
      if (fields.size() > 3 && fields[0].starts_with("CPU")) {
        counts[fields[0] + "/" + fields[3]] = std::atoll(fields[1].c_str());
      } else if (fields.size() > 2) {
        counts[fields[2]] = std::atoll(fields[0].c_str());
      }
    }
    return counts;
  }

  static LabMachine* lab_;
};

LabMachine* EmulatedPmu::lab_ = nullptr;

TEST_F(EmulatedPmu, IsAnAmdPmuToLinux) {
  const auto log = in("dmesg").out;
  EXPECT_NE(log.find("Performance Events: AMD PMU driver"), std::string::npos) << log;
}

TEST_F(EmulatedPmu, CountsALoopExactly) {
  for (int round = 0; round < 3; ++round) {
    auto counts = count("-e instructions:u,branches:u pmu_loop");
    EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 100);
    EXPECT_NEAR(counts["branches:u"], kLoopBranches, 100);
  }
}

// A loop that finds everything in its caches waits for nothing.
TEST_F(EmulatedPmu, CyclesAreInstructionsAndWhatTheyWaitFor) {
  auto counts = count("-e cycles:u pmu_loop");
  EXPECT_GE(counts["cycles:u"], kLoopInstructions);
  EXPECT_LT(counts["cycles:u"], kLoopInstructions * 101 / 100);
}

// What a run of tests/programs/pmu_oracle.c costs beyond one that only sets up. Sizes well below
// and well above each capacity: at the capacity itself the kernel's timer takes part.
struct Oracle {
  const char* program;  // case and size
  int64_t rounds;
  const char* event;
  int64_t expected;
};

class KnownMisses : public EmulatedPmu, public testing::WithParamInterface<Oracle> {};

TEST_P(KnownMisses, AreCounted) {
  const Oracle& oracle = GetParam();
  const std::string event = std::string(oracle.event) + ":u";
  const auto run = [&](int64_t rounds) {
    auto counts = count(fmt::format("-e {} pmu_oracle {} {}", event, oracle.program, rounds));
    return counts[event];
  };
  constexpr int64_t kSteps = 400'000;  // of each run, about
  EXPECT_NEAR(run(oracle.rounds) - run(0), oracle.expected, kSteps / 250);
}

INSTANTIATE_TEST_SUITE_P(Family10h, KnownMisses,
                         testing::Values(Oracle{"pages 40", 10000, "r0145", 0},
                                         Oracle{"pages 64", 6250, "r0145", 400000},
                                         Oracle{"pages 384", 1040, "r0146", 0},
                                         Oracle{"pages 640", 625, "r0146", 400000},
                                         Oracle{"lines 512", 780, "r0041", 0},
                                         Oracle{"lines 2048", 195, "r0041", 399360},
                                         Oracle{"lines 2048", 195, "r027d", 399360},
                                         Oracle{"code-pages 24", 16666, "r0084", 0},
                                         Oracle{"code-pages 64", 6250, "r0084", 400000},
                                         Oracle{"code-pages 640", 625, "r0185", 400000},
                                         Oracle{"code-lines 512", 780, "r0081", 0},
                                         Oracle{"code-lines 1536", 260, "r0081", 399360},
                                         Oracle{"inner-loop 20", 20000, "r00c3", 20000},
                                         Oracle{"deep-calls 34", 10000, "r00c3", 110000},
                                         Oracle{"indirect 0", 100000, "r00c3", 200000}));

// The three counters are switched on and off one after the other, which is the kernel's work and
// all that may lie between them.
TEST_F(EmulatedPmu, UserAndKernelMakeTheTotal) {
  auto counts = count("-e '{instructions:u,instructions:k,instructions}' pmu_loop");
  EXPECT_NEAR(counts["instructions:u"], kLoopInstructions, 100);
  EXPECT_GT(counts["instructions:k"], 1000);
  EXPECT_NEAR(counts["instructions:u"] + counts["instructions:k"], counts["instructions"], 1000);
}

TEST_F(EmulatedPmu, VcpusCountApart) {
  auto counts = count("-a -A -e instructions:u -- taskset 2 pmu_loop");
  EXPECT_GE(counts["CPU1/instructions:u"], kLoopInstructions);
  EXPECT_LT(counts["CPU1/instructions:u"], kLoopInstructions + 5'000'000);
  EXPECT_LT(counts["CPU0/instructions:u"], 5'000'000);
}

TEST_F(EmulatedPmu, ReadsAreExactAndKeepTheFlags) {
  const auto result = in("pmu_reads");
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_F(EmulatedPmu, OneSampleForEachCount) {
  for (const int64_t period : {1'000'000, 100'003}) {
    ASSERT_EQ(
        in(fmt::format("perf record -q -o /tmp/data -e instructions:u -c {} pmu_loop", period))
            .status,
        0);
    const auto samples = in("perf script -i /tmp/data -F event | wc -l");
    EXPECT_NEAR(std::atoll(samples.out.c_str()), kLoopInstructions / period, 1) << period;
  }
}

// With the counter read at each sample, perf's periods add up to what was counted on the vCPU.
TEST_F(EmulatedPmu, OneSampleForEachCountOnEveryVcpu) {
  constexpr int64_t kPeriod = 100'003;
  ASSERT_EQ(in(fmt::format("perf record -q -o /tmp/data -i -a -e instructions:S -c {} -- "
                           "sh -c 'taskset 1 pmu_loop & taskset 2 pmu_loop; wait'",
                           kPeriod))
                .status,
            0);
  const auto script = in("perf script -i /tmp/data -F cpu,period");
  std::map<std::string, std::pair<int64_t, int64_t>> vcpus;  // samples, sum of periods
  std::istringstream lines(script.out);
  for (std::string cpu, period; lines >> cpu >> period;) {
    vcpus[cpu].first += 1;
    vcpus[cpu].second += std::atoll(period.c_str());
  }
  ASSERT_EQ(vcpus.size(), 2u) << script.out.substr(0, 500) << script.err;
  for (const auto& [cpu, sums] : vcpus) {
    EXPECT_GE(sums.second, kLoopInstructions) << cpu;
    EXPECT_NEAR(sums.first, sums.second / kPeriod, 1) << cpu;
  }
}

// Last: whatever the tests before did, no interrupt came that nobody had asked for.
TEST_F(EmulatedPmu, LeavesTheKernelLogClean) {
  const auto log = in("dmesg").out;
  for (const char* bad :
       {"unknown reason", "Dazed and confused", "BUG:", "Oops", "lockup", "stuck"}) {
    EXPECT_EQ(log.find(bad), std::string::npos) << log;
  }
}

}  // namespace
}  // namespace xenoprof
