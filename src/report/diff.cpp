// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/diff.h"

#include <fmt/ranges.h>

#include <ranges>
#include <set>

#include "report/comparison.h"
#include "report/diff_text.h"
#include "report/formats.h"
#include "report/json_text.h"

namespace xenoprof {
namespace {

std::string number(std::optional<double> value) {
  return value ? fmt::format("{:.6g}", *value) : "null";
}

// Each member of what has one per profile, as a list.
template <class Range, class Text>
std::string list_of(const Range& range, const Text& text) {
  return fmt::format("[{}]", fmt::join(range | std::views::transform(text), ", "));
}

std::string numbers_of(const ComparedRow& row) {
  return fmt::format(
      "\"samples\": {}, \"cost\": {}, \"growth\": {}, \"low\": {}, \"high\": {}, \"ratio\": {}, "
      "\"share\": {}, \"beyond_error\": {}",
      list_of(row.costs, [](const Weighted& cost) { return std::to_string(cost.samples); }),
      list_of(row.costs, [](const Weighted& cost) { return number(cost.value()); }),
      list_of(row.changes, [](const Change& change) { return number(change.growth); }),
      list_of(row.changes, [](const Change& change) { return number(change.error.low); }),
      list_of(row.changes, [](const Change& change) { return number(change.error.high); }),
      list_of(row.changes, [](const Change& change) { return number(change.ratio); }),
      list_of(row.changes, [](const Change& change) { return number(change.share); }),
      list_of(row.changes,
              [](const Change& change) { return change.beyond_error() ? "true" : "false"; }));
}

std::string to_json(std::span<const DiffInput> inputs, const DiffOptions& options,
                    const std::vector<Comparison>& comparisons) {
  std::string out = fmt::format("{{\"unit\": {}, \"profiles\": [",
                                options.unit.empty() ? "null" : json_text(options.unit));
  for (const DiffInput& input : inputs) {
    out += fmt::format("{}{{\"name\": {}, \"work\": {}}}", &input == inputs.data() ? "" : ", ",
                       json_text(input.name), options.unit.empty() ? "null" : number(input.work));
  }
  out += "], \"totals\": [";
  for (const Comparison& comparison : comparisons) {
    out += fmt::format("{}\n{{\"event\": {}, {}}}", &comparison == comparisons.data() ? "" : ",",
                       json_text(comparison.event), numbers_of(comparison.all));
  }
  out += "\n], \"rows\": [";
  for (const Comparison& comparison : comparisons) {
    for (const ComparedRow& row :
         comparison.rows | std::views::take(options.top.value_or(kAllRows))) {
      out += fmt::format("{}\n{{\"event\": {}, ", out.ends_with('[') ? "" : ",",
                         json_text(comparison.event));
      for (std::size_t i = 0; i < comparison.columns.size(); ++i) {
        const Column column = comparison.columns[i];
        out += fmt::format("\"{}\": {}, ", to_string(column),
                           is_number(column) ? row.cells[i] : json_text(row.cells[i]));
      }
      out += numbers_of(row) + "}";
    }
  }
  return out + "\n]}\n";
}

// Of profiles after the base, each column bears the number: growth1, growth2, ...
std::string to_csv(std::span<const DiffInput> inputs, const DiffOptions& options,
                   const std::vector<Comparison>& comparisons) {
  std::vector<std::string> fields = {"event"};
  for (const Column column : options.columns) {
    fields.emplace_back(to_string(column));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    fields.push_back(fmt::format("samples{}", i));
    fields.push_back(fmt::format("cost{}", i));
  }
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    for (const char* name : {"growth", "low", "high", "ratio", "share"}) {
      fields.push_back(fmt::format("{}{}", name, i));
    }
  }
  std::string out = fmt::format("{}\n", fmt::join(fields, ","));
  const auto optional = [](std::optional<double> value) { return value ? number(value) : ""; };
  for (const Comparison& comparison : comparisons) {
    for (const ComparedRow& row :
         comparison.rows | std::views::take(options.top.value_or(kAllRows))) {
      fields = {csv_field(comparison.event)};
      for (const std::string& cell : row.cells) {
        fields.push_back(csv_field(cell));
      }
      for (const Weighted& cost : row.costs) {
        fields.push_back(std::to_string(cost.samples));
        fields.push_back(number(cost.value()));
      }
      for (const Change& change : row.changes) {
        for (const double value : {change.growth, change.error.low, change.error.high}) {
          fields.push_back(number(value));
        }
        fields.push_back(optional(change.ratio));
        fields.push_back(optional(change.share));
      }
      out += fmt::format("{}\n", fmt::join(fields, ","));
    }
  }
  return out;
}

}  // namespace

Result<std::string> diff(std::span<const DiffInput> inputs, const DiffOptions& options) {
  std::set<std::string> domains_of_any;
  for (const DiffInput& input : inputs) {
    add_domains(*input.profile, input.session, domains_of_any);
  }
  if (auto known = check_domains(domains_of_any, options.filter); !known) {
    return std::unexpected(known.error());
  }
  const auto events = shared_events(inputs, options.events);
  if (!events) {
    return std::unexpected(events.error());
  }
  const auto functions = compare(inputs, *events, options.filter, options.columns);
  if (!functions) {
    return std::unexpected(functions.error());
  }
  switch (options.format) {
    case Format::kJson:
      return to_json(inputs, options, *functions);
    case Format::kCsv:
      return to_csv(inputs, options, *functions);
    case Format::kText:
      break;
  }
  const auto domains = compare(inputs, *events, options.filter, {Column::kDomain, Column::kMode});
  if (!domains) {
    return std::unexpected(domains.error());
  }
  return to_text(inputs, options, *domains, *functions);
}

}  // namespace xenoprof
