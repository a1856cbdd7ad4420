// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/summary.h"

#include <algorithm>
#include <cmath>

#include "model/text.h"

namespace xenoprof::lab {
namespace {

constexpr std::size_t kFigureWidth = 12;
constexpr std::size_t kErrorWidth = 9;
constexpr std::size_t kRatioWidth = 8;

// The knobs' part of a cell's name.
std::string variant_of(const Cell& cell) {
  std::string text;
  for (const auto& [knob, value] : cell.knobs)
    text += fmt::format(" {}={}", knob, value.name);
  return text;
}

std::string without_trailing_spaces(const std::string& text) {
  std::string trimmed;
  for (const char c : text) {
    while (c == '\n' && !trimmed.empty() && trimmed.back() == ' ')
      trimmed.pop_back();
    trimmed += c;
  }
  return trimmed;
}

std::string cells_of_figure(const Figure& figure, const Figure* base) {
  if (figure.runs == 0)
    return fmt::format("{:>{}}{:{}}", "-", kFigureWidth, "", kErrorWidth + kRatioWidth);
  const std::string error =
      figure.error ? fmt::format(" ±{:.0f} %", std::min(*figure.error * 100, 9999.0)) : "";
  const std::string ratio = base != nullptr && base->runs > 0 && base->per_unit > 0
                                ? fmt::format("{:.2f} x", figure.per_unit / base->per_unit)
                                : "";
  // Widths count characters, not bytes, in fmt.
  return fmt::format("{:>{}}{:<{}}{:>{}}",
                     with_separators(static_cast<std::uint64_t>(std::llround(figure.per_unit))),
                     kFigureWidth, error, kErrorWidth, ratio, kRatioWidth);
}

}  // namespace

std::string summary_of(const Study& study, const std::vector<Finished>& cells) {
  std::string text;
  for (std::size_t w = 0; w < study.workloads.size(); ++w) {
    const Workload& workload = study.workloads[w];
    std::vector<const Finished*> rows;
    for (const Finished& finished : cells)
      if (finished.cell.workload == w)
        rows.push_back(&finished);
    if (rows.empty())
      continue;
    std::size_t width = 0;
    const auto name_of = [&](const Finished& row) {
      return study.configurations[row.cell.configuration].name + variant_of(row.cell);
    };
    for (const Finished* row : rows)
      width = std::max(width, name_of(*row).size());
    text += fmt::format("{}{}, for each {}; ± the 95 % interval over the runs\n{:{}}",
                        text.empty() ? "" : "\n", workload.name, workload.unit, "", width);
    for (const StudyEvent& event : study.events)
      text += fmt::format("{:>{}}{:{}}", event.name, kFigureWidth, "", kErrorWidth + kRatioWidth);
    text += "\n";
    for (const Finished* row : rows) {
      text += fmt::format("{:{}}", name_of(*row), width);
      if (!row->result.failure.empty()) {
        text += "  failed: " + row->result.failure + "\n";
        continue;
      }
      const auto base = std::ranges::find_if(rows, [&](const Finished* other) {
        return variant_of(other->cell) == variant_of(row->cell);
      });
      for (const StudyEvent& event : study.events) {
        const Figure figure = figure_of(row->result.runs, event.name);
        const Figure first = figure_of((*base)->result.runs, event.name);
        text += cells_of_figure(figure, *base == row ? nullptr : &first);
      }
      text += "\n";
    }
  }
  return without_trailing_spaces(text);
}

}  // namespace xenoprof::lab
