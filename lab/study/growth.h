// SPDX-License-Identifier: GPL-2.0-or-later
// Which functions are behind what a cell costs more than another one that did the same work.
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

// A cell's runs, and the folder that their sessions are in.
struct CellSessions {
  const std::vector<Run>& runs;
  std::filesystem::path folder;
};

// Over all runs in which an event was counted. Events that one of them has no sample of are left
// out.
Result<std::vector<Growth>> growth_of(const std::vector<StudyEvent>& events,
                                      const CellSessions& base, const CellSessions& cell);

}  // namespace xenoprof::lab
