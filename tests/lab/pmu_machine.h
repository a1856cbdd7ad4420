// SPDX-License-Identifier: GPL-2.0-or-later
// Plain Linux on a machine with the emulated PMU, the programs that its counts are held against in
// place, and what stock perf says there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lab_machine.h"

namespace xenoprof {

using Counts = std::map<std::string, std::int64_t>;

// What `perf stat -x,` printed, by event as it names them (hardware cache events without their
// modifiers); with -A by "CPU0/event". Events that were not counted are not there.
Counts parse_stat(const std::string& csv);

class PmuMachine {
 public:
  // The program's machine with these arguments of the plugin, booted on first use.
  static PmuMachine& shared(const std::string& arguments);

  CommandResult sh(const std::string& script) const;

  // perf stat with these options and this command; a failure of it is the test's.
  Counts stat(const std::string& options) const;

  // What the rounds of a loop of tests/programs/pmu_oracle.c cost, by event as it was named.
  Counts rounds(const std::string& loop, std::int64_t times,
                const std::vector<std::string>& events) const;

  LabMachine& lab() const { return *lab_; }

 private:
  explicit PmuMachine(LabMachine& lab);

  LabMachine* lab_;
};

}  // namespace xenoprof
