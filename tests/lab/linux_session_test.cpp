// SPDX-License-Identifier: GPL-2.0-or-later
// `xenoprof record` on a bare machine with counters, and perf at the same time.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "pmu_machine.h"
#include "sample_counts.h"

namespace xenoprof {
namespace {

const PmuMachine& machine() {
  return PmuMachine::shared("preset=family10h");
}

std::string session_report() {
  const auto reported = machine().sh("xenoprof " + std::string(kReports[0]) + " /tmp/session");
  EXPECT_EQ(reported.status, 0) << reported.err;
  return reported.out;
}

// pmu_loop executes 100,000,004 instructions. `work` is a shell's, and has the CPU in $online.
void expect_loops_on_cpu1(const std::string& work, int loops) {
  const auto recorded = machine().sh(
      "export online=/sys/devices/system/cpu/cpu1/online; "
      "xenoprof record --no-progress -a -e instructions:100000 -o /tmp/session -- sh -c '" +
      work + "'; s=$?; echo 1 > $online; exit $s");
  ASSERT_EQ(recorded.status, 0) << recorded.err;
  const auto there = machine().sh(
      "perf script -i /tmp/session/host.perf.data -F comm,cpu | grep -c 'pmu_loop *.001.'");
  EXPECT_GE(std::atoll(there.out.c_str()), 995 * loops) << there.err;
  EXPECT_LE(std::atoll(there.out.c_str()), 1100 * loops) << "more than their handling adds";
  EXPECT_NE(machine().sh("xenoprof report /tmp/session").out.find("CPU 1 came online"),
            std::string::npos);
}

TEST(LinuxSession, CpusThatComeOnlineAreRecorded) {
  ASSERT_EQ(machine().sh("echo 0 > /sys/devices/system/cpu/cpu1/online").status, 0);
  expect_loops_on_cpu1(
      "for i in 1 2; do echo 1 > $online; sleep 2.5; taskset 2 pmu_loop; echo 0 > $online; "
      "sleep 2.5; done",
      2);
}

TEST(LinuxSession, CpusThatWereAwayForAMomentAreRecorded) {
  expect_loops_on_cpu1("echo 0 > $online; echo 1 > $online; sleep 2.5; taskset 2 pmu_loop", 1);
}

// By perf's frequency a sample of a CPU that does little stands for fewer cycles than one of a busy
// CPU, and shares are wrong.
TEST(LinuxSession, CyclesWithoutACountAreSampledEachSoMany) {
  const auto recorded = machine().sh(
      "xenoprof record --no-progress -F 10000 -o /tmp/session -- "
      "perf stat -x, -e cycles -o /tmp/stat pmu_loop");
  ASSERT_EQ(recorded.status, 0) << recorded.err;
  const auto counted = parse_stat(machine().sh("cat /tmp/stat").out)["cycles"];
  EXPECT_GE(counted, 100'000'004);

  std::int64_t samples = 0;
  for (const auto& [function, number] : counts_of_report(session_report())) {
    samples += function.starts_with("pmu_loop | ") ? static_cast<std::int64_t>(number) : 0;
  }
  EXPECT_GE(samples, 100);
  const auto each = machine().sh("perf script -i /tmp/session/host.perf.data -F period | sort -u");
  EXPECT_NEAR(static_cast<double>(samples * std::atoll(each.out.c_str())),
              static_cast<double>(counted), 0.02 * static_cast<double>(counted))
      << each.out;
}

// Four counters for six events.
TEST(LinuxSession, EventsThatHadACounterForAPartOfTheTimeAreToldOf) {
  for (const char* whose : {"", "-a "}) {
    const auto recorded = machine().sh(
        "xenoprof record --no-progress -o /tmp/session -e instructions:100000,cycles:100000,"
        "branches:20000,cache-references:10000,L1-dcache-loads:50000,branch-misses:1000 " +
        std::string(whose) + "-- pmu_work");
    ASSERT_EQ(recorded.status, 0) << recorded.err;
    EXPECT_NE(recorded.err.find("too few counters for all events"), std::string::npos);
    const auto few = machine().sh(
        "xenoprof record --no-progress -o /tmp/session -e instructions:100000,cycles:100000 " +
        std::string(whose) + "-- pmu_work");
    ASSERT_EQ(few.status, 0) << few.err;
    EXPECT_EQ(few.err.find("too few counters"), std::string::npos) << few.err;
  }
}

TEST(LinuxSession, TopNamesWhatRuns) {
  const auto top = machine().sh(
      "(until [ -e /tmp/seen ]; do pmu_loop; done) & "
      "xenoprof top -e instructions:1000000 --batch --iterations 2; touch /tmp/seen; wait");
  EXPECT_NE(top.out.find(" in the profile"), std::string::npos) << top.out << top.err;
  EXPECT_NE(top.out.find("pmu_loop"), std::string::npos) << top.out << top.err;
  EXPECT_NE(top.out.find("none lost"), std::string::npos) << top.out << top.err;
}

// Functions of one program and of the kernel on its behalf. The counts share no divisor, so that
// the two do not sample the same instructions.
TEST(LinuxSession, SharesAreThoseOfPerfAtTheSameTime) {
  const auto recorded = machine().sh(
      "perf record -q -a -e instructions -c 50021 -o /tmp/perf.data -- "
      "xenoprof record --no-progress -a -e instructions:50023 -o /tmp/session -- "
      "sh -c 'pmu_work; find /sys -name nothing; find /sys -name nothing'");
  ASSERT_EQ(recorded.status, 0) << recorded.err;
  const auto script =
      machine().sh("cp /proc/kallsyms /tmp/kallsyms && " + std::string(kPerfScript) +
                   " --kallsyms /tmp/kallsyms -i /tmp/perf.data");
  SampleCounts theirs = counts_of_perf_script(script.out);
  SampleCounts ours = counts_of_report(session_report());
  // perf begins earlier and ends later.
  const auto of_another = [](const auto& entry) {
    return !entry.first.starts_with("pmu_work | ") && !entry.first.starts_with("find | ");
  };
  std::erase_if(theirs, of_another);
  std::erase_if(ours, of_another);
  const auto all_theirs = static_cast<double>(sum(theirs));
  const auto all_ours = static_cast<double>(sum(ours));
  EXPECT_GE(all_ours, 1000);
  EXPECT_NEAR(all_ours / all_theirs, 1, 0.02);
  SampleCounts either = theirs;
  either.insert(ours.begin(), ours.end());
  int compared = 0;
  for (const auto& [function, unused] : either) {
    const auto here = static_cast<double>(ours[function]);
    const auto there = static_cast<double>(theirs[function]);
    const double share = (here + there) / (all_ours + all_theirs);
    const double deviation = std::sqrt(share * (1 - share) * (1 / all_ours + 1 / all_theirs));
    // Of many functions one is four deviations off by chance, seldom.
    EXPECT_LE(std::abs(here / all_ours - there / all_theirs), 5 * deviation)
        << fmt::format("{}: {} of {}, perf {} of {}", function, here, all_ours, there, all_theirs);
    compared += share > 0.01 ? 1 : 0;
  }
  EXPECT_GE(compared, 5) << "the work is too simple to tell";
}

}  // namespace
}  // namespace xenoprof
