// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/report.h"

#include <memory>
#include <optional>
#include <string>

#include "cli/exit_status.h"
#include "cli/view_options.h"

namespace xenoprof {
namespace {

struct Arguments {
  SourceOption source;
  FilterOptions filter;
  SortOption sort{ReportOptions().columns};
  FormatOption format;
  std::string callers;
  std::string callees;
  ReportOptions options;
};

Result<int> run(Arguments& arguments) {
  ReportOptions& options = arguments.options;
  auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  options.filter = *std::move(terms);
  options.columns = arguments.sort.columns();
  options.format = arguments.format.format();
  options.style = style_of_output();
  if (!arguments.callers.empty()) {
    options.function = {arguments.callers, Direction::kCallers};
  } else if (!arguments.callees.empty()) {
    options.function = {arguments.callees, Direction::kCallees};
  }
  const auto recorded = arguments.source.read(
      options.children || options.function ? Stacks::kWhole : Stacks::kLeavesOnly);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  return print_view(
      report(recorded->profile, recorded->session ? &*recorded->session : nullptr, options));
}

}  // namespace

void add_report(CLI::App& app) {
  auto* command = app.add_subcommand("report", "Where the samples fell, function by function");
  auto arguments = std::make_shared<Arguments>();
  arguments->source.add_to(*command);
  arguments->filter.add_to(*command);
  arguments->sort.add_to(*command);
  auto* children = command->add_flag("--children", arguments->options.children,
                                     "Rows hold what was called from there, too");
  auto* callers =
      command->add_option("--callers", arguments->callers, "What called this function, as a tree")
          ->type_name("SYMBOL");
  auto* callees =
      command->add_option("--callees", arguments->callees, "What this function called, as a tree")
          ->type_name("SYMBOL");
  callers->excludes(callees)->excludes(children);
  callees->excludes(children);
  arguments->format.add_to(*command);
  command
      ->add_option("-n,--top", arguments->options.top,
                   "At most so many rows [30 as text, 40 of a tree, else all]")
      ->type_name("N");
  command->footer(
      "Examples:\n"
      "  xenoprof report --domain guest1 --sort process,symbol --top 10\n"
      "  xenoprof report --filter 'mode=kernel,symbol~^tcp_' --children perf.data\n"
      "  xenoprof report --callers __memcpy");
  command->final_callback([arguments] { throw_status(run(*arguments)); });
}

}  // namespace xenoprof
