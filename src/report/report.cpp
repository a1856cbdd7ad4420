// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/report.h"

#include <algorithm>
#include <limits>
#include <set>

#include "model/text.h"
#include "report/formats.h"
#include "report/rows.h"

namespace xenoprof {
namespace {

constexpr std::size_t kTextRows = 30;

Result<void> check_domains(const Profile& profile, const SessionRecord* session,
                           const std::vector<std::string>& asked) {
  std::set<std::string> known;
  for (const Sample& sample : profile.samples()) {
    known.emplace(profile.text(sample.key.domain));
  }
  if (session != nullptr) {
    for (const DomainTotals& domain : session->domains) {
      known.insert(domain.name);
    }
  }
  for (const std::string& name : asked) {
    if (!known.contains(name)) {
      std::string list;
      for (const std::string& one : known) {
        list += (list.empty() ? "" : ", ") + printable(one);
      }
      return fail("There is no domain {} in this profile; there is: {}.", name, list);
    }
  }
  return {};
}

}  // namespace

Result<std::string> report(const Profile& profile, const SessionRecord* session,
                           const ReportOptions& options) {
  if (auto known = check_domains(profile, session, options.domains); !known) {
    return std::unexpected(known.error());
  }
  const Rows rows = make_rows(profile, options.columns, options.domains);
  constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
  switch (options.format) {
    case Format::kJson:
      return to_json(rows, options.columns, options.top.value_or(kAll));
    case Format::kCsv:
      return to_csv(rows, options.columns, options.top.value_or(kAll));
    case Format::kText:
      break;
  }
  return to_text(profile, session, options, rows, options.top.value_or(kTextRows));
}

}  // namespace xenoprof
