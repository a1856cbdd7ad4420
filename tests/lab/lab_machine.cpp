// SPDX-License-Identifier: GPL-2.0-or-later
#include "lab_machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include "control.h"
#include "copy.h"
#include "state.h"

namespace xenoprof {
namespace {

namespace fs = std::filesystem;

const std::string kLabProgram = std::string(XENOPROF_BUILD) + "/bin/xenoprof-lab";

// Runs the lab's program with this one's standard error; its exit status.
int run_lab_program(const std::vector<std::string>& arguments) {
  const pid_t child = fork();
  if (child == 0) {
    std::vector<char*> pointers = {const_cast<char*>(kLabProgram.c_str())};
    for (const std::string& argument : arguments)
      pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    execv(pointers[0], pointers.data());
    _exit(127);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Ends the lab when this process is gone without having done so itself: its end of the pipe is
// closed then, however it ended.
void start_guardian(const std::string& lab) {
  std::array<int, 2> alive{};
  if (pipe2(alive.data(), O_CLOEXEC) != 0)
    return;
  if (fork() != 0) {
    close(alive[0]);
    return;
  }
  setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    std::signal(signal, SIG_IGN);
  close(alive[1]);
  // Whoever waits for the end of the test's output must not wait for us.
  const int null = open("/dev/null", O_RDWR);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    dup2(null, stream);
  char byte = 0;
  while (read(alive[0], &byte, 1) > 0) {
  }
  _exit(run_lab_program({"down", "--name", lab}));
}

Result<lab::Endpoint> endpoint_in(const std::string& lab_name, const std::string& domain_name) {
  const auto lab = lab::running_lab(lab_name);
  if (!lab)
    return std::unexpected(lab.error());
  const auto domain = lab::find_domain(*lab, domain_name);
  if (!domain)
    return std::unexpected(domain.error());
  return lab::endpoint_of(*lab, *domain);
}

int report(const Result<void>& result) {
  if (result)
    return 0;
  ADD_FAILURE() << result.error().message;
  return -1;
}

}  // namespace

LabMachine& LabMachine::shared(const std::string& kind, const std::vector<std::string>& options) {
  static std::map<std::vector<std::string>, std::unique_ptr<LabMachine>> labs;
  std::vector<std::string> key = options;
  key.push_back(kind);
  auto& lab = labs[key];
  if (!lab) {
    const char* running = std::getenv("XENOPROF_TEST_LAB");
    const bool ours = running == nullptr || *running == '\0';
    lab.reset(new LabMachine(
        ours ? fmt::format("test-{}-{}", getpid(), labs.size()) : std::string(running), ours));
    if (ours)
      lab->boot(kind, options);
  }
  return *lab;
}

LabMachine::LabMachine(std::string name, bool ours) : name_(std::move(name)), ours_(ours) {
  std::string pattern = (fs::temp_directory_path() / "xenoprof-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) != nullptr)
    scratch_ = pattern;
}

LabMachine::~LabMachine() {
  std::error_code error;
  if (!scratch_.empty())
    fs::remove_all(scratch_, error);
  if (!ours_)
    return;
  run_lab_program({"down", "--name", name_});
  // The logs are of use only when something went wrong.
  const auto folder = lab::lab_folder(name_);
  if (folder && testing::UnitTest::GetInstance()->Passed())
    fs::remove_all(folder->path, error);
}

void LabMachine::boot(const std::string& kind, const std::vector<std::string>& options) {
  start_guardian(name_);
  std::vector<std::string> arguments = {"up", kind, "--name", name_};
  arguments.insert(arguments.end(), options.begin(), options.end());
  if (run_lab_program(arguments) != 0) {
    fmt::print(stderr, "no lab, no tests\n");
    std::exit(1);
  }
}

CommandResult LabMachine::exec(const std::string& domain, const std::vector<std::string>& command,
                               std::chrono::milliseconds limit) const {
  const auto endpoint = endpoint_in(name_, domain);
  if (!endpoint)
    return {-1, "", endpoint.error().message};
  const auto run = lab::capture_in_domain(*endpoint, command, limit);
  if (!run)
    return {-1, "", run.error().message};
  return {run->status.shell_status(), run->output, run->error};
}

bool LabMachine::answers(const std::string& domain) const {
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + 2min;
  // A domain that does not listen yet refuses at once.
  while (exec(domain, {"true"}, 1s).status != 0) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(100ms);
  }
  return true;
}

int LabMachine::copy_in(const fs::path& from, const std::string& domain,
                        const std::string& to) const {
  const auto endpoint = endpoint_in(name_, domain);
  return report(endpoint ? lab::copy_in(*endpoint, from, to)
                         : Result<void>(std::unexpected(endpoint.error())));
}

int LabMachine::copy_out(const std::string& domain, const std::string& from,
                         const fs::path& to) const {
  const auto endpoint = endpoint_in(name_, domain);
  return report(endpoint ? lab::copy_out(*endpoint, from, to)
                         : Result<void>(std::unexpected(endpoint.error())));
}

void LabMachine::write(const fs::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace xenoprof
