// SPDX-License-Identifier: GPL-2.0-or-later
// The flat view: which functions hold the samples.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "model/profile.h"
#include "model/result.h"
#include "report/session_file.h"

namespace xenoprof {

enum class Column { kDomain, kProcess, kImage, kSymbol, kMode, kVcpu };
enum class Format { kText, kJson, kCsv };

struct ReportOptions {
  std::vector<std::string> domains;  // only these; empty: all
  // Samples that agree in all of these share a row.
  std::vector<Column> columns = {Column::kDomain, Column::kProcess, Column::kImage, Column::kSymbol,
                                 Column::kMode};
  Format format = Format::kText;
  std::optional<std::size_t> top;  // rows; none: 30 as text, all as JSON and CSV
  std::size_t width = 100;         // of the text, in characters
  bool colour = false;
};

// `session` may be null: a profile without its session folder.
Result<std::string> report(const Profile& profile, const SessionRecord* session,
                           const ReportOptions& options);

}  // namespace xenoprof
