// SPDX-License-Identifier: GPL-2.0-or-later
// diff()'s numbers, before they are laid out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/diff.h"
#include "report/sampling_error.h"

namespace xenoprof {

// A profile against the base. Costs are in events per unit of work.
struct Change {
  double growth = 0;
  Interval error;               // of the growth
  std::optional<double> ratio;  // other / base; none where the base has no samples
  std::optional<double> share;  // of the growth of all rows; none where that is within its error

  bool beyond_error() const { return !error.holds(0); }
};

struct ComparedRow {
  std::vector<std::string> cells;
  std::vector<Weighted> costs;  // per profile
  std::vector<Change> changes;  // per profile but the base
};

// One event's rows, those of the largest growth (up or down) first.
struct Comparison {
  std::string event;
  std::vector<Column> columns;
  ComparedRow all;
  std::vector<ComparedRow> rows;
};

// An event that all inputs have, and its index in each.
struct SharedEvent {
  std::string name;
  std::vector<std::size_t> index;
};
Result<std::vector<SharedEvent>> shared_events(std::span<const DiffInput> inputs,
                                               const std::vector<std::string>& asked);

// One per event.
Result<std::vector<Comparison>> compare(std::span<const DiffInput> inputs,
                                        const std::vector<SharedEvent>& events,
                                        const std::vector<FilterTerm>& filter,
                                        const std::vector<Column>& columns);

}  // namespace xenoprof
