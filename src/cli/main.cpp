// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/agent.h"
#include "cli/annotate.h"
#include "cli/exit_status.h"
#include "cli/list.h"
#include "cli/record.h"
#include "cli/report.h"

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

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "lab") == 0) {
    return run_lab(argv);
  }
  CLI::App app(
      "Shows where cycles and instructions go across the hypervisor, the host domain and every "
      "guest,\ndown to the function in the process.\n\n"
      "Example: xenoprof record -e instructions:1000000 --for 10s && xenoprof report");
  app.name("xenoprof");
  app.set_version_flag("--version", XENOPROF_VERSION);
  app.require_subcommand(1);
  xenoprof::add_list(app);
  xenoprof::add_record(app);
  xenoprof::add_report(app);
  xenoprof::add_annotate(app);
  xenoprof::add_agent(app);
  // Runs as a program of its own, see above; here for --help.
  app.add_subcommand("lab", "Emulated machines to try xenoprof on; see `xenoprof lab --help`");
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& status) {
    return status.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? xenoprof::kExitWhole : xenoprof::kExitUsage;
  }
  return xenoprof::kExitWhole;
}
