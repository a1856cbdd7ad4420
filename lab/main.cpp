// SPDX-License-Identifier: GPL-2.0-or-later
// `xenoprof lab`: machines to try xenoprof on.
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "control.h"
#include "copy.h"
#include "file_lock.h"
#include "paths.h"
#include "progress.h"
#include "state.h"
#include "study/study.h"
#include "up.h"
#include "up_options.h"

namespace xenoprof::lab {
namespace {

// Of a lab command that failed itself, apart from the statuses of commands in domains.
constexpr int kFailure = 125;

int report(const Error& error) {
  fmt::print(stderr, "xenoprof lab: {}\n", error.message);
  return kFailure;
}

int up(const UpOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  {
    Progress progress;
    if (auto done = bring_up(options, progress); !done) {
      progress.note(fmt::format("xenoprof lab: {}", done.error().message));
      return kFailure;
    }
  }
  const auto lab = running_lab(options.name);
  if (!lab)
    return report(lab.error());
  std::string domains;
  for (const pb::Domain& domain : lab->domains())
    domains += (domains.empty() ? "" : ", ") + domain.name();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print(stderr, "lab '{}' is up after {:.1f} s: {}\n", lab->name(), elapsed.count(), domains);
  return 0;
}

int status() {
  bool any = false;
  for (const std::string& name : lab_names()) {
    const auto folder = lab_folder(name);
    if (!folder)
      return report(folder.error());
    const auto lab = read_state(*folder);
    const auto pid = machine_pid(*folder);
    if (!pid && lab && !*lab)
      continue;
    any = true;
    if (!lab || !*lab) {
      fmt::print("{}: left over, process {}; end it with `xenoprof lab down --name {}`\n", name,
                 pid.value_or(0), name);
      continue;
    }
    const char* state = !pid                 ? "machine ended"
                        : (*lab)->complete() ? "up"
                                             : "starting, or left over";
    fmt::print("{}: {} ({}), {} CPUs, {} MiB, process {}, logs in {}\n", name, state,
               (*lab)->kind(), (*lab)->cpus(), (*lab)->memory_mib(), pid.value_or(0),
               folder->path.string());
    for (const pb::Domain& domain : (*lab)->domains())
      fmt::print("  {:8} {}\n", domain.name(), domain.address());
  }
  if (!any)
    fmt::print("no lab is up\n");
  return 0;
}

Result<Endpoint> endpoint_in(const std::string& lab_name, const std::string& domain_name) {
  const auto lab = running_lab(lab_name);
  if (!lab)
    return std::unexpected(lab.error());
  const auto domain = find_domain(*lab, domain_name);
  if (!domain)
    return std::unexpected(domain.error());
  return endpoint_of(*lab, *domain);
}

int exec(const std::string& lab_name, const std::string& domain,
         const std::vector<std::string>& command) {
  const auto endpoint = endpoint_in(lab_name, domain);
  if (!endpoint)
    return report(endpoint.error());
  ExecOptions options;
  options.forward_signals = true;
  const auto exit_status =
      exec_in_domain(*endpoint, command, {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}, options);
  return exit_status ? exit_status->shell_status() : report(exit_status.error());
}

// The terminal passes every key on while this lives.
class RawTerminal {
 public:
  RawTerminal() {
    tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() { tcsetattr(STDIN_FILENO, TCSANOW, &before_); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
};

// The machines have no descriptions of terminals: theirs takes the user's along, as ncurses has it
// ("hex:" of TERMINFO, term_variables(7)). Empty when there is none.
std::string terminal_description(const std::string& name) {
  for (const char* folder : {"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"}) {
    if (name.empty() || name.find('/') != std::string::npos)
      break;
    std::ifstream file(std::filesystem::path(folder) / name.substr(0, 1) / name, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    if (bytes.empty())
      continue;
    std::string text = "hex:";
    for (const char byte : bytes)
      text += fmt::format("{:02X}", static_cast<unsigned char>(byte));
    return text;
  }
  return {};
}

int shell(const std::string& lab_name, const std::string& domain) {
  const auto endpoint = endpoint_in(lab_name, domain);
  if (!endpoint)
    return report(endpoint.error());
  if (isatty(STDIN_FILENO) == 0)
    return report({"a shell needs a terminal; use `xenoprof lab exec` for commands"});
  ExecOptions options;
  options.terminal = true;
  options.forward_signals = true;
  const char* terminal = std::getenv("TERM");
  const std::string name = terminal == nullptr ? "vt100" : terminal;
  options.environment = {"TERM=" + name};
  if (const auto description = terminal_description(name); !description.empty())
    options.environment.push_back("TERMINFO=" + description);
  const auto exit_status = [&] {
    const RawTerminal raw;
    return exec_in_domain(*endpoint, {"sh", "-l"}, {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO},
                          options);
  }();
  return exit_status ? exit_status->shell_status() : report(exit_status.error());
}

struct Place {
  std::string domain;  // empty: this machine
  std::string path;
};

// DOMAIN:PATH, where what looks like a path before the colon is none of a domain.
Place place_of(const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos || text.substr(0, colon).find('/') != std::string::npos)
    return {"", text};
  const std::string path = text.substr(colon + 1);
  return {text.substr(0, colon), path.empty() ? "." : path};
}

int copy(const std::string& lab_name, const std::string& source, const std::string& destination) {
  const Place from = place_of(source);
  const Place to = place_of(destination);
  if (from.domain.empty() == to.domain.empty())
    return report({"one of the two places must be in a domain, as DOMAIN:PATH, and one here"});
  const auto endpoint = endpoint_in(lab_name, from.domain.empty() ? to.domain : from.domain);
  if (!endpoint)
    return report(endpoint.error());
  const auto copied = from.domain.empty() ? copy_in(*endpoint, from.path, to.path)
                                          : copy_out(*endpoint, from.path, to.path);
  return copied ? 0 : report(copied.error());
}

int down_one(const std::string& name, bool say_nothing_there) {
  const auto folder = lab_folder(name);
  if (!folder)
    return report(folder.error());
  if (!std::filesystem::exists(folder->path)) {
    fmt::print(stderr, "lab '{}' was not up\n", name);
    return 0;
  }
  const auto lock = FileLock::take(folder->lock_file(), FileLock::Wait::kNever);
  if (!lock)
    return report(lock.error());
  const auto ended = end_machine(*folder);
  if (!ended)
    return report(ended.error());
  if (*ended)
    fmt::print(stderr, "lab '{}' is down\n", name);
  else if (say_nothing_there)
    fmt::print(stderr, "lab '{}' was not up\n", name);
  return 0;
}

int down(const std::string& name, bool all) {
  if (!all)
    return down_one(name, true);
  int result = 0;
  for (const std::string& each : lab_names())
    result = std::max(result, down_one(each, false));
  return result;
}

int study(StudyOptions options) {
  constexpr int kCellsFailed = 3;
  constexpr int kInterrupted = 130;
  if (options.output.empty())
    options.output = std::filesystem::path(options.study).stem().string() + ".study";
  const auto end = run_study(options);
  if (!end)
    return report(end.error());
  const std::string folder = options.output.string();
  switch (*end) {
    case StudyEnd::kWhole:
      fmt::print("the results are in {0}: results.json, results.csv, and a session of each run\n",
                 folder);
      return 0;
    case StudyEnd::kCellsFailed:
      fmt::print("some cells failed; the results of the others are in {0}. --resume tries again\n",
                 folder);
      return kCellsFailed;
    case StudyEnd::kInterrupted:
      fmt::print("interrupted; finished cells are kept in {0}. --resume goes on\n", folder);
      return kInterrupted;
  }
  return kFailure;
}

int run(int argc, char** argv) {
  CLI::App app("Machines to try xenoprof on.", "xenoprof lab");
  app.require_subcommand(1);
  int result = 0;

  UpOptions options;
  auto* up_command = app.add_subcommand("up", "make a lab and wait until it is up");
  up_command->add_option("--name", options.name, "of the lab")->capture_default_str();
  add_up_options(*up_command, options);
  up_command->callback([&] { result = up(options); });

  app.add_subcommand("status", "show the labs")->callback([&] { result = status(); });

  std::string name = "default";
  std::string domain;
  std::vector<std::string> command;
  auto* exec_command = app.add_subcommand("exec", "run a command in a domain");
  exec_command->add_option("--name", name, "of the lab")->capture_default_str();
  exec_command->add_option("DOMAIN", domain, "linux, dom0, host, guest1, ...")->required();
  exec_command->add_option("COMMAND", command, "and its arguments, after --")->required();
  exec_command->positionals_at_end();
  exec_command->callback([&] {
    // CLI11 takes a first "--" for a positional when only positionals may follow.
    if (command.size() > 1 && command.front() == "--")
      command.erase(command.begin());
    result = exec(name, domain, command);
  });

  auto* shell_command = app.add_subcommand("shell", "a shell in a domain");
  shell_command->add_option("--name", name, "of the lab")->capture_default_str();
  shell_command->add_option("DOMAIN", domain, "linux, dom0, host, guest1, ...")->required();
  shell_command->callback([&] { result = shell(name, domain); });

  std::string source;
  std::string destination;
  auto* copy_command = app.add_subcommand("copy", "copy files or folders to or from a domain");
  copy_command->add_option("--name", name, "of the lab")->capture_default_str();
  copy_command->add_option("FROM", source, "path, or DOMAIN:PATH")->required();
  copy_command->add_option("TO", destination, "path, or DOMAIN:PATH")->required();
  copy_command->callback([&] { result = copy(name, source, destination); });

  StudyOptions study_options;
  auto* study_command =
      app.add_subcommand("study", "run workloads on several machines and compare what they cost");
  study_command
      ->add_option("STUDY", study_options.study, "FILE.toml, or overhead, receive-buffers, offload")
      ->required();
  study_command->add_flag("--quick", study_options.quick, "less work, fewer runs, larger errors");
  study_command->add_flag("--resume", study_options.resume,
                          "go on with the study in the folder; finished cells are kept");
  study_command
      ->add_option("-o,--output", study_options.output, "folder for the results [STUDY.study]")
      ->type_name("DIR");
  study_command
      ->add_option("--configurations", study_options.configurations, "only these, as in a,b")
      ->delimiter(',');
  study_command->callback([&] { result = study(study_options); });

  bool all = false;
  auto* down_command = app.add_subcommand("down", "end a lab");
  down_command->add_option("--name", name, "of the lab")->capture_default_str();
  down_command->add_flag("--all", all, "end every lab of this user");
  down_command->callback([&] { result = down(name, all); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kFailure;
  }
  return result;
}

}  // namespace
}  // namespace xenoprof::lab

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  // Also what QEMU, apt and make write for it is for this user alone.
  umask(S_IRWXG | S_IRWXO);
  return xenoprof::lab::run(argc, argv);
}
