// SPDX-License-Identifier: GPL-2.0-or-later
#include "pmu_machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <sstream>

namespace xenoprof {

Counts parse_stat(const std::string& csv) {
  Counts counts;
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> fields;
    std::istringstream rest(line);
    for (std::string field; std::getline(rest, field, ',');) {
      fields.push_back(field);
    }
    const std::size_t value = !fields.empty() && fields[0].starts_with("CPU") ? 1 : 0;
    if (fields.size() < value + 3 || fields[value].empty() ||
        std::isdigit(static_cast<unsigned char>(fields[value][0])) == 0) {
      continue;
    }
    const std::string& event = fields[value + 2];
    counts[value == 1 ? fields[0] + "/" + event : event] = std::atoll(fields[value].c_str());
  }
  return counts;
}

PmuMachine& PmuMachine::shared(const std::string& arguments) {
  static std::map<std::string, std::unique_ptr<PmuMachine>> machines;
  auto& machine = machines[arguments];
  if (!machine) {
    machine.reset(
        new PmuMachine(LabMachine::shared("linux", {"--vcpus", "2", "--pmu", arguments})));
  }
  return *machine;
}

PmuMachine::PmuMachine(LabMachine& lab) : lab_(&lab) {
  for (const std::string name :
       {"pmu_interrupts", "pmu_loop", "pmu_oracle", "pmu_pingpong", "pmu_reads", "pmu_work"}) {
    lab_->copy_in(std::filesystem::path(XENOPROF_BUILD) / "bin" / ("prog_" + name), "linux",
                  "/usr/bin/" + name);
  }
  // For the loops that go over large pages: 96, or 64 on each vCPU, and some for alignment.
  sh("echo 140 > /proc/sys/vm/nr_hugepages");
}

CommandResult PmuMachine::sh(const std::string& script) const {
  return lab_->exec("linux", {"sh", "-c", script});
}

Counts PmuMachine::stat(const std::string& options) const {
  const auto result = sh("perf stat -x, -o /tmp/stat " + options + " >/dev/null && cat /tmp/stat");
  EXPECT_EQ(result.status, 0) << options << ": " << result.err;
  return parse_stat(result.out);
}

Counts PmuMachine::rounds(const std::string& loop, std::int64_t times,
                          const std::vector<std::string>& events) const {
  constexpr std::size_t kAtOnce = 3;
  Counts counts;
  for (std::size_t i = 0; i < events.size(); i += kAtOnce) {
    const auto end =
        events.begin() + static_cast<std::ptrdiff_t>(std::min(i + kAtOnce, events.size()));
    const auto result =
        sh(fmt::format("pmu_oracle {} {} {}", loop, times,
                       fmt::join(events.begin() + static_cast<std::ptrdiff_t>(i), end, " ")));
    EXPECT_EQ(result.status, 0) << loop << ": " << result.err;
    std::istringstream lines(result.out);
    std::string event;
    for (std::int64_t count = 0; lines >> event >> count;) {
      counts[event] = count;
    }
  }
  return counts;
}

}  // namespace xenoprof
