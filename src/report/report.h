// SPDX-License-Identifier: GPL-2.0-or-later
// The views as tables: which functions hold the samples, and what called them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/call_tree.h"
#include "report/column.h"
#include "report/filter.h"
#include "report/session_file.h"

namespace xenoprof {

enum class Format { kText, kJson, kCsv };

// How a text is laid out.
struct TextStyle {
  std::size_t width = 100;  // in characters
  bool colour = false;
};

// A function, and the side of it to be looked at.
struct AskedFunction {
  std::string symbol;
  Direction direction = Direction::kCallers;
};

struct ReportOptions {
  std::vector<FilterTerm> filter;
  // Samples that agree in all of these share a row.
  std::vector<Column> columns = {Column::kDomain, Column::kProcess, Column::kImage, Column::kSymbol,
                                 Column::kMode};
  bool children = false;                  // with what was called from each row
  std::optional<AskedFunction> function;  // a tree of its callers or callees in place of rows
  Format format = Format::kText;
  std::optional<std::size_t> top;  // rows; none: 30 as text (40 of a tree), all as JSON and CSV
  TextStyle style;
};

// `session` may be null: a profile without its session folder.
Result<std::string> report(const Profile& profile, const SessionRecord* session,
                           const ReportOptions& options);

}  // namespace xenoprof
