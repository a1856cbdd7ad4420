// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/report.h"

#include <algorithm>
#include <set>

#include "model/text.h"
#include "report/formats.h"
#include "report/rows.h"

namespace xenoprof {
namespace {

constexpr std::size_t kTextRows = 30;
constexpr std::size_t kTextNodes = 40;

template <class Content>
std::string formatted(const View& view, const Content& content) {
  switch (view.options.format) {
    case Format::kJson:
      return to_json(view, content);
    case Format::kCsv:
      return to_csv(view, content);
    case Format::kText:
      break;
  }
  return to_text(view, content);
}

}  // namespace

Result<std::string> report(const Profile& profile, const SessionRecord* session,
                           const ReportOptions& options) {
  std::set<std::string> known;
  add_domains(profile, session, known);
  if (auto checked = check_domains(known, options.filter); !checked) {
    return std::unexpected(checked.error());
  }
  const Cells cells(profile);
  auto filter = Filter::make(cells, options.filter);
  if (!filter) {
    return std::unexpected(filter.error());
  }
  const View view{profile, session, options, cells, *filter, event_labels(profile.events())};
  const bool text = options.format == Format::kText;
  if (options.function) {
    const auto tree = make_call_tree(profile, cells, *filter, options.function->symbol,
                                     options.function->direction,
                                     options.top.value_or(text ? kTextNodes : kAllRows));
    if (!tree) {
      return std::unexpected(tree.error());
    }
    return formatted(view, *tree);
  }
  const Rows rows = make_rows(profile, cells, *filter,
                              {.columns = options.columns,
                               .children = options.children,
                               .top = options.top.value_or(text ? kTextRows : kAllRows)});
  return formatted(view, rows);
}

}  // namespace xenoprof
