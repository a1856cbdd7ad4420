// SPDX-License-Identifier: GPL-2.0-or-later
// What costs more in one profile than in another, for the same work.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/column.h"
#include "report/filter.h"
#include "report/report.h"
#include "report/session_file.h"

namespace xenoprof {

struct DiffInput {
  std::string name;
  const Profile* profile = nullptr;
  const SessionRecord* session = nullptr;  // may be null
  double work = 1;                         // done in it, in DiffOptions::unit
};

struct DiffOptions {
  std::string unit;  // of the work; empty: costs are those of the whole recordings
  std::vector<FilterTerm> filter;
  std::vector<Column> columns = {Column::kDomain, Column::kImage, Column::kSymbol, Column::kMode};
  std::vector<std::string> events;  // only these; empty: all that the profiles share
  Format format = Format::kText;
  // Rows of each table; none: as text those that differ by more than their sampling error, at most
  // 30, else all.
  std::optional<std::size_t> top;
  TextStyle style;
};

// inputs[0] is the base; there is at least one other.
Result<std::string> diff(std::span<const DiffInput> inputs, const DiffOptions& options);

}  // namespace xenoprof
