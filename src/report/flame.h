// SPDX-License-Identifier: GPL-2.0-or-later
// The flame graph: one HTML file that needs nothing else.
#pragma once

#include <string>
#include <vector>

#include "model/result.h"
#include "report/filter.h"
#include "report/source.h"

namespace xenoprof {

struct FlameSource {
  std::string name;  // what the user calls it: a folder or a file
  const Recorded& recorded;
};

// With a base, what differs from it.
Result<std::string> flame(const FlameSource& shown, const FlameSource* base,
                          const std::vector<FilterTerm>& filter = {});

}  // namespace xenoprof
