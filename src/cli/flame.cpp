// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/flame.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "cli/exit_status.h"
#include "cli/view_options.h"
#include "report/flame.h"

namespace xenoprof {
namespace {

struct Arguments {
  SourceOption source;
  FilterOptions filter;
  std::string base;
  std::string output = "flame.html";
};

Result<void> write_page(const std::string& page, const std::string& path) {
  if (path == "-") {
    return print(page);
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << page;
  file.close();
  if (!file) {
    return fail("{} cannot be written: {}.", path, std::strerror(errno));
  }
  return print(path + ": a flame graph for any browser\n");
}

Result<int> run(const Arguments& arguments) {
  const auto terms = arguments.filter.terms();
  if (!terms) {
    return std::unexpected(terms.error());
  }
  const Parts parts = parts_of(/*stacks=*/true, *terms);
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
  if (auto written = write_page(*page, arguments.output); !written) {
    return std::unexpected(written.error());
  }
  return kExitWhole;
}

}  // namespace

void add_flame(CLI::App& app) {
  auto* command = app.add_subcommand("flame", "A flame graph as one HTML file, to look around in");
  auto arguments = std::make_shared<Arguments>();
  arguments->source.add_to(*command);
  command->add_option("-o,--output", arguments->output, "The file to write; - is standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--diff", arguments->base, "Show what differs from this session or profile")
      ->type_name(kSourceType);
  arguments->filter.add_to(*command);
  command->footer("Example: xenoprof flame --diff before.session after.session -o growth.html");
  command->final_callback([arguments] { throw_status(run(*arguments)); });
}

}  // namespace xenoprof
