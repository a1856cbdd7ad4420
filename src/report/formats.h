// SPDX-License-Identifier: GPL-2.0-or-later
// The flat view in its three forms.
#pragma once

#include <string>

#include "report/report.h"
#include "report/rows.h"

namespace xenoprof {

std::string to_json(const Rows& rows, const std::vector<Column>& columns, std::size_t top);
std::string to_csv(const Rows& rows, const std::vector<Column>& columns, std::size_t top);
std::string to_text(const Profile& profile, const SessionRecord* session,
                    const ReportOptions& options, const Rows& rows, std::size_t top);

}  // namespace xenoprof
