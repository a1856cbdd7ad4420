// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/flame.h"

#include <memory>
#include <optional>
#include <string>

#include "cli/exit_status.h"
#include "cli/view_options.h"
#include "report/flame.h"

namespace xenoprof {
namespace {

struct FlameArguments {
  SourceOption source;
  FilterOptions filter;
  bool inlined_frames = false;
  std::string base;
  std::string output = "flame.html";
};

Result<int> run_flame(const FlameArguments& arguments) {
  const auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  Parts parts = parts_of(/*stacks=*/true, *terms);
  parts.inlined_frames = arguments.inlined_frames;
  const auto recorded = arguments.source.read(parts);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  std::optional<Recorded> other;
  std::optional<FlameSource> base;
  if (!arguments.base.empty()) {
    auto from_base = read_and_complain(arguments.base, parts, arguments.source.wants_progress());
    if (!from_base) {
      return std::unexpected(from_base.error());
    }
    other = *std::move(from_base);
    base.emplace(arguments.base, *other);
  }
  const auto page = flame({arguments.source.path(), *recorded}, base ? &*base : nullptr, *terms);
  if (!page) {
    return std::unexpected(page.error());
  }
  auto done = write_output(arguments.output, [&](std::ostream& out) { out << *page; });
  if (done && arguments.output != kStandardOutput) {
    done = print(arguments.output + ": a flame graph for any browser\n");
  }
  if (!done) {
    return std::unexpected(done.error());
  }
  return kExitWhole;
}

}  // namespace

void add_flame(CLI::App& app) {
  auto* command = app.add_subcommand("flame", "A flame graph as one HTML file, to look around in");
  auto arguments = std::make_shared<FlameArguments>();
  arguments->source.add_to(*command);
  command->add_option("-o,--output", arguments->output, "The file to write; - is standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--diff", arguments->base, "Show what differs from this session or profile")
      ->type_name(kSourceType);
  arguments->filter.add_to(*command);
  add_inline(*command, arguments->inlined_frames);
  command->footer("Example: xenoprof flame --diff before.session after.session -o growth.html");
  command->final_callback([arguments] { throw_status(run_flame(*arguments)); });
}

}  // namespace xenoprof
