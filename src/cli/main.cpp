// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/exit_status.h"
#include "cli/record.h"

namespace {

// `xenoprof lab ...` is a program of its own beside this one, so that this one stays small enough
// to be put into every guest.
int run_lab(char** argv) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = self.parent_path() / "xenoprof-lab";
  argv[1] = const_cast<char*>(program.c_str());
  ::execv(program.c_str(), argv + 1);
  std::fprintf(stderr,
               "xenoprof: %s cannot be run: %s; the lab comes with the build, not with the "
               "agent's package\n",
               program.c_str(), std::strerror(errno));
  return 127;
}

// Else the first files opened would be stdin, stdout or stderr, and a complaint would go into the
// session's data.
void open_standard_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) < 0) {
      (void)!::open("/dev/null", O_RDWR);  // the lowest number that is free: this one
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();
  if (argc > 1 && std::strcmp(argv[1], "lab") == 0) {
    return run_lab(argv);
  }
  CLI::App app;
  xenoprof::add_commands(app);
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  xenoprof::settle_call_chain_option(app, words);
  std::ranges::reverse(words);  // as the parser wants them
  try {
    app.parse(std::move(words));
  } catch (const CLI::RuntimeError& status) {
    return status.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? xenoprof::kExitWhole : xenoprof::kExitUsage;
  }
  return xenoprof::kExitWhole;
}
