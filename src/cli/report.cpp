// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/report.h"

#include <memory>
#include <optional>
#include <string>

#include "cli/at_least_one.h"
#include "cli/exit_status.h"
#include "cli/view_options.h"

namespace xenoprof {
namespace {

struct ReportArguments {
  SourceOption source;
  TableOptions table{ReportOptions().columns};
  bool inlined_frames = false;
  std::string callers;
  std::string callees;
  ReportOptions options;
};

Result<int> run_report(ReportArguments& arguments) {
  ReportOptions& options = arguments.options;
  if (auto set = arguments.table.set(options); !set) {
    return std::unexpected(set.error());
  }
  if (!arguments.callers.empty()) {
    options.function = {arguments.callers, Direction::kCallers};
  } else if (!arguments.callees.empty()) {
    options.function = {arguments.callees, Direction::kCallees};
  }
  Parts parts =
      parts_of(options.children || options.function.has_value(), options.filter, options.columns);
  parts.inlined_frames = arguments.inlined_frames;
  const auto recorded = arguments.source.read(parts);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  return print_view(
      report(recorded->profile, recorded->session ? &*recorded->session : nullptr, options));
}

}  // namespace

void add_report(CLI::App& app) {
  auto* command = app.add_subcommand("report", "Where the samples fell, function by function");
  auto arguments = std::make_shared<ReportArguments>();
  arguments->source.add_to(*command);
  arguments->table.add_to(*command);
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
  add_inline(*command, arguments->inlined_frames);
  command
      ->add_option("-n,--top", arguments->options.top,
                   "At most so many rows [30 as text, 40 of a tree, else all]")
      ->check(at_least_one())
      ->type_name("N");
  command->footer(
      "Examples:\n"
      "  xenoprof report --domain guest1 --sort process,symbol --top 10\n"
      "  xenoprof report --filter 'mode=kernel,symbol~^tcp_' --children perf.data\n"
      "  xenoprof report --callers __memcpy\n"
      "  xenoprof report --inline --children");
  command->final_callback([arguments] { throw_status(run_report(*arguments)); });
}

}  // namespace xenoprof
