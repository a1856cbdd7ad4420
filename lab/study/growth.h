// SPDX-License-Identifier: GPL-2.0-or-later
// Which functions are behind what a cell costs more than the same work in the study's first
// configuration.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/result.h"
#include "study/definition.h"
#include "study/results.h"

namespace xenoprof::lab {

struct GrownFunction {
  std::string image;
  std::string symbol;  // empty: all code of the image that has no name
  std::string mode;
  double base = 0;  // events for each unit of work
  double cost = 0;
  bool beyond_error = false;  // more than the samples' number leaves open
};

struct Growth {
  std::string event;  // StudyEvent::name
  double base = 0;
  double cost = 0;
  std::vector<GrownFunction> functions;  // the largest growth first
};

// From the first run of each in which the event was counted; both cells' sessions are below
// `folder`.
Result<std::vector<Growth>> growth_of(const Study& study, const Finished& base,
                                      const Finished& cell, const std::filesystem::path& folder);

}  // namespace xenoprof::lab
