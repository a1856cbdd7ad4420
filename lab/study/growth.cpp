// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/growth.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "report/comparison.h"
#include "report/source.h"

namespace xenoprof::lab {
namespace {

constexpr std::size_t kMostFunctions = 15;

const Run* run_with(const CellResult& cell, const std::string& event) {
  const auto run =
      std::ranges::find_if(cell.runs, [&](const Run& each) { return each.events.contains(event); });
  return run == cell.runs.end() ? nullptr : &*run;
}

// Stripped programs' addresses say nothing one by one.
std::vector<GrownFunction> functions_of(const Comparison& comparison) {
  std::vector<GrownFunction> all;
  std::map<std::pair<std::string, std::string>, std::size_t> nameless;  // by image and mode
  for (const ComparedRow& row : comparison.rows) {
    GrownFunction function{.image = row.cells[0],
                           .symbol = row.cells[1],
                           .mode = row.cells[2],
                           .base = row.costs[0].value(),
                           .cost = row.costs[1].value(),
                           .beyond_error = row.changes[0].beyond_error()};
    if (!function.symbol.starts_with("0x")) {
      all.push_back(std::move(function));
      continue;
    }
    function.symbol.clear();
    const auto [known, is_new] = nameless.try_emplace({function.image, function.mode}, all.size());
    if (is_new) {
      all.push_back(std::move(function));
    } else {
      all[known->second].base += function.base;
      all[known->second].cost += function.cost;
      all[known->second].beyond_error |= function.beyond_error;
    }
  }
  std::erase_if(all, [](const GrownFunction& each) { return each.cost <= each.base; });
  std::ranges::stable_sort(all, std::ranges::greater(),
                           [](const GrownFunction& each) { return each.cost - each.base; });
  all.resize(std::min(all.size(), kMostFunctions));
  return all;
}

}  // namespace

Result<std::vector<Growth>> growth_of(const Study& study, const Finished& base,
                                      const Finished& cell, const std::filesystem::path& folder) {
  std::vector<Growth> growths;
  for (const StudyEvent& event : study.events) {
    const Run* const before = run_with(base.result, event.name);
    const Run* const after = run_with(cell.result, event.name);
    if (before == nullptr || after == nullptr) {
      continue;
    }
    const auto read = [&](const Finished& of, const Run& run) {
      return read_source(folder / "cells" / path_of(study, of.cell) / run.session,
                         parts_of(false, {}));
    };
    const auto one = read(base, *before);
    const auto other = read(cell, *after);
    if (!one || !other) {
      return std::unexpected(one ? other.error() : one.error());
    }
    const std::array inputs = {
        DiffInput{.name = "base", .profile = &one->profile, .work = before->work},
        DiffInput{.name = "other", .profile = &other->profile, .work = after->work}};
    const auto events = shared_events(inputs, {event.select});
    if (!events) {
      continue;  // one of them has no sample of it
    }
    const auto compared =
        compare(inputs, *events, {}, {Column::kImage, Column::kSymbol, Column::kMode});
    if (!compared) {
      return std::unexpected(compared.error());
    }
    for (const Comparison& comparison : *compared) {
      growths.push_back({.event = event.name,
                         .base = comparison.all.costs[0].value(),
                         .cost = comparison.all.costs[1].value(),
                         .functions = functions_of(comparison)});
    }
  }
  return growths;
}

}  // namespace xenoprof::lab
