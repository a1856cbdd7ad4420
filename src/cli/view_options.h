// SPDX-License-Identifier: GPL-2.0-or-later
// The options that the commands which show profiles share.
#pragma once

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <map>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

#include "cli/terminal.h"
#include "report/report.h"
#include "report/source.h"

namespace xenoprof {

// An option's type as --help, the man page and the shells' completion tell it: the words that it
// can be, with '|' between them.
template <class Value>
std::string words_of(const std::map<std::string, Value>& names) {
  return fmt::format("{}", fmt::join(std::views::keys(names), "|"));
}

// CLI11's own check would print the values' numbers.
template <class Value>
CLI::Validator one_of(const std::map<std::string, Value>& names) {
  return CLI::Validator(
      [&names](std::string& text) {
        return names.contains(text) ? ""
                                    : fmt::format("'{}' is none of {}", text,
                                                  fmt::join(std::views::keys(names), ", "));
      },
      "");
}

// --filter and --domain.
class FilterOptions {
 public:
  void add_to(CLI::App& command);
  Result<std::vector<FilterTerm>> terms() const;

 private:
  std::vector<std::string> filters_;
  std::vector<std::string> domains_;
};

// -s, --sort.
class SortOption {
 public:
  explicit SortOption(const std::vector<Column>& columns);
  void add_to(CLI::App& command);
  std::vector<Column> columns() const;

 private:
  std::vector<std::string> names_;
};

// -f, --format.
class FormatOption {
 public:
  void add_to(CLI::App& command);
  Format format() const;

 private:
  std::string name_ = "text";
};

// Those of a view that is a table.
class TableOptions {
 public:
  explicit TableOptions(const std::vector<Column>& columns) : sort_(columns) {}
  void add_to(CLI::App& command) {
    filter_.add_to(command);
    sort_.add_to(command);
    format_.add_to(command);
  }
  // ReportOptions or DiffOptions.
  template <class Options>
  Result<void> set(Options& options) const {
    auto terms = filter_.terms();
    if (!terms) {
      return std::unexpected(terms.error());
    }
    options.filter = *std::move(terms);
    options.columns = sort_.columns();
    options.format = format_.format();
    options.style = style_of_output();
    return {};
  }

 private:
  FilterOptions filter_;
  SortOption sort_;
  FormatOption format_;
};

// The SOURCE that a view reads, and --no-progress.
class SourceOption {
 public:
  void add_to(CLI::App& command);
  // Prints what was not understood.
  Result<Recorded> read(Parts parts) const;
  const std::string& path() const { return path_; }
  bool wants_progress() const { return !no_progress_; }

 private:
  std::string path_ = "xenoprof.session";
  bool no_progress_ = false;
};

// The type name of a path of such a source.
inline constexpr char kSourceType[] = "DIR|FILE";
Result<Recorded> read_and_complain(const std::string& path, Parts parts, bool progress);
void add_no_progress(CLI::App& command, bool& no_progress);
void add_inline(CLI::App& command, bool& inlined_frames);

}  // namespace xenoprof
