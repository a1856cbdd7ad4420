// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/work.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "cli/exit_status.h"
#include "files/folder.h"
#include "report/session_file.h"

namespace xenoprof {
namespace {

struct WorkArguments {
  std::string session;
  std::vector<std::string> work;
};

Result<int> run_work(const WorkArguments& arguments) {
  auto session = read_session(std::filesystem::path(arguments.session) / kSessionFile);
  if (!session) {
    return std::unexpected(session.error());
  }
  for (const std::string& text : arguments.work) {
    const auto work = parse_work(text);
    if (!work) {
      return fail("{}: {}", text, work.error().message);
    }
    session->work[work->first] = work->second;
  }
  const auto folder = Folder::open(std::filesystem::path(arguments.session));
  if (!folder) {
    return std::unexpected(folder.error());
  }
  if (auto written = folder->write(kSessionFile, to_json(*session)); !written) {
    return std::unexpected(written.error());
  }
  return kExitWhole;
}

}  // namespace

Result<std::pair<std::string, double>> parse_work(const std::string& text) {
  const std::size_t equals = text.find('=');
  double amount = 0;
  const char* end = text.data() + text.size();
  if (equals == std::string::npos || equals == 0 ||
      std::from_chars(text.data() + equals + 1, end, amount).ptr != end || !(amount > 0) ||
      !std::isfinite(amount)) {
    return fail("work is a unit and a number, as in MiB=100");
  }
  return std::pair(text.substr(0, equals), amount);
}

void add_work(CLI::App& app) {
  auto* command =
      app.add_subcommand("work", "Put down what a session's machines did, for `xenoprof diff`");
  auto arguments = std::make_shared<WorkArguments>();
  command->add_option("session", arguments->session, "A session's folder")
      ->type_name("DIR")
      ->required();
  command->add_option("work", arguments->work, "How much of what was done during the recording")
      ->type_name("UNIT=N")
      ->required();
  command->footer("Example: xenoprof work xenoprof.session requests=20000 MiB=512");
  command->final_callback([arguments] { throw_status(run_work(*arguments)); });
}

}  // namespace xenoprof
