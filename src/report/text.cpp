// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "report/formats.h"
#include "report/session_text.h"
#include "report/text_cells.h"
#include "report/text_columns.h"
#include "report/text_table.h"

namespace xenoprof {
namespace {

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

// Nothing for nothing, so that what there is stands out.
std::string percent(std::uint64_t part, std::uint64_t whole) {
  return part == 0 ? "" : fmt::format("{:.1f} %", share(part, whole));
}

class TextReport {
 public:
  TextReport(const View& view, const std::vector<std::uint64_t>& totals)
      : view_(view), session_(view.session), options_(view.options), totals_(totals) {}

  std::string draw(const Rows& rows) {
    std::string out = header() + "\n";
    if (rows.count == 0) {
      out += none();
    } else {
      out += domain_table() + "\n" + function_table(rows) + rest(rows) + "\n" + precision();
    }
    return out + losses() + notes();
  }
  std::string draw(const CallTree& tree) {
    std::string out = header() + "\n";
    out += tree.nodes.empty() ? none() : tree_heading(tree) + tree_table(tree) + "\n" + precision();
    return out + losses() + notes();
  }
  std::string domain_table() const;
  std::string function_table(const Rows& rows) const;

 private:
  std::string header() const;
  void add_event_columns(std::vector<TextColumn>& columns, bool total, bool compact) const;
  bool add_event_cells(std::vector<TextCell>& cells, const std::vector<std::uint64_t>& samples,
                       const std::vector<std::uint64_t>& total, bool compact) const;
  TextTable fill_function_table(const Rows& rows, bool compact) const;
  std::string rest(const Rows& rows) const;
  std::string tree_heading(const CallTree& tree) const;
  std::string tree_table(const CallTree& tree) const;
  TextTable fill_tree_table(const CallTree& tree, bool compact) const;
  std::string none() const;
  std::string precision() const;
  std::string losses() const;
  std::string notes() const;

  std::string paragraph(const std::string& text) const {
    return wrapped(text, options_.style.width);
  }
  // Whether a domain without samples has its place in the table.
  bool is_asked(std::string_view domain) const {
    const auto asks = [&](const FilterTerm& term) {
      return term.column == Column::kDomain && !term.negated && !term.pattern;
    };
    return options_.filter.empty() ||
           (std::ranges::all_of(options_.filter, asks) &&
            std::ranges::find(options_.filter, domain, &FilterTerm::text) != options_.filter.end());
  }
  std::string event_name(std::size_t event) const { return printable(view_.events[event]); }
  std::size_t events() const { return view_.events.size(); }

  const View& view_;
  const SessionRecord* session_;
  const ReportOptions& options_;
  const std::vector<std::uint64_t>& totals_;
};

std::string TextReport::header() const {
  std::string out;
  if (session_ != nullptr) {
    std::string line = recorded_text(*session_);
    if (!session_->command.empty()) {
      line += ": " + shortened(printable(session_->command), options_.style.width);
    }
    out += styled(line, Style::kBold, options_.style.colour) + "\n";
    if (!session_->machine.empty()) {
      out += printable(session_->machine) + "\n";
    }
  }
  for (std::size_t event = 0; event < events(); ++event) {
    const std::uint64_t count = view_.profile.events()[event].count;
    out += paragraph(fmt::format("{} sample{} of {}{}", with_separators(totals_[event]),
                                 totals_[event] == 1 ? "" : "s", event_name(event),
                                 count == 0  ? ", by frequency"
                                 : count > 1 ? fmt::format(", one each {}", with_separators(count))
                                             : ""));
  }
  if (!options_.filter.empty()) {
    out += paragraph("Only " + printable(to_string(options_.filter)));
  }
  return out;
}

std::string TextReport::domain_table() const {
  // Of each domain and event: all samples, then those of each mode.
  using Sums = std::map<std::string, std::vector<std::map<std::string, std::uint64_t>>>;
  const Rows by_mode = make_rows(view_.profile, view_.cells, view_.filter,
                                 {.columns = {Column::kDomain, Column::kMode}});
  Sums sums;
  for (const Row& row : by_mode.rows) {
    auto& of_domain = sums.try_emplace(row.cells[0], events()).first->second;
    for (std::size_t event = 0; event < events(); ++event) {
      of_domain[event][row.cells[1]] += row.samples[event];
    }
  }
  // The session's order, or that of the samples.
  std::vector<std::string> order;
  std::map<std::string, std::string> roles;
  if (session_ != nullptr) {
    for (const DomainTotals& domain : session_->domains) {
      roles[domain.name] = domain.role;
      if (sums.contains(domain.name) || is_asked(domain.name)) {
        sums.try_emplace(domain.name, events());
        order.push_back(domain.name);
      }
    }
  }
  const auto samples_of = [&](const std::string& name) {
    std::uint64_t samples = 0;
    for (const auto& [mode, number] : sums.at(name).front()) {
      samples += number;
    }
    return samples;
  };
  std::vector<std::string> others;
  for (const auto& [name, of_domain] : sums) {
    if (!roles.contains(name)) {
      others.push_back(name);
    }
  }
  std::ranges::stable_sort(others, std::greater(), samples_of);
  order.insert(order.end(), others.begin(), others.end());
  std::vector<TextColumn> columns = {{.heading = "Domain", .least = 10}};
  if (!roles.empty()) {
    columns.push_back({.heading = "Role"});
  }
  if (events() > 1) {
    columns.push_back({.heading = "Event", .least = 10});
  }
  for (const char* heading : {"Samples", "Share", "Hypervisor", "Kernel", "User"}) {
    columns.push_back({.heading = heading, .right = true});
  }
  TextTable table(std::move(columns));
  for (const std::string& name : order) {
    for (std::size_t event = 0; event < events(); ++event) {
      auto& modes = sums[name][event];
      std::uint64_t all = 0;
      for (const auto& [mode, samples] : modes) {
        all += samples;
      }
      std::vector<TextCell> row = {{event == 0 ? printable(name.empty() ? "-" : name) : ""}};
      if (!roles.empty()) {
        row.push_back({event == 0 ? printable(roles[name]) : ""});
      }
      if (events() > 1) {
        row.push_back({event_name(event)});
      }
      row.push_back({with_separators(all)});
      row.push_back({percent(all, totals_[event]), Style::kBold});
      for (const Mode mode : {Mode::kHypervisor, Mode::kKernel, Mode::kUser}) {
        const std::string text(to_string(mode));
        row.push_back({percent(modes[text], all), style_of_mode(text)});
      }
      table.add_row(std::move(row));
    }
  }
  return table.draw(options_.style.width, options_.style.colour);
}

void TextReport::add_event_columns(std::vector<TextColumn>& columns, bool total,
                                   bool compact) const {
  for (std::size_t event = 0; event < events(); ++event) {
    const std::string name = shortened(event_name(event), compact ? 8 : 16);
    if (total) {
      columns.push_back({.heading = "Total", .group = name, .right = true});
      columns.push_back({.heading = "Self", .group = name, .right = true});
    } else {
      columns.push_back({.heading = "%", .group = name, .right = true});
    }
    if (!compact) {
      columns.push_back({.heading = "Samples", .group = name, .right = true});
    }
  }
}

// Says whether they are many.
bool TextReport::add_event_cells(std::vector<TextCell>& cells,
                                 const std::vector<std::uint64_t>& samples,
                                 const std::vector<std::uint64_t>& total, bool compact) const {
  constexpr double kHot = 5;  // percent, from which on a row stands out
  bool hot = false;
  for (std::size_t event = 0; event < events(); ++event) {
    const std::uint64_t first = total.empty() ? samples[event] : total[event];
    const double part = share(first, totals_[event]);
    const Style style = part >= kHot ? Style::kBold : Style::kPlain;
    hot |= part >= kHot;
    // An event that did not happen here leaves its place empty.
    cells.push_back({first == 0 ? "" : fmt::format("{:.1f}", part), style});
    if (!total.empty()) {
      const double self = share(samples[event], totals_[event]);
      cells.push_back({samples[event] == 0 ? "" : fmt::format("{:.1f}", self),
                       self >= kHot ? Style::kBold : Style::kPlain});
    }
    if (!compact) {
      cells.push_back({first == 0 ? "" : with_separators(first), style});
    }
  }
  return hot;
}

TextTable TextReport::fill_function_table(const Rows& rows, bool compact) const {
  std::vector<TextColumn> columns;
  add_event_columns(columns, options_.children, compact);
  const SampleColumns places(options_.columns, compact);
  places.add_to(columns);
  TextTable table(std::move(columns));
  std::set<std::string> images;
  for (const Row& row : rows.rows) {
    places.collect_images(row.cells, images);
  }
  const auto names = short_image_names(images);
  for (const Row& row : rows.rows) {
    std::vector<TextCell> cells;
    const bool hot = add_event_cells(cells, row.samples, row.total, compact);
    places.add_cells(row.cells, hot, names, cells);
    table.add_row(std::move(cells));
  }
  return table;
}

std::string TextReport::function_table(const Rows& rows) const {
  const TextTable full = fill_function_table(rows, false);
  // Many events in a narrow terminal: the share says more than the number.
  return full.least_width() <= options_.style.width
             ? full.draw(options_.style.width, options_.style.colour)
             : fill_function_table(rows, true).draw(options_.style.width, options_.style.colour);
}

std::string TextReport::rest(const Rows& rows) const {
  const std::size_t others = rows.count - rows.rows.size();
  if (others == 0) {
    return {};
  }
  std::string text;
  if (options_.children) {
    // Rows with children overlap: what they hold together is no share of anything.
    text = others == 1 ? "There is one more row" : with_separators(others) + " more rows";
  } else {
    text = others == 1 ? "One more row holds" : with_separators(others) + " more rows hold";
    for (std::size_t event = 0; event < events(); ++event) {
      std::uint64_t samples = totals_[event];
      for (const Row& row : rows.rows) {
        samples -= row.samples[event];
      }
      text += fmt::format("{} {:.1f} % of {}", event == 0 ? "" : ",",
                          share(samples, totals_[event]), event_name(event));
    }
  }
  return styled(paragraph(text + "; --top shows more."), Style::kDim, options_.style.colour);
}

std::string TextReport::tree_heading(const CallTree& tree) const {
  std::string text = printable(options_.function->symbol);
  text += options_.function->direction == Direction::kCallers ? " and its callers:"
                                                              : " and what it called:";
  for (std::size_t event = 0; event < events(); ++event) {
    std::uint64_t samples = 0;
    for (const CallTree::Node& node : tree.nodes) {
      samples += node.depth == 0 ? node.total[event] : 0;
    }
    text +=
        fmt::format("{} {} samples, {:.1f} % of {}", event == 0 ? "" : ",",
                    with_separators(samples), share(samples, totals_[event]), event_name(event));
  }
  return styled(paragraph(text), Style::kBold, options_.style.colour) + "\n";
}

// Branches before each node's name. A node that is the only one drawn below its parent stands
// under it without a branch: most of a stack is such, and it would run off the right edge.
std::vector<std::string> branches(const CallTree& tree) {
  struct Level {
    std::string inner;  // stands before all that is below
    bool only = false;
    std::size_t left = 0;  // children not yet drawn
  };
  const auto& nodes = tree.nodes;
  std::vector<std::size_t> children(nodes.size() + 1);  // the last: roots
  std::vector<std::size_t> path;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    path.resize(nodes[i].depth);
    ++children[path.empty() ? nodes.size() : path.back()];
    path.push_back(i);
  }
  std::vector<std::string> result;
  std::vector<Level> levels;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    levels.resize(nodes[i].depth);
    Level level{.inner = {}, .only = children[i] == 1, .left = children[i]};
    if (!levels.empty()) {
      Level& above = levels.back();
      --above.left;
      const bool last = above.left == 0;
      result.push_back(above.inner + (above.only ? "" : last ? "\u2514 " : "\u251c "));
      level.inner = above.inner + (above.only ? "" : last ? "  " : "\u2502 ");
    } else {
      result.emplace_back();
    }
    levels.push_back(level);
  }
  return result;
}

TextTable TextReport::fill_tree_table(const CallTree& tree, bool compact) const {
  // Where a chain of callers ends says little.
  const bool callees = options_.function->direction == Direction::kCallees;
  std::vector<TextColumn> columns;
  add_event_columns(columns, callees, compact);
  columns.push_back({.heading = "Function", .least = 30});
  columns.push_back({.heading = "Image", .least = 8});
  TextTable table(std::move(columns));
  std::set<std::string> shown;
  for (const CallTree::Node& node : tree.nodes) {
    shown.insert(node.image);
  }
  auto images = short_image_names(shown);
  const auto before = branches(tree);
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    const CallTree::Node& node = tree.nodes[i];
    std::vector<TextCell> cells;
    const bool hot = callees ? add_event_cells(cells, node.samples, node.total, compact)
                             : add_event_cells(cells, node.total, {}, compact);
    cells.push_back({before[i] + (node.symbol.empty() ? "-" : printable(node.symbol)),
                     hot ? Style::kBold : Style::kPlain});
    cells.push_back({images[node.image], style_of_mode(to_string(node.mode))});
    table.add_row(std::move(cells));
  }
  return table;
}

std::string TextReport::tree_table(const CallTree& tree) const {
  const TextTable full = fill_tree_table(tree, false);
  std::string text =
      full.least_width() <= options_.style.width
          ? full.draw(options_.style.width, options_.style.colour)
          : fill_tree_table(tree, true).draw(options_.style.width, options_.style.colour);
  if (std::ranges::any_of(tree.nodes, [](const auto& node) { return node.hidden != 0; })) {
    text += styled(paragraph("Lighter branches are left out; --top shows more."), Style::kDim,
                   options_.style.colour);
  }
  return text;
}

std::string TextReport::none() const {
  return options_.filter.empty() ? "No samples.\n" : "No samples pass the filter.\n";
}

std::string TextReport::precision() const {
  constexpr std::uint64_t kFew = 100;
  // Half the width of the 95 % confidence interval of a share of 10 %, in percentage points.
  const auto error = [](std::uint64_t samples) {
    return 100 * 1.96 * std::sqrt(0.1 * 0.9 / static_cast<double>(samples));
  };
  std::string good;
  std::string few;
  for (std::size_t event = 0; event < events(); ++event) {
    const std::uint64_t samples = totals_[event];
    if (samples >= kFew) {
      good += good.empty() ? "Percentages are estimates: 10 % means 10 " : ", ";
      good += fmt::format("\u00b1{:.1f}", error(samples));
      good += events() > 1 ? " of " + event_name(event) : "";
    } else if (samples != 0) {
      few += few.empty() ? "Too few samples for percentages to mean much: " : ", ";
      few += fmt::format("{} of {}", samples, event_name(event));
    }
  }
  std::string text;
  if (!good.empty()) {
    text += paragraph(good + " (with 95 % confidence).");
  }
  if (!few.empty()) {
    text += paragraph(few + ".");
  }
  return text;
}

std::string TextReport::losses() const {
  return styled(paragraph(losses_text(session_)),
                session_ == nullptr || is_whole(session_) ? Style::kPlain : Style::kBold,
                options_.style.colour);
}

std::string TextReport::notes() const {
  std::string text;
  if (session_ != nullptr) {
    for (const std::string& note : session_->notes) {
      text += paragraph("Note: " + printable(note));
    }
  }
  return text;
}

}  // namespace

std::string domain_table(const View& view, const std::vector<std::uint64_t>& totals) {
  return TextReport(view, totals).domain_table();
}

std::string function_table(const View& view, const Rows& rows) {
  return TextReport(view, rows.totals).function_table(rows);
}

std::string to_text(const View& view, const Rows& rows) {
  return TextReport(view, rows.totals).draw(rows);
}

std::string to_text(const View& view, const CallTree& tree) {
  return TextReport(view, tree.totals).draw(tree);
}

}  // namespace xenoprof
