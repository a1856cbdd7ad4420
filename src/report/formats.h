// SPDX-License-Identifier: GPL-2.0-or-later
// report()'s views in their three forms.
#pragma once

#include <string>
#include <vector>

#include "report/call_tree.h"
#include "report/report.h"
#include "report/rows.h"

namespace xenoprof {

// What all forms are made from.
struct View {
  const Profile& profile;
  const SessionRecord* session;
  const ReportOptions& options;
  const Cells& cells;
  Filter& filter;
  std::vector<std::string> events;  // event_labels()
};

std::string to_json(const View& view, const Rows& rows);
std::string to_csv(const View& view, const Rows& rows);
std::string to_text(const View& view, const Rows& rows);

std::string to_json(const View& view, const CallTree& tree);
std::string to_csv(const View& view, const CallTree& tree);
std::string to_text(const View& view, const CallTree& tree);

// Parts of the text of rows: samples by domain and mode (`totals`: of what the view's filter lets
// through, by event), and the rows themselves.
std::string domain_table(const View& view, const std::vector<std::uint64_t>& totals);
std::string function_table(const View& view, const Rows& rows);

// As RFC 4180 has it. Such files are shown in terminals, too: names must not move the cursor.
std::string csv_field(std::string_view name);

}  // namespace xenoprof
