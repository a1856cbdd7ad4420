// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/view_options.h"

#include <algorithm>

#include "cli/terminal.h"
#include "model/text.h"

namespace xenoprof {
namespace {

const std::map<std::string, Format> kFormats = {
    {"csv", Format::kCsv}, {"json", Format::kJson}, {"text", Format::kText}};

std::string column_names(std::string_view separator) {
  return fmt::format(
      "{}",
      fmt::join(kColumns | std::views::transform([](Column column) { return to_string(column); }),
                separator));
}

}  // namespace

void FilterOptions::add_to(CLI::App& command) {
  command
      .add_option("--filter", filters_,
                  "Only such samples: COLUMN=TEXT, COLUMN~REGEX, != and !~ for all others; columns "
                  "as of --sort, at the sampled instruction")
      ->type_name("TERM[,..]")
      ->allow_extra_args(false);
  command.add_option("-d,--domain", domains_, "Only the samples of these domains")
      ->type_name("NAME[,..]")
      ->delimiter(',')
      ->allow_extra_args(false);
}

Result<std::vector<FilterTerm>> FilterOptions::terms() const {
  std::vector<FilterTerm> terms;
  for (const std::string& domain : domains_) {
    terms.push_back({.column = Column::kDomain, .text = domain});
  }
  for (const std::string& text : filters_) {
    const auto parsed = parse_filter(text);
    if (!parsed) {
      return std::unexpected(parsed.error());
    }
    terms.insert(terms.end(), parsed->begin(), parsed->end());
  }
  return terms;
}

SortOption::SortOption(const std::vector<Column>& columns) {
  for (const Column column : columns) {
    names_.emplace_back(to_string(column));
  }
}

void SortOption::add_to(CLI::App& command) {
  command.add_option("-s,--sort", names_, "Add up by these, in this order: " + column_names(", "))
      ->type_name("COLUMN[,..]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->check(CLI::Validator(
          [](std::string& text) {
            return column_from_string(text)
                       ? ""
                       : fmt::format("'{}' is none of {}", text, column_names(", "));
          },
          ""));
}

std::vector<Column> SortOption::columns() const {
  std::vector<Column> columns;
  for (const std::string& name : names_) {
    const Column column = *column_from_string(name);
    if (std::ranges::find(columns, column) == columns.end()) {
      columns.push_back(column);
    }
  }
  return columns;
}

void FormatOption::add_to(CLI::App& command) {
  command.add_option("-f,--format", name_, "For people or for programs")
      ->type_name(words_of(kFormats))
      ->capture_default_str()
      ->check(one_of(kFormats));
}

Format FormatOption::format() const {
  return kFormats.at(name_);
}

void SourceOption::add_to(CLI::App& command) {
  command.add_option("source", path_, "A session's folder, a pprof file or a perf.data")
      ->type_name(kSourceType)
      ->capture_default_str();
  add_no_progress(command, no_progress_);
}

Result<Recorded> SourceOption::read(Parts parts) const {
  return read_and_complain(path_, parts, wants_progress());
}

Result<Recorded> read_and_complain(const std::string& path, Parts parts, bool progress) {
  ProgressLine line(progress);
  auto recorded =
      read_source(path, parts, [&](double share) { line.show("reading " + path + ":", share); });
  line.clear();
  if (recorded) {
    for (const std::string& note : recorded->notes) {
      say("xenoprof: " + printable(note));
    }
  }
  return recorded;
}

void add_no_progress(CLI::App& command, bool& no_progress) {
  command.add_flag("--no-progress", no_progress, "No progress line");
}

void add_inline(CLI::App& command, bool& inlined_frames) {
  command.add_flag("--inline", inlined_frames,
                   "Inlined functions are frames of their own, from the debug information");
}

}  // namespace xenoprof
