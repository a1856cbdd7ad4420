// SPDX-License-Identifier: GPL-2.0-or-later
// The same answers as the lab's perf on what this machine may not have: hardware events, and code
// of kernel modules.
#include <gtest/gtest.h>

#include <string>

#include "pmu_machine.h"
#include "sample_counts.h"

namespace xenoprof {
namespace {

void expect_same_counts(const std::string& record, const std::string& shows) {
  const PmuMachine& machine = PmuMachine::shared("preset=family10h");
  const auto recorded = machine.sh("perf record -q -o /tmp/script.data " + record);
  ASSERT_EQ(recorded.status, 0) << recorded.err;
  // Beside /proc/kcore perf takes all modules for the kernel (tools/perf/util/symbol.c of 6.1,
  // dso__load_kcore).
  const auto theirs = machine.sh("cp /proc/kallsyms /tmp/kallsyms && " + std::string(kPerfScript) +
                                 " --kallsyms /tmp/kallsyms -i /tmp/script.data");
  const SampleCounts counts = counts_of_perf_script(theirs.out);
  EXPECT_GE(sum(counts), 100u) << theirs.err;
  for (const char* report : kReports) {
    SCOPED_TRACE(report);
    const auto ours = machine.sh("xenoprof " + std::string(report) + " /tmp/script.data");
    ASSERT_EQ(ours.status, 0) << ours.err;
    expect_same(counts, counts_of_report(ours.out), shows);
  }
}

TEST(PerfScript, HardwareEventsWithCallChains) {
  expect_same_counts(
      "-a -g -e instructions,branch-misses -c 200000 -- "
      "sh -c 'taskset 1 pmu_loop & taskset 2 pmu_loop; wait'",
      "pmu_loop | ");
}

// What the command writes leaves the machine through the driver of its network card.
TEST(PerfScript, KernelModules) {
  expect_same_counts("-a -g -e instructions -c 100000 -- head -c 8000000 /dev/zero",
                     "[virtio_net] | ");
}

}  // namespace
}  // namespace xenoprof
