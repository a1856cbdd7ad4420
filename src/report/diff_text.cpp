// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/diff_text.h"

#include <algorithm>
#include <cmath>

#include "model/text.h"
#include "report/rows.h"
#include "report/session_text.h"
#include "report/text_cells.h"
#include "report/text_columns.h"
#include "report/text_table.h"

namespace xenoprof {
namespace {

constexpr std::size_t kDiffTextRows = 30;

bool any_beyond_error(const ComparedRow& row) {
  return std::ranges::any_of(row.changes, &Change::beyond_error);
}

class DiffText {
 public:
  DiffText(std::span<const DiffInput> inputs, const DiffOptions& options)
      : inputs_(inputs), options_(options) {}

  std::string header() const;
  // What one event costs.
  std::string event(const Comparison& domains, const Comparison& functions) const;
  std::string footer() const;

 private:
  std::string table(const Comparison& comparison, bool with_all) const;
  TextTable fill_table(const Comparison& comparison, std::span<const ComparedRow> rows,
                       bool with_all, bool compact) const;
  void add_numbers(const ComparedRow& row, bool compact, std::vector<TextCell>& cells) const;
  std::string rest(std::span<const ComparedRow> rows) const;
  std::string losses(const DiffInput& input) const;
  std::string paragraph(const std::string& text) const {
    return wrapped(text, options_.style.width);
  }

  std::span<const DiffInput> inputs_;
  const DiffOptions& options_;
};

std::string DiffText::header() const {
  std::string out;
  for (const DiffInput& input : inputs_) {
    const bool base = &input == inputs_.data();
    std::string line = fmt::format("{:<7}{}", base ? "Base:" : "Other:", printable(input.name));
    if (input.session != nullptr && !input.session->started.empty()) {
      line += fmt::format(", {}, {:.1f} s", started_text(*input.session), input.session->seconds);
    }
    if (!options_.unit.empty()) {
      line += fmt::format(", {:.6g} {}", input.work, printable(options_.unit));
    }
    out += paragraph(line);
  }
  if (options_.unit.empty()) {
    out += styled(paragraph("Costs are those of the whole recordings: say with --per UNIT=N, once "
                            "for each, what work was done in them."),
                  Style::kDim, options_.style.colour);
  }
  const auto& events = inputs_.front().profile->events();
  if (std::ranges::any_of(events, [](const Event& event) { return event.count == 0; })) {
    out += styled(paragraph("Without a count (-e NAME:COUNT) samples come by frequency: how many "
                            "events one stands for differs, and they compare only if both "
                            "recordings had the same -F."),
                  Style::kDim, options_.style.colour);
  }
  if (!options_.filter.empty()) {
    out += paragraph("Only " + printable(to_string(options_.filter)));
  }
  return out;
}

// Growth stands out where it is more than chance.
void DiffText::add_numbers(const ComparedRow& row, bool compact,
                           std::vector<TextCell>& cells) const {
  const auto cost = [](const Weighted& weighted) {
    return weighted.samples == 0 ? "" : scaled(weighted.value());
  };
  cells.push_back({cost(row.costs[0])});
  for (std::size_t i = 0; i < row.changes.size(); ++i) {
    const Change& change = row.changes[i];
    const bool sure = change.beyond_error();
    const Style style = sure ? Style::kBold : Style::kDim;
    // Of few samples the interval is lopsided: where the growth is beyond it, what counts is how
    // far it reaches towards none.
    const double down = change.growth - change.error.low;
    const double up = change.error.high - change.growth;
    const double half = !sure ? std::max(down, up) : change.growth > 0 ? down : up;
    cells.push_back({cost(row.costs[i + 1])});
    cells.push_back({(change.growth > 0 ? "+" : "") + scaled(change.growth), style});
    if (!compact) {
      cells.push_back({"\u00b1" + scaled(half), style});
    }
    std::string ratio = "~";
    if (sure) {
      ratio = row.costs[i + 1].samples == 0 ? "gone"
              : change.ratio                ? fmt::format("{:.2f}", *change.ratio)
                                            : "new";
    }
    cells.push_back({std::move(ratio), style});
    cells.push_back(
        {sure && change.share ? fmt::format("{:.1f} %", 100 * *change.share) : "", style});
  }
}

TextTable DiffText::fill_table(const Comparison& comparison, std::span<const ComparedRow> rows,
                               bool with_all, bool compact) const {
  const bool many = inputs_.size() > 2;
  std::vector<TextColumn> columns = {{.heading = "Base", .right = true}};
  for (std::size_t i = 1; i < inputs_.size(); ++i) {
    const std::string group = many ? shortened(printable(inputs_[i].name), 24) : "";
    columns.push_back({.heading = many ? "Cost" : "Other", .group = group, .right = true});
    columns.push_back({.heading = "Growth", .group = group, .right = true});
    if (!compact) {
      columns.push_back({.heading = "95 %", .group = group, .right = true});
    }
    columns.push_back({.heading = "Ratio", .group = group, .right = true});
    columns.push_back({.heading = "Share", .group = group, .right = true});
  }
  const SampleColumns places(comparison.columns, compact);
  places.add_to(columns);
  TextTable table(std::move(columns));
  if (with_all) {
    std::vector<TextCell> cells;
    add_numbers(comparison.all, compact, cells);
    for (std::size_t i = 0; i < comparison.columns.size(); ++i) {
      cells.push_back({i == 0 ? "all" : "", Style::kBold});
    }
    table.add_row(std::move(cells));
  }
  std::set<std::string> images;
  for (const ComparedRow& row : rows) {
    places.collect_images(row.cells, images);
  }
  const auto names = short_image_names(images);
  for (const ComparedRow& row : rows) {
    std::vector<TextCell> cells;
    add_numbers(row, compact, cells);
    places.add_cells(row.cells, any_beyond_error(row), names, cells);
    table.add_row(std::move(cells));
  }
  return table;
}

std::string DiffText::rest(std::span<const ComparedRow> rows) const {
  if (rows.empty()) {
    return {};
  }
  const auto sure = static_cast<std::size_t>(std::ranges::count_if(rows, any_beyond_error));
  std::string text =
      rows.size() == 1 ? "One more row" : with_separators(rows.size()) + " more rows";
  text += sure == 0 ? fmt::format(" within {} sampling error", rows.size() == 1 ? "its" : "their")
                    : fmt::format(", {} of them beyond sampling error", with_separators(sure));
  text += ", together";
  for (std::size_t i = 1; i < inputs_.size(); ++i) {
    double growth = 0;
    for (const ComparedRow& row : rows) {
      growth += row.changes[i - 1].growth;
    }
    text += fmt::format("{} {}{}", i == 1 ? "" : ",", growth > 0 ? "+" : "", scaled(growth));
  }
  return styled(paragraph(text + "; --top shows more."), Style::kDim, options_.style.colour);
}

std::string DiffText::table(const Comparison& comparison, bool with_all) const {
  const std::span<const ComparedRow> rows = comparison.rows;
  std::vector<ComparedRow> shown;
  std::vector<ComparedRow> left_out;
  for (const ComparedRow& row : rows) {
    const bool wanted = options_.top
                            ? shown.size() < *options_.top
                            : with_all || (any_beyond_error(row) && shown.size() < kDiffTextRows);
    (wanted ? shown : left_out).push_back(row);
  }
  std::string text;
  if (shown.empty() && !with_all) {
    text = "No row differs by more than its sampling error.\n";
  } else {
    const TextTable full = fill_table(comparison, shown, with_all, false);
    text = full.least_width() <= options_.style.width
               ? full.draw(options_.style.width, options_.style.colour)
               : fill_table(comparison, shown, with_all, true)
                     .draw(options_.style.width, options_.style.colour);
  }
  return text + rest(left_out);
}

std::string DiffText::event(const Comparison& domains, const Comparison& functions) const {
  std::string title = printable(functions.event);
  if (!options_.unit.empty()) {
    title += " per " + printable(options_.unit);
  }
  return styled(title, Style::kBold, options_.style.colour) + "\n" + table(domains, true) + "\n" +
         table(functions, false);
}

std::string DiffText::losses(const DiffInput& input) const {
  const std::string name = printable(input.name);
  if (input.session == nullptr) {
    return "What " + name + " lost is known only if a note says it.";
  }
  std::uint64_t taken = 0;
  std::uint64_t delivered = 0;
  bool whole = true;
  for (const DomainTotals& domain : input.session->domains) {
    whole &= domain.whole;
    for (const EventTotals& event : domain.events) {
      taken += event.taken;
      delivered += event.delivered;
    }
  }
  if (taken > delivered) {
    return fmt::format("{} lost {:.1f} % of its samples: it cost more than is shown.", name,
                       100 * static_cast<double>(taken - delivered) / static_cast<double>(taken));
  }
  return whole ? "" : "What " + name + " lost is not known: the last counts did not arrive.";
}

std::string DiffText::footer() const {
  std::string text =
      "95 %: sampling error of the growth (Poisson); the intervals of a table hold all at once. ~: "
      "no difference beyond it; where there is one, \u00b1 is towards none. Share: of the "
      "growth of all.";
  text = paragraph(text);
  for (const DiffInput& input : inputs_) {
    if (const std::string lost = losses(input); !lost.empty()) {
      text += paragraph(lost);
    }
    if (input.session != nullptr) {
      for (const std::string& note : input.session->notes) {
        text += paragraph(printable(input.name + ": " + note));
      }
    }
  }
  return text;
}

}  // namespace

std::string to_text(std::span<const DiffInput> inputs, const DiffOptions& options,
                    const std::vector<Comparison>& domains,
                    const std::vector<Comparison>& functions) {
  const DiffText text(inputs, options);
  std::string out = text.header() + "\n";
  for (std::size_t i = 0; i < functions.size(); ++i) {
    out += text.event(domains[i], functions[i]) + "\n";
  }
  return out + text.footer();
}

}  // namespace xenoprof
