// SPDX-License-Identifier: GPL-2.0-or-later
#include "process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "interrupt.h"

namespace xenoprof::lab {
namespace {

constexpr int kCannotRun = 127;

[[noreturn]] void become_program(const ProgramRun& run, int output) {
  const int input = open("/dev/null", O_RDONLY);
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  for (const auto& [name, value] : run.environment)
    setenv(name.c_str(), value.c_str(), 1);
  if (!run.folder.empty() && chdir(run.folder.c_str()) != 0)
    _exit(kCannotRun);
  std::vector<char*> arguments;
  for (const std::string& argument : run.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  dprintf(STDERR_FILENO, "%s: %s\n", arguments[0], std::strerror(errno));
  _exit(kCannotRun);
}

}  // namespace

Result<ProgramResult> run_program(const ProgramRun& run) {
  std::array<int, 2> pipe{};
  if (pipe2(pipe.data(), O_CLOEXEC) != 0)
    return fail("cannot run {}: {}", run.arguments.front(), std::strerror(errno));
  const pid_t child = fork();
  if (child < 0)
    return fail("cannot run {}: {}", run.arguments.front(), std::strerror(errno));
  if (child == 0)
    become_program(run, pipe[1]);
  close(pipe[1]);
  ProgramResult result;
  std::array<char, 65536> bytes;
  while (true) {
    const ssize_t n = read(pipe[0], bytes.data(), bytes.size());
    if (n > 0)
      result.output.append(bytes.data(), static_cast<std::size_t>(n));
    else if (n == 0 || errno != EINTR)
      break;
    else if (interrupted())
      kill(child, SIGTERM);
  }
  close(pipe[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace xenoprof::lab
