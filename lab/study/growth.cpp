// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/growth.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "report/comparison.h"
#include "report/source.h"

namespace xenoprof::lab {
namespace {

constexpr std::size_t kMostFunctions = 15;

// All of a cell's runs together.
Result<Profile> profile_of(const CellSessions& cell) {
  Profile all;
  for (const Run& run : cell.runs) {
    const auto recorded = read_source(cell.folder / run.session, parts_of(false, {}));
    if (!recorded)
      return std::unexpected(recorded.error());
    all.merge(recorded->profile, {});
  }
  return all;
}

// Where an event is in that profile, and the work of the runs in which it was counted.
struct Counted {
  std::size_t index = 0;
  double work = 0;
};

// Nothing where it has no sample.
std::optional<Counted> find_event(const StudyEvent& event, const CellSessions& cell,
                                  const Profile& profile) {
  Counted counted;
  std::uint64_t count = 0;
  for (const Run& run : cell.runs) {
    const auto found = run.events.find(event.name);
    if (found == run.events.end())
      continue;
    count = found->second.count;
    counted.work += run.work;
  }
  const auto& events = profile.events();
  const auto found = std::ranges::find_if(
      events, [&](const Event& each) { return each.name == event.select && each.count == count; });
  if (found == events.end())
    return std::nullopt;
  counted.index = static_cast<std::size_t>(found - events.begin());
  return counted;
}

struct Row {
  std::array<std::string, 3> names;  // image, symbol, mode
  Weighted base;
  Weighted cost;
};

// Stripped programs' addresses say nothing one by one.
std::vector<Row> rows_of(const Comparison& comparison) {
  std::vector<Row> rows;
  std::map<std::array<std::string, 3>, std::size_t> nameless;
  for (const ComparedRow& compared : comparison.rows) {
    Row row{.names = {compared.cells[0], compared.cells[1], compared.cells[2]},
            .base = compared.costs[0],
            .cost = compared.costs[1]};
    if (row.names[1].starts_with("0x")) {
      row.names[1].clear();
      const auto [known, is_new] = nameless.try_emplace(row.names, rows.size());
      if (!is_new) {
        rows[known->second].base.samples += row.base.samples;
        rows[known->second].cost.samples += row.cost.samples;
        continue;
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<GrownFunction> functions_of(const Comparison& comparison) {
  const std::vector<Row> rows = rows_of(comparison);
  const double width = confidence_width(rows.size());
  std::vector<GrownFunction> functions;
  for (const Row& row : rows)
    if (row.cost.value() > row.base.value())
      functions.push_back({.image = row.names[0],
                           .symbol = row.names[1],
                           .mode = row.names[2],
                           .base = row.base.value(),
                           .cost = row.cost.value(),
                           .beyond_error = !difference(row.base, row.cost, width).holds(0)});
  std::ranges::stable_sort(functions, std::ranges::greater(),
                           [](const GrownFunction& each) { return each.cost - each.base; });
  functions.resize(std::min(functions.size(), kMostFunctions));
  return functions;
}

}  // namespace

Result<std::vector<Growth>> growth_of(const std::vector<StudyEvent>& events,
                                      const CellSessions& base, const CellSessions& cell) {
  const auto before = profile_of(base);
  const auto after = profile_of(cell);
  if (!before || !after)
    return std::unexpected(before ? after.error() : before.error());
  std::vector<Growth> growths;
  for (const StudyEvent& event : events) {
    const auto one = find_event(event, base, *before);
    const auto other = find_event(event, cell, *after);
    if (!one || !other)
      continue;
    const std::array inputs = {DiffInput{.name = "base", .profile = &*before, .work = one->work},
                               DiffInput{.name = "cell", .profile = &*after, .work = other->work}};
    const auto compared =
        compare(inputs, {{.name = event.name, .index = {one->index, other->index}}}, {},
                {Column::kImage, Column::kSymbol, Column::kMode});
    if (!compared)
      return std::unexpected(compared.error());
    for (const Comparison& comparison : *compared)
      growths.push_back({.event = event.name,
                         .base = comparison.all.costs[0].value(),
                         .cost = comparison.all.costs[1].value(),
                         .functions = functions_of(comparison)});
  }
  return growths;
}

}  // namespace xenoprof::lab
