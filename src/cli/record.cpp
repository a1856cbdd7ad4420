// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/record.h"

#include <fcntl.h>
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

#include "cli/at_least_one.h"
#include "cli/exit_status.h"
#include "cli/session_options.h"
#include "cli/terminal.h"
#include "hypervisor/xen_domains.h"
#include "model/text.h"
#include "perf/records.h"
#include "session/initiator.h"
#include "session/local.h"

namespace xenoprof {
namespace {

struct RecordArguments {
  SessionOptions session;
  std::string duration;
  std::string output = "xenoprof.session";
  std::vector<std::string> command;
  std::vector<std::int32_t> processes;
  std::uint64_t frequency = 0;  // 0: not given
  bool whole_system = false;
  std::string call_chains;  // empty: none
  bool no_progress = false;
};

constexpr std::uint32_t kDefaultStackBytes = 8192;

struct CallChains {
  bool wanted = false;
  std::uint32_t stack_bytes = 0;
};

Result<CallChains> parse_call_chains(std::string_view mode) {
  constexpr std::string_view kByStack = "dwarf";
  CallChains chains{.wanted = !mode.empty()};
  if (mode.empty() || mode == "fp") {
    return chains;
  }
  chains.stack_bytes = kDefaultStackBytes;
  if (mode == kByStack) {
    return chains;
  }
  if (!mode.starts_with(kByStack) || mode[kByStack.size()] != ',') {
    return fail(
        "-g {}: call chains are found by frame pointers (fp) or by copies of user stacks "
        "(dwarf, or dwarf,BYTES)",
        mode);
  }
  const std::string_view bytes = mode.substr(kByStack.size() + 1);
  const char* const end = bytes.data() + bytes.size();
  const auto [rest, error] = std::from_chars(bytes.data(), end, chains.stack_bytes);
  if (error != std::errc() || rest != end || chains.stack_bytes == 0 ||
      chains.stack_bytes % 8 != 0 || chains.stack_bytes > perf::kMostStackBytes) {
    return fail("-g {}: of a stack 8 to {} bytes can be copied, a multiple of 8", mode,
                perf::kMostStackBytes);
  }
  return chains;
}

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
  ~Command() {
    for (const int pipe : {go_, failure_}) {  // it ends without having begun
      if (pipe >= 0) {
        ::close(pipe);
      }
    }
  }

  // Its process, which waits for start().
  Result<void> prepare(const std::vector<std::string>& words) {
    std::vector<char*> argv;
    for (const std::string& word : words) {
      argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    name_ = words[0];
    int gate[2];
    int failure[2];
    if (::pipe2(gate, O_CLOEXEC) != 0 || ::pipe2(failure, O_CLOEXEC) != 0) {
      return fail("no pipe for {}: {}", name_, std::strerror(errno));
    }
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(gate[1]);
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
      char go = 0;
      if (::read(gate[0], &go, 1) != 1) {
        ::_exit(0);
      }
      ::execvp(argv[0], argv.data());
      const int error = errno;
      (void)!::write(failure[1], &error, sizeof error);
      ::_exit(127);
    }
    ::close(gate[0]);
    ::close(failure[1]);
    go_ = gate[1];
    failure_ = failure[0];
    if (pid_ < 0) {
      return fail("no process for {}: {}", name_, std::strerror(errno));
    }
    return {};
  }

  pid_t process() const { return pid_; }

  Result<void> start() {
    if (go_ >= 0 && ::write(go_, "", 1) != 1) {
      return fail("the command ended before it began");
    }
    // Nothing comes where it could be run: the pipe closes with that.
    int error = 0;
    ssize_t size = 0;
    while (failure_ >= 0 && (size = ::read(failure_, &error, sizeof error)) < 0 && errno == EINTR) {
    }
    return size == sizeof error ? fail("{} cannot be run: {}", name_, std::strerror(error))
                                : Result<void>();
  }

  // Its wait status once it has ended.
  std::optional<int> ended() {
    int status = 0;
    return pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_ ? std::optional(status)
                                                                 : std::nullopt;
  }

 private:
  std::string name_;
  pid_t pid_ = -1;
  int go_ = -1;       // it waits for a byte from here
  int failure_ = -1;  // and tells here why it could not be run
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

// How long the session lasts and what is shown meanwhile.
struct Watch {
  ProgressLine& progress;
  Command& command;
  double limit;                    // seconds; 0: none
  std::optional<int> status = {};  // the command's

  bool keep_going(const SessionProgress& now) {
    if (!interrupted()) {
      progress.show(line_of(now));
    }
    status = command.ended();
    return !interrupted() && !status && (limit == 0 || now.seconds < limit);
  }
};

// Of a Xen host and its domains.
Result<SessionResult> record_domains(const RecordArguments& arguments, Command& command,
                                     Watch& watch) {
  if (arguments.frequency != 0 || !arguments.processes.empty()) {
    return fail("{}: Xen counts for whole domains, a sample each COUNT events",
                arguments.frequency != 0 ? "-F" : "-p");
  }
  const auto chains = parse_call_chains(arguments.call_chains);
  if (!chains) {
    return std::unexpected(chains.error());
  }
  if (chains->stack_bytes != 0) {
    return fail(
        "-g {}: Xen hands out samples without their stacks; -g alone gives call chains by "
        "frame pointers",
        arguments.call_chains);
  }
  auto request = arguments.session.request();
  if (!request) {
    return std::unexpected(request.error());
  }
  request->call_chains = chains->wanted;
  request->output = output_folder(arguments.output);
  request->command = fmt::format("{}", fmt::join(arguments.command, " "));
  watch.progress.show("waiting for the domains' agents ...");
  return run_session(
      *request, interrupted, [&] { return command.start(); },
      [&](const SessionProgress& now) { return watch.keep_going(now); });
}

// Of this system, and of its guests where it is a KVM host.
Result<SessionResult> record_here(const RecordArguments& arguments, Command& command,
                                  Watch& watch) {
  const auto chains = parse_call_chains(arguments.call_chains);
  if (!chains) {
    return std::unexpected(chains.error());
  }
  auto request = arguments.session.local_request(arguments.frequency);
  if (!request) {
    return std::unexpected(request.error());
  }
  request->processes = arguments.processes;
  request->from_exec =
      !arguments.command.empty() && !arguments.whole_system && request->processes.empty();
  if (request->from_exec) {
    request->processes = {command.process()};
  }
  if (const char* option = arguments.session.about_domains();
      option != nullptr && !request->processes.empty()) {
    return fail("{}: guests belong to a session of the whole system (-a)", option);
  }
  if (chains->stack_bytes != 0 && request->guests.sampling != GuestSampling::kByHost) {
    return fail(
        "-g {}: guests that sample themselves have call chains by frame pointers alone "
        "(-g)",
        arguments.call_chains);
  }
  request->call_chains = chains->wanted;
  request->stack_bytes = chains->stack_bytes;
  request->output = output_folder(arguments.output);
  request->command = fmt::format("{}", fmt::join(arguments.command, " "));
  watch.progress.show("beginning ...");
  return run_local_session(
      *request, interrupted, [&] { return command.start(); },
      [&](const SessionProgress& now) { return watch.keep_going(now); });
}

Result<int> record(const RecordArguments& arguments) {
  double limit = 0;
  if (!arguments.duration.empty()) {
    const auto seconds = parse_seconds(arguments.duration);
    if (!seconds) {
      return std::unexpected(seconds.error());
    }
    limit = *seconds;
  }
  if (arguments.whole_system && !arguments.processes.empty()) {
    return fail("-a and -p exclude each other");
  }
  if (arguments.output.empty()) {
    return fail("-o: the session needs a folder");
  }
  catch_interrupts();
  ProgressLine progress(!arguments.no_progress);
  Command command;
  if (!arguments.command.empty()) {
    if (auto ready = command.prepare(arguments.command); !ready) {
      return std::unexpected(ready.error());
    }
  }
  Watch watch{.progress = progress, .command = command, .limit = limit};
  const auto result = (on_xen() ? record_domains : record_here)(arguments, command, watch);
  progress.clear();
  if (!result) {
    return std::unexpected(result.error());
  }
  summarise(*result, output_folder(arguments.output));
  if (watch.status && *watch.status != 0) {
    const int status = *watch.status;
    say(fmt::format("xenoprof: the command ended with {} {}",
                    WIFSIGNALED(status) ? "signal" : "status",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
  }
  return result->whole ? kExitWhole : kExitNotWhole;
}

}  // namespace

void add_record(CLI::App& app) {
  auto* command = app.add_subcommand("record", "Run a session: profile this host and its guests");
  static RecordArguments arguments;
  arguments.session.add_to(*command);
  command
      ->add_option("-g", arguments.call_chains,
                   "Record call chains: by frame pointers (fp, as without a value), or of code "
                   "without them by copies of BYTES of user stacks (dwarf[,BYTES]; 8192; not on "
                   "Xen)")
      ->type_name("fp|dwarf")
      ->expected(0, 1);
  command->add_flag("-a,--all", arguments.whole_system,
                    "The whole system, not COMMAND alone (on Xen always)");
  command->add_option("-p,--pid", arguments.processes, "Only these processes (not on Xen)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("PID");
  command
      ->add_option(
          "-F,--frequency", arguments.frequency,
          "Samples a second and CPU, for events without a count (not on Xen; 1000); cycles\n"
          "get the count of a busy CPU by it")
      ->type_name("HZ")
      ->check(at_least_one());
  command
      ->add_option(
          "-o,--output", arguments.output,
          "Folder for the session; it is made for this user alone, and another user's is refused")
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
      "On Xen: dom0, its guests and the hypervisor. Elsewhere: this system with the guests of its "
      "KVM, or COMMAND alone.\n"
      "Examples: xenoprof record -e instructions:1000000 -e cycles:2000000 -g --for 10s\n"
      "          xenoprof record -F 1000 -- make");
  command->final_callback([] { throw_status(record(arguments)); });
}

void settle_call_chain_option(const CLI::App& app, std::vector<std::string>& words) {
  const CLI::App* const record = app.get_subcommand("record");
  if (words.empty() || words[0] != record->get_name()) {
    return;
  }
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::string& word = words[i];
    if (word == "--" || !word.starts_with('-')) {
      return;  // COMMAND begins
    }
    if (word == "-g" || word == "-ag") {
      const bool given =
          i + 1 < words.size() && (words[i + 1] == "fp" || words[i + 1].starts_with("dwarf"));
      word += given ? words[i + 1] : "fp";
      if (given) {
        words.erase(words.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    } else if (const CLI::Option* const option = record->get_option_no_throw(word);
               option != nullptr && option->get_items_expected_max() != 0) {
      ++i;  // its value
    }
  }
}

}  // namespace xenoprof
