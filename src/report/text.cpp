// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "report/formats.h"
#include "report/session_text.h"
#include "report/text_cells.h"
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

Style style_of(std::string_view mode) {
  return mode == to_string(Mode::kHypervisor) ? Style::kHypervisor
         : mode == to_string(Mode::kKernel)   ? Style::kKernel
                                              : Style::kUser;
}

// A paragraph in lines of at most `width` characters.
std::string wrapped(const std::string& text, std::size_t width) {
  std::string lines;
  std::size_t used = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (used != 0 && used + 1 + width_of(word) > width) {
      lines += '\n';
      used = 0;
    }
    if (used != 0) {
      lines += ' ';
      ++used;
    }
    lines += word;
    used += width_of(word);
    at = end + 1;
  }
  return lines + "\n";
}

class TextReport {
 public:
  TextReport(const Profile& profile, const SessionRecord* session, const ReportOptions& options,
             const Rows& rows)
      : profile_(profile), session_(session), options_(options), rows_(rows) {}

  std::string draw(std::size_t top) {
    std::string out = header() + "\n";
    if (rows_.rows.empty()) {
      out += "No samples.\n";
    } else {
      out += domain_table() + "\n" + function_table(top) + rest(top) + "\n" + precision();
    }
    return out + losses() + notes();
  }

 private:
  std::string header() const;
  std::string domain_table() const;
  std::string function_table(std::size_t top) const;
  TextTable fill_function_table(std::size_t shown, bool compact) const;
  std::string rest(std::size_t top) const;
  std::string precision() const;
  std::string losses() const;
  std::string notes() const;

  std::string paragraph(const std::string& text) const { return wrapped(text, options_.width); }
  bool is_asked(std::string_view domain) const {
    return options_.domains.empty() || std::find(options_.domains.begin(), options_.domains.end(),
                                                 domain) != options_.domains.end();
  }
  std::string event_name(std::size_t event) const { return printable(rows_.events[event]); }

  const Profile& profile_;
  const SessionRecord* session_;
  const ReportOptions& options_;
  const Rows& rows_;
};

std::string TextReport::header() const {
  std::string out;
  if (session_ != nullptr) {
    std::string line = recorded_text(*session_);
    if (!session_->command.empty()) {
      line += ": " + shortened(printable(session_->command), options_.width);
    }
    out += styled(line, Style::kBold, options_.colour) + "\n";
    if (!session_->machine.empty()) {
      out += printable(session_->machine) + "\n";
    }
  }
  for (std::size_t event = 0; event < rows_.events.size(); ++event) {
    const std::uint64_t count = profile_.events()[event].count;
    out += paragraph(
        fmt::format("{} samples of {}{}", with_separators(rows_.totals[event]), event_name(event),
                    count > 1 ? fmt::format(", one each {}", with_separators(count)) : ""));
  }
  return out;
}

std::string TextReport::domain_table() const {
  // Of each domain and event: all samples, then those of each mode.
  using Sums = std::map<std::string, std::vector<std::map<std::string, std::uint64_t>>>;
  const Rows by_mode = make_rows(profile_, {Column::kDomain, Column::kMode}, options_.domains);
  const std::size_t events = by_mode.events.size();
  Sums sums;
  std::vector<std::string> order;
  const auto add_domain = [&](const std::string& name) {
    if (is_asked(name) && sums.try_emplace(name, events).second) {
      order.push_back(name);
    }
  };
  std::map<std::string, std::string> roles;
  if (session_ != nullptr) {
    for (const DomainTotals& domain : session_->domains) {
      add_domain(domain.name);
      roles[domain.name] = domain.role;
    }
  }
  for (const Row& row : make_rows(profile_, {Column::kDomain}, options_.domains).rows) {
    add_domain(row.cells[0]);
  }
  for (const Row& row : by_mode.rows) {
    for (std::size_t event = 0; event < events; ++event) {
      sums[row.cells[0]][event][row.cells[1]] += row.samples[event];
    }
  }
  std::vector<TextColumn> columns = {{.heading = "Domain", .least = 10}};
  if (!roles.empty()) {
    columns.push_back({.heading = "Role"});
  }
  if (events > 1) {
    columns.push_back({.heading = "Event", .least = 10});
  }
  for (const char* heading : {"Samples", "Share", "Hypervisor", "Kernel", "User"}) {
    columns.push_back({.heading = heading, .right = true});
  }
  TextTable table(std::move(columns));
  for (const std::string& name : order) {
    for (std::size_t event = 0; event < events; ++event) {
      auto& modes = sums[name][event];
      std::uint64_t all = 0;
      for (const auto& [mode, samples] : modes) {
        all += samples;
      }
      std::vector<TextCell> row = {{event == 0 ? printable(name.empty() ? "-" : name) : ""}};
      if (!roles.empty()) {
        row.push_back({event == 0 ? printable(roles[name]) : ""});
      }
      if (events > 1) {
        row.push_back({event_name(event)});
      }
      row.push_back({with_separators(all)});
      row.push_back({percent(all, by_mode.totals[event]), Style::kBold});
      for (const Mode mode : {Mode::kHypervisor, Mode::kKernel, Mode::kUser}) {
        const std::string text(to_string(mode));
        row.push_back({percent(modes[text], all), style_of(text)});
      }
      table.add_row(std::move(row));
    }
  }
  return table.draw(options_.width, options_.colour);
}

// A file's name without its folders, unless another file in sight has the same.
std::map<std::string, std::string> short_image_names(const Rows& rows, std::size_t column,
                                                     std::size_t shown) {
  std::map<std::string, std::set<std::string>> paths;
  const auto name_of = [](const std::string& path) {
    return path.starts_with('/') ? path.substr(path.rfind('/') + 1) : path;
  };
  for (std::size_t i = 0; i < shown; ++i) {
    const std::string& path = rows.rows[i].cells[column];
    paths[name_of(path)].insert(path);
  }
  std::map<std::string, std::string> names;
  for (const auto& [name, all] : paths) {
    for (const std::string& path : all) {
      names[path] = printable(all.size() == 1 ? name : path);
    }
  }
  return names;
}

TextTable TextReport::fill_function_table(std::size_t shown, bool compact) const {
  std::vector<TextColumn> columns;
  for (std::size_t event = 0; event < rows_.events.size(); ++event) {
    const std::string name = shortened(event_name(event), compact ? 8 : 16);
    columns.push_back({.heading = "%", .group = name, .right = true});
    if (!compact) {
      columns.push_back({.heading = "Samples", .group = name, .right = true});
    }
  }
  std::map<std::string, std::string> images;
  for (std::size_t i = 0; i < options_.columns.size(); ++i) {
    switch (options_.columns[i]) {
      case Column::kDomain:
        columns.push_back({.heading = "Domain", .least = 6});
        break;
      case Column::kProcess:
        columns.push_back({.heading = "Process", .least = 8});
        break;
      case Column::kImage:
        columns.push_back({.heading = "Image", .least = 8});
        images = short_image_names(rows_, i, shown);
        break;
      case Column::kSymbol:
        columns.push_back({.heading = "Function", .least = compact ? 12u : 24u, .most = 72});
        break;
      case Column::kMode:
        columns.push_back({.heading = "Mode"});
        break;
      case Column::kVcpu:
        columns.push_back({.heading = "vCPU", .right = true});
        break;
    }
  }
  TextTable table(std::move(columns));
  constexpr double kHot = 5;  // percent, from which on a row stands out
  for (std::size_t i = 0; i < shown; ++i) {
    const Row& row = rows_.rows[i];
    std::vector<TextCell> cells;
    bool hot = false;
    for (std::size_t event = 0; event < rows_.events.size(); ++event) {
      const double part = share(row.samples[event], rows_.totals[event]);
      const Style style = part >= kHot ? Style::kBold : Style::kPlain;
      hot |= part >= kHot;
      // An event that did not happen here leaves its place empty.
      const bool none = row.samples[event] == 0;
      cells.push_back({none ? "" : fmt::format("{:.1f}", part), style});
      if (!compact) {
        cells.push_back({none ? "" : with_separators(row.samples[event]), style});
      }
    }
    for (std::size_t column = 0; column < options_.columns.size(); ++column) {
      const std::string& text = row.cells[column];
      const std::string shown_text = text.empty() ? "-" : printable(text);
      switch (options_.columns[column]) {
        case Column::kImage:
          cells.push_back({images[text], Style::kDim});
          break;
        case Column::kSymbol:
          cells.push_back({shown_text, hot ? Style::kBold : Style::kPlain});
          break;
        case Column::kMode:
          cells.push_back({shown_text, style_of(text)});
          break;
        default:
          cells.push_back({shown_text});
      }
    }
    table.add_row(std::move(cells));
  }
  return table;
}

std::string TextReport::function_table(std::size_t top) const {
  const std::size_t shown = std::min(top, rows_.rows.size());
  const TextTable full = fill_function_table(shown, false);
  // Many events in a narrow terminal: the share says more than the number.
  return full.least_width() <= options_.width
             ? full.draw(options_.width, options_.colour)
             : fill_function_table(shown, true).draw(options_.width, options_.colour);
}

std::string TextReport::rest(std::size_t top) const {
  if (rows_.rows.size() <= top) {
    return {};
  }
  const std::size_t others = rows_.rows.size() - top;
  std::string text = others == 1 ? "One more row holds"
                                 : fmt::format("{} more rows hold", with_separators(others));
  for (std::size_t event = 0; event < rows_.events.size(); ++event) {
    std::uint64_t samples = rows_.totals[event];
    for (std::size_t i = 0; i < top; ++i) {
      samples -= rows_.rows[i].samples[event];
    }
    text += fmt::format("{} {:.1f} % of {}", event == 0 ? "" : ",",
                        share(samples, rows_.totals[event]), event_name(event));
  }
  return styled(paragraph(text + "; --top shows more."), Style::kDim, options_.colour);
}

std::string TextReport::precision() const {
  constexpr std::uint64_t kFew = 100;
  // Half the width of the 95 % confidence interval of a share of 10 %, in percentage points.
  const auto error = [](std::uint64_t samples) {
    return 100 * 1.96 * std::sqrt(0.1 * 0.9 / static_cast<double>(samples));
  };
  std::string good;
  std::string few;
  for (std::size_t event = 0; event < rows_.events.size(); ++event) {
    const std::uint64_t samples = rows_.totals[event];
    if (samples >= kFew) {
      good += good.empty() ? "Percentages are estimates: 10 % means 10 " : ", ";
      good += fmt::format("\u00b1{:.1f}", error(samples));
      good += rows_.events.size() > 1 ? " of " + event_name(event) : "";
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
                options_.colour);
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

std::string to_text(const Profile& profile, const SessionRecord* session,
                    const ReportOptions& options, const Rows& rows, std::size_t top) {
  return TextReport(profile, session, options, rows).draw(top);
}

}  // namespace xenoprof
