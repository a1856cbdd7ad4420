// SPDX-License-Identifier: GPL-2.0-or-later
// `xenoprof lab study`: a study's cells one after the other, each on its machine.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/result.h"

namespace xenoprof::lab {

struct StudyOptions {
  std::string study;  // file, or name of one that comes with xenoprof
  bool quick = false;
  bool resume = false;
  std::vector<std::string> configurations;  // only these; empty: all
  std::filesystem::path output;
};

enum class StudyEnd { kWhole, kCellsFailed, kInterrupted };

Result<StudyEnd> run_study(const StudyOptions& options);

}  // namespace xenoprof::lab
