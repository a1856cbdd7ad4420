// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/record.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit_status.h"
#include "cli/session_options.h"
#include "cli/terminal.h"
#include "model/text.h"
#include "session/initiator.h"

namespace xenoprof {
namespace {

struct RecordArguments {
  SessionOptions session;
  std::string duration;
  std::string output = "xenoprof.session";
  std::vector<std::string> command;
  bool call_chains = false;
  bool no_progress = false;
};

Result<double> parse_seconds(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, value);
  const std::string_view suffix(unit, static_cast<std::size_t>(end - unit));
  const double scale = suffix == "ms"                    ? 0.001
                       : suffix == "s" || suffix.empty() ? 1
                       : suffix == "m"                   ? 60
                       : suffix == "h"                   ? 3600
                                                         : 0;
  if (error != std::errc() || scale == 0 || !(value > 0)) {
    return fail("--for {}: a time is a number and ms, s, m or h, as in 10s", text);
  }
  return value * scale;
}

// The command that is recorded. It must not outlive this program's interest in it, so a session
// that ends otherwise leaves it alone.
class Command {
 public:
  Result<void> start(const std::vector<std::string>& words) {
    std::vector<char*> argv;
    for (const std::string& word : words) {
      argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
      ::execvp(argv[0], argv.data());
      fmt::print(stderr, "xenoprof: {} cannot be run: {}\n", words[0], std::strerror(errno));
      ::_exit(127);
    }
    if (pid_ < 0) {
      return fail("no process for {}: {}", words[0], std::strerror(errno));
    }
    return {};
  }

  // Its wait status once it has ended.
  std::optional<int> ended() {
    int status = 0;
    return pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_ ? std::optional(status)
                                                                 : std::nullopt;
  }

 private:
  pid_t pid_ = -1;
};

std::string line_of(const SessionProgress& progress) {
  std::string line = fmt::format("{:6.1f} s", progress.seconds);
  std::uint64_t lost = 0;
  for (const SessionProgress::Domain& domain : progress.domains) {
    line += fmt::format("   {} {}", printable(domain.name), with_separators(domain.taken));
    lost += domain.lost;
  }
  line += fmt::format("   lost {}", with_separators(lost));
  return line;
}

Result<int> record(const RecordArguments& arguments) {
  auto request = arguments.session.request();
  if (!request) {
    return std::unexpected(request.error());
  }
  request->call_chains = arguments.call_chains;
  request->output = output_folder(arguments.output);
  request->command = fmt::format("{}", fmt::join(arguments.command, " "));
  double limit = 0;
  if (!arguments.duration.empty()) {
    const auto seconds = parse_seconds(arguments.duration);
    if (!seconds) {
      return std::unexpected(seconds.error());
    }
    limit = *seconds;
  }
  catch_interrupts();

  ProgressLine progress(!arguments.no_progress);
  progress.show("waiting for the domains' agents ...");
  Command command;
  std::optional<int> status;
  const auto started = [&]() -> Result<void> {
    return arguments.command.empty() ? Result<void>() : command.start(arguments.command);
  };
  const auto keep_going = [&](const SessionProgress& now) {
    if (!interrupted()) {
      progress.show(line_of(now));
    }
    status = command.ended();
    return !interrupted() && !status && (limit == 0 || now.seconds < limit);
  };
  const auto result = run_session(*request, interrupted, started, keep_going);
  progress.clear();
  if (!result) {
    return std::unexpected(result.error());
  }
  summarise(*result, request->output);
  if (status && *status != 0) {
    fmt::print(stderr, "xenoprof: the command ended with {} {}\n",
               WIFSIGNALED(*status) ? "signal" : "status",
               WIFSIGNALED(*status) ? WTERMSIG(*status) : WEXITSTATUS(*status));
  }
  return result->whole ? kExitWhole : kExitNotWhole;
}

}  // namespace

void add_record(CLI::App& app) {
  auto* command = app.add_subcommand("record", "Run a session: profile this host and its guests");
  static RecordArguments arguments;
  arguments.session.add_to(*command);
  command->add_flag("-g", arguments.call_chains, "Record call chains");
  command->add_option("-o,--output", arguments.output, "Folder for the session")
      ->type_name("DIR")
      ->capture_default_str();
  command->add_option("--for", arguments.duration,
                      "How long, as in 10s; else until COMMAND ends or Ctrl-C");
  command->add_flag("--no-progress", arguments.no_progress, "No progress line");
  command->add_option("COMMAND", arguments.command, "Ends the session when it ends");
  command->positionals_at_end();
  command->footer(
      "Exit status: 0 all is there; 3 kept, but not whole: the notes say what is missing; 1 "
      "nothing "
      "recorded.\n"
      "Example: xenoprof record -e instructions:1000000 -e cycles:2000000 -g --for 10s");
  command->final_callback([] { throw_status(record(arguments)); });
}

}  // namespace xenoprof
