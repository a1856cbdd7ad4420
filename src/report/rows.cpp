// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/rows.h"

#include <algorithm>
#include <map>

namespace xenoprof {
namespace {

// What is known of a program point: its function, or else its address. An address says nothing
// where the image is unknown: those samples stay together.
std::string symbol_of(const Profile& profile, const Location& location) {
  if (location.symbol != 0) {
    return std::string(profile.text(location.symbol));
  }
  const std::string_view image = profile.text(profile.images()[location.image].name);
  if (image == kPassiveUserImage || image == kUnknownImage) {
    return std::string(image);
  }
  return fmt::format("{:#x}", location.address);
}

std::string cell(const Profile& profile, const Sample& sample, Column column) {
  const SampleKey& key = sample.key;
  const Location& leaf = profile.leaf(sample);
  switch (column) {
    case Column::kDomain:
      return std::string(profile.text(key.domain));
    case Column::kProcess:
      return std::string(profile.text(key.process));
    case Column::kImage:
      return std::string(profile.text(profile.images()[leaf.image].name));
    case Column::kSymbol:
      return symbol_of(profile, leaf);
    case Column::kMode:
      return std::string(to_string(key.mode));
    case Column::kVcpu:
      return std::to_string(key.vcpu);
  }
  return {};
}

std::vector<std::string> event_labels(const std::vector<Event>& events) {
  std::vector<std::string> labels;
  for (const Event& event : events) {
    const auto same = std::count_if(events.begin(), events.end(),
                                    [&](const Event& other) { return other.name == event.name; });
    labels.push_back(same == 1 ? event.name : fmt::format("{}:{}", event.name, event.count));
  }
  return labels;
}

}  // namespace

Rows make_rows(const Profile& profile, const std::vector<Column>& columns,
               const std::vector<std::string>& domains) {
  const std::size_t events = profile.events().size();
  Rows result;
  result.events = event_labels(profile.events());
  result.totals.resize(events);
  std::map<std::vector<std::string>, std::vector<std::uint64_t>> sums;
  for (const Sample& sample : profile.samples()) {
    if (!domains.empty() && std::find(domains.begin(), domains.end(),
                                      profile.text(sample.key.domain)) == domains.end()) {
      continue;
    }
    std::vector<std::string> cells;
    for (const Column column : columns) {
      cells.push_back(cell(profile, sample, column));
    }
    auto& sum = sums[std::move(cells)];
    sum.resize(events);
    for (std::size_t event = 0; event < events; ++event) {
      sum[event] += sample.samples[event];
      result.totals[event] += sample.samples[event];
    }
  }
  for (auto& [cells, samples] : sums) {
    result.rows.push_back({cells, std::move(samples)});
  }
  // Stable: rows that agree in all events keep the map's order, which is that of the cells.
  std::stable_sort(result.rows.begin(), result.rows.end(),
                   [](const Row& one, const Row& other) { return one.samples > other.samples; });
  return result;
}

std::string_view to_string(Column column) {
  switch (column) {
    case Column::kDomain:
      return "domain";
    case Column::kProcess:
      return "process";
    case Column::kImage:
      return "image";
    case Column::kSymbol:
      return "symbol";
    case Column::kMode:
      return "mode";
    case Column::kVcpu:
      return "vcpu";
  }
  return {};
}

}  // namespace xenoprof
