// SPDX-License-Identifier: GPL-2.0-or-later
// The profile's samples, added up by what they have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "model/profile.h"
#include "report/column.h"
#include "report/filter.h"

namespace xenoprof {

inline constexpr std::size_t kAllRows = std::numeric_limits<std::size_t>::max();

struct Row {
  std::vector<std::string> cells;      // one per column asked for, as the profile has it
  std::vector<std::uint64_t> samples;  // one per event: those that fell there
  // With children: those that fell there or in what was called from there, each counted once
  // however often the row is on its stack.
  std::vector<std::uint64_t> total;
};

struct Rows {
  // Most samples (or total) of the event that orders them first; no two alike.
  std::vector<Row> rows;
  std::size_t count = 0;              // of all rows, of which those above are the first
  std::vector<std::uint64_t> totals;  // samples per event, of all rows
};

struct RowsRequest {
  std::vector<Column> columns;  // samples that agree in all of these share a row
  bool children = false;        // a row for every frame of a stack, not only for its leaf
  std::size_t top = kAllRows;   // make no more rows
  std::size_t first_event = 0;  // whose samples order the rows; where they are equal, the others'
};

Rows make_rows(const Profile& profile, const Cells& cells, Filter& filter,
               const RowsRequest& request);

// What to call each event: its name, "NAME:COUNT" where two share it.
std::vector<std::string> event_labels(const std::vector<Event>& events);

}  // namespace xenoprof
