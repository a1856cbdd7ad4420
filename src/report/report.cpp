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

// A domain that is not there is a slip of the pen, not a question whose answer is "none".
Result<void> check_domains(const Profile& profile, const SessionRecord* session,
                           const std::vector<FilterTerm>& terms) {
  std::set<std::string> known;
  std::vector<bool> seen;
  for (const Sample& sample : profile.samples()) {
    const StringId domain = sample.key.domain;
    seen.resize(std::max<std::size_t>(seen.size(), domain + std::size_t{1}));
    if (!seen[domain]) {
      seen[domain] = true;
      known.emplace(profile.text(domain));
    }
  }
  if (session != nullptr) {
    for (const DomainTotals& domain : session->domains) {
      known.insert(domain.name);
    }
  }
  for (const FilterTerm& term : terms) {
    if (term.column == Column::kDomain && !term.pattern && !known.contains(term.text)) {
      std::string list;
      for (const std::string& one : known) {
        list += (list.empty() ? "" : ", ") + printable(one);
      }
      return fail("There is no domain {} in this profile; there is: {}.", term.text, list);
    }
  }
  return {};
}

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
  if (auto known = check_domains(profile, session, options.filter); !known) {
    return std::unexpected(known.error());
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
