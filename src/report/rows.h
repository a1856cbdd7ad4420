// SPDX-License-Identifier: GPL-2.0-or-later
// The profile's samples, added up by what they have in common.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/profile.h"
#include "report/report.h"

namespace xenoprof {

struct Row {
  std::vector<std::string> cells;      // one per column asked for, as the profile has it
  std::vector<std::uint64_t> samples;  // one per event
};

struct Rows {
  std::vector<Row> rows;              // most samples of the first event first; no two alike
  std::vector<std::uint64_t> totals;  // per event, of all rows
  std::vector<std::string> events;  // what to call each: its name, "NAME:COUNT" where two share it
};

// Of the samples of these domains, or of all when none is given.
Rows make_rows(const Profile& profile, const std::vector<Column>& columns,
               const std::vector<std::string>& domains);

std::string_view to_string(Column column);

}  // namespace xenoprof
