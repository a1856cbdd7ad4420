// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/exit_status.h"

#include <CLI/Error.hpp>

#include "cli/terminal.h"
#include "model/text.h"

namespace xenoprof {

void throw_status(const Result<int>& status) {
  if (!status) {
    say("xenoprof: " + printable(status.error().message));
    throw CLI::RuntimeError(kExitError);
  }
  if (*status != kExitWhole) {
    throw CLI::RuntimeError(*status);
  }
}

}  // namespace xenoprof
