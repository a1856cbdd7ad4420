// SPDX-License-Identifier: GPL-2.0-or-later
// One cell on a machine that is up: warm-up, then sampled runs until the figures are good enough.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "control.h"
#include "study/definition.h"
#include "study/results.h"

namespace xenoprof::lab {

struct CellPlace {
  Endpoint server;
  Endpoint recorder;
  Endpoint peer;
  std::filesystem::path folder;  // of the cell; sessions go there
};

// Events are counted four at a time, as the processor has four counters. Failure is in the result.
// `tell` is told what goes on.
CellResult run_cell(const Study& study, const Cell& cell, bool quick, const CellPlace& place,
                    const std::function<void(std::string_view)>& tell);

}  // namespace xenoprof::lab
