// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/comparison.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "model/text.h"
#include "report/rows.h"

namespace xenoprof {
namespace {

double largest_growth(const ComparedRow& row) {
  double largest = 0;
  for (const Change& change : row.changes) {
    largest = std::max(largest, std::abs(change.growth));
  }
  return largest;
}

// `width` of the intervals, in standard deviations.
void find_changes(ComparedRow& row, double width) {
  const Weighted& base = row.costs.front();
  for (std::size_t i = 1; i < row.costs.size(); ++i) {
    const Weighted& other = row.costs[i];
    Change change{.growth = other.value() - base.value(),
                  .error = difference(base, other, width),
                  .ratio = {},
                  .share = {}};
    if (base.samples != 0) {
      change.ratio = other.value() / base.value();
    }
    row.changes.push_back(change);
  }
}

}  // namespace

Result<std::vector<SharedEvent>> shared_events(std::span<const DiffInput> inputs,
                                               const std::vector<std::string>& asked) {
  std::vector<std::vector<std::string>> labels;
  for (const DiffInput& input : inputs) {
    labels.push_back(event_labels(input.profile->events()));
  }
  std::vector<SharedEvent> shared;
  for (const std::string& name : labels.front()) {
    SharedEvent event{.name = name, .index = {}};
    for (const auto& of_input : labels) {
      const auto found = std::ranges::find(of_input, name);
      if (found == of_input.end()) {
        break;
      }
      event.index.push_back(static_cast<std::size_t>(found - of_input.begin()));
    }
    if (event.index.size() == inputs.size() &&
        (asked.empty() || std::ranges::find(asked, name) != asked.end())) {
      shared.push_back(std::move(event));
    }
  }
  for (const std::string& name : asked) {
    if (std::ranges::find(shared, name, &SharedEvent::name) == shared.end()) {
      return fail("Not all of the profiles have the event {}.", name);
    }
  }
  for (const SharedEvent& event : shared) {
    std::size_t by_frequency = 0;
    for (std::size_t input = 0; input < inputs.size(); ++input) {
      by_frequency += inputs[input].profile->events()[event.index[input]].count == 0 ? 1 : 0;
    }
    if (by_frequency != 0 && by_frequency != inputs.size()) {
      return fail(
          "{} was sampled each so many events in one of the profiles and by frequency in another: "
          "their samples are not the same thing. Record with -e NAME:COUNT, or choose another "
          "event with -e.",
          printable(event.name));
    }
  }
  if (shared.empty()) {
    std::string text;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      text += fmt::format("{}{} has {}", i == 0 ? "" : "; ", inputs[i].name,
                          printable(fmt::format("{}", fmt::join(labels[i], ", "))));
    }
    return fail("The profiles share no event: {}.", text);
  }
  return shared;
}

Result<std::vector<Comparison>> compare(std::span<const DiffInput> inputs,
                                        const std::vector<SharedEvent>& events,
                                        const std::vector<FilterTerm>& filter,
                                        const std::vector<Column>& columns) {
  // Samples per profile and event, by the profiles' common texts.
  std::map<std::vector<std::string>, std::vector<std::uint64_t>> sums;
  const std::size_t count = events.size();
  std::vector<std::uint64_t> totals(inputs.size() * count);
  for (std::size_t input = 0; input < inputs.size(); ++input) {
    const Profile& profile = *inputs[input].profile;
    const Cells cells(profile);
    auto passing = Filter::make(cells, filter);
    if (!passing) {
      return std::unexpected(passing.error());
    }
    Rows rows = make_rows(profile, cells, *passing, {.columns = columns});
    for (Row& row : rows.rows) {
      auto& samples = sums[std::move(row.cells)];
      samples.resize(inputs.size() * count);
      for (std::size_t event = 0; event < count; ++event) {
        samples[input * count + event] += row.samples[events[event].index[input]];
        totals[input * count + event] += row.samples[events[event].index[input]];
      }
    }
  }
  std::vector<Comparison> result;
  for (std::size_t event = 0; event < count; ++event) {
    Comparison comparison{.event = events[event].name, .columns = columns, .all = {}, .rows = {}};
    const auto costs_of = [&](const std::vector<std::uint64_t>& samples) {
      std::vector<Weighted> costs;
      for (std::size_t input = 0; input < inputs.size(); ++input) {
        const Event& of_input = inputs[input].profile->events()[events[event].index[input]];
        const double period = static_cast<double>(std::max<std::uint64_t>(of_input.count, 1));
        costs.push_back(
            {.samples = samples[input * count + event], .weight = period / inputs[input].work});
      }
      return costs;
    };
    comparison.all.costs = costs_of(totals);
    find_changes(comparison.all, confidence_width(1));
    for (const auto& [cells, samples] : sums) {
      ComparedRow row{.cells = cells, .costs = costs_of(samples), .changes = {}};
      if (std::ranges::any_of(row.costs, [](const Weighted& cost) { return cost.samples != 0; })) {
        comparison.rows.push_back(std::move(row));
      }
    }
    // The intervals of a table hold all at once: of a thousand that hold with 95 % confidence each,
    // fifty do not.
    const double width = confidence_width(comparison.rows.size() * (inputs.size() - 1));
    for (ComparedRow& row : comparison.rows) {
      find_changes(row, width);
      for (std::size_t i = 0; i < row.changes.size(); ++i) {
        if (const Change& all = comparison.all.changes[i]; all.beyond_error()) {
          row.changes[i].share = row.changes[i].growth / all.growth;
        }
      }
    }
    std::ranges::stable_sort(comparison.rows, std::greater(), largest_growth);
    result.push_back(std::move(comparison));
  }
  return result;
}

}  // namespace xenoprof
