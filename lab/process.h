// SPDX-License-Identifier: GPL-2.0-or-later
// Programs of this machine, run to their end.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "model/result.h"

namespace xenoprof::lab {

struct ProgramRun {
  std::vector<std::string> arguments;  // program, found in PATH, and its arguments
  std::vector<std::pair<std::string, std::string>> environment;  // added to this process's own
  std::filesystem::path folder;  // to run in; the current one when empty
};

struct ProgramResult {
  int status = 0;      // as a shell would report it
  std::string output;  // standard output and standard error together
};

// Runs the program with no input. An error only when it cannot be started.
Result<ProgramResult> run_program(const ProgramRun& run);

}  // namespace xenoprof::lab
