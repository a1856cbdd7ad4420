// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/report.h"

#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <ranges>
#include <string>
#include <vector>

#include "cli/exit_status.h"
#include "model/text.h"
#include "report/report.h"
#include "report/source.h"

namespace xenoprof {
namespace {

// Wide enough for most C++ names in a file or a log.
constexpr std::size_t kWidthOfNoTerminal = 120;
constexpr std::size_t kLeastWidth = 60;

template <class Value>
using Names = std::map<std::string, Value>;

const Names<Column> kColumns = {{"domain", Column::kDomain}, {"process", Column::kProcess},
                                {"image", Column::kImage},   {"symbol", Column::kSymbol},
                                {"mode", Column::kMode},     {"vcpu", Column::kVcpu}};
const Names<Format> kFormats = {
    {"text", Format::kText}, {"json", Format::kJson}, {"csv", Format::kCsv}};

// CLI11's own check would print the values' numbers.
template <class Value>
CLI::Validator one_of(const Names<Value>& names) {
  return CLI::Validator(
      [&names](std::string& text) {
        return names.contains(text) ? ""
                                    : fmt::format("'{}' is none of {}", text,
                                                  fmt::join(std::views::keys(names), ", "));
      },
      "");
}

struct Arguments {
  std::string source = "xenoprof.session";
  std::vector<std::string> columns = {"domain", "process", "image", "symbol", "mode"};
  std::string format = "text";
  ReportOptions options;
};

std::size_t width_of_output() {
  if (const char* columns = std::getenv("COLUMNS")) {
    if (const int width = std::atoi(columns); width > 0) {
      return std::max(static_cast<std::size_t>(width), kLeastWidth);
    }
  }
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return std::max<std::size_t>(size.ws_col, kLeastWidth);
  }
  return kWidthOfNoTerminal;
}

bool wants_colour() {
  const char* no = std::getenv("NO_COLOR");  // https://no-color.org
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && (no == nullptr || *no == '\0') && terminal != nullptr &&
         std::strcmp(terminal, "dumb") != 0;
}

Result<int> run(Arguments& arguments) {
  const auto recorded = read_source(arguments.source);
  if (!recorded) {
    return std::unexpected(recorded.error());
  }
  for (const std::string& note : recorded->notes) {
    fmt::print(stderr, "xenoprof: {}\n", printable(note));
  }
  arguments.options.columns.clear();
  for (const std::string& column : arguments.columns) {
    arguments.options.columns.push_back(kColumns.at(column));
  }
  arguments.options.format = kFormats.at(arguments.format);
  arguments.options.width = width_of_output();
  arguments.options.colour = wants_colour();
  const auto text = report(recorded->profile, recorded->session ? &*recorded->session : nullptr,
                           arguments.options);
  if (!text) {
    return std::unexpected(text.error());
  }
  if (std::fwrite(text->data(), 1, text->size(), stdout) != text->size() ||
      std::fflush(stdout) != 0) {
    return fail("The report cannot be written: {}.", std::strerror(errno));
  }
  return kExitWhole;
}

}  // namespace

void add_report(CLI::App& app) {
  auto* command = app.add_subcommand("report", "Where the samples fell, function by function");
  auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("source", arguments->source, "A session's folder, a pprof file or a perf.data")
      ->type_name("DIR|FILE")
      ->capture_default_str();
  command
      ->add_option("-d,--domain", arguments->options.domains, "Only the samples of these domains")
      ->type_name("NAME[,..]")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option("-s,--sort", arguments->columns,
                   "Add up by these, in this order: domain, process, image, symbol, mode, vcpu")
      ->type_name("COLUMN[,..]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str()
      ->check(one_of(kColumns));
  command->add_option("-f,--format", arguments->format, "text, json or csv")
      ->type_name("FORMAT")
      ->capture_default_str()
      ->check(one_of(kFormats));
  command
      ->add_option("-n,--top", arguments->options.top,
                   "At most so many rows [30 as text, else all]")
      ->type_name("N");
  command->footer("Example: xenoprof report --domain guest1 --sort process,symbol --top 10");
  command->final_callback([arguments] { throw_status(run(*arguments)); });
}

}  // namespace xenoprof
