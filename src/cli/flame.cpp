// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/flame.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "cli/exit_status.h"
#include "model/text.h"
#include "report/flame.h"
#include "report/source.h"

namespace xenoprof {
namespace {

struct Arguments {
  std::string source = "xenoprof.session";
  std::string base;
  std::string output = "flame.html";
};

Result<void> write_page(const std::string& page, const std::string& path) {
  if (path == "-") {
    if (std::fwrite(page.data(), 1, page.size(), stdout) != page.size() ||
        std::fflush(stdout) != 0) {
      return fail("The page cannot be written: {}.", std::strerror(errno));
    }
    return {};
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << page;
  file.close();
  if (!file) {
    return fail("{} cannot be written: {}.", path, std::strerror(errno));
  }
  fmt::print("{}: a flame graph for any browser\n", path);
  return {};
}

Result<Recorded> read(const std::string& source) {
  auto recorded = read_source(source);
  if (recorded) {
    for (const std::string& note : recorded->notes) {
      fmt::print(stderr, "xenoprof: {}\n", printable(note));
    }
  }
  return recorded;
}

Result<int> run(const Arguments& arguments) {
  const auto recorded = read(arguments.source);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  std::optional<Recorded> other;
  std::optional<FlameSource> base;
  if (!arguments.base.empty()) {
    auto from_base = read(arguments.base);
    if (!from_base) {
      return std::unexpected(from_base.error());
    }
    other = *std::move(from_base);
    base.emplace(arguments.base, *other);
  }
  const auto page = flame({arguments.source, *recorded}, base ? &*base : nullptr);
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
  command
      ->add_option("source", arguments->source, "A session's folder, a pprof file or a perf.data")
      ->type_name("DIR|FILE")
      ->capture_default_str();
  command->add_option("-o,--output", arguments->output, "The file to write; - is standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--diff", arguments->base, "Show what differs from this session or profile")
      ->type_name("DIR|FILE");
  command->footer("Example: xenoprof flame --diff before.session after.session -o growth.html");
  command->final_callback([arguments] { throw_status(run(*arguments)); });
}

}  // namespace xenoprof
