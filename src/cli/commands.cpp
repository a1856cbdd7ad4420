// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/commands.h"

#include <CLI/CLI.hpp>
#include <string>

#include "cli/agent.h"
#include "cli/annotate.h"
#include "cli/diff.h"
#include "cli/export.h"
#include "cli/flame.h"
#include "cli/list.h"
#include "cli/record.h"
#include "cli/report.h"
#include "cli/top.h"
#include "cli/version.h"
#include "cli/work.h"

namespace xenoprof {

void add_commands(CLI::App& app) {
  app.name("xenoprof");
  app.description(
      "Shows where cycles and instructions go across the hypervisor, the host domain and every "
      "guest,\ndown to the function in the process.");
  app.footer("Example: xenoprof record -e instructions:1000000 --for 10s && xenoprof report");
  app.set_version_flag("--version", std::string("xenoprof ") + kVersion);
  app.require_subcommand(1);
  add_list(app);
  add_record(app);
  add_top(app);
  add_report(app);
  add_annotate(app);
  add_diff(app);
  add_work(app);
  add_flame(app);
  add_export(app);
  add_agent(app);
  // A program of its own (see main.cpp); here for --help.
  app.add_subcommand("lab", "Emulated machines to try xenoprof on; see `xenoprof lab --help`");
}

}  // namespace xenoprof
