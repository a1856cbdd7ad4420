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
#include "report/flame.h"
#include "report/source.h"

namespace xenoprof {
namespace {

struct Arguments {
  std::string source = kDefaultSource;
  std::string base;
  std::string output = "flame.html";
};

FlameSource flame_source(const std::string& name, const Recorded& recorded) {
  return {name, recorded.profile, recorded.session ? &*recorded.session : nullptr};
}

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

Result<int> run(const Arguments& arguments) {
  const auto recorded = read_source(arguments.source);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  std::optional<Recorded> base;
  if (!arguments.base.empty()) {
    auto read = read_source(arguments.base);
    if (!read) {
      return std::unexpected(read.error());
    }
    base = *std::move(read);
  }
  std::optional<FlameSource> compared;
  if (base) {
    compared.emplace(flame_source(arguments.base, *base));
  }
  const auto page =
      flame(flame_source(arguments.source, *recorded), compared ? &*compared : nullptr);
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
  command->add_option("source", arguments->source, "A session's folder, or a pprof file")
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
