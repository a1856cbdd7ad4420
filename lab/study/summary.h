// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "study/results.h"

namespace xenoprof::lab {

// A table of each workload for people: what its unit costs in each configuration, with the error,
// and against the first configuration.
std::string summary_of(const Study& study, const std::vector<Finished>& cells);

}  // namespace xenoprof::lab
