// SPDX-License-Identifier: GPL-2.0-or-later
// What `lab up` can be told about a machine; a study tells it the same way.
#pragma once

#include <CLI/CLI.hpp>

#include "kind.h"

namespace xenoprof::lab {

void add_up_options(CLI::App& command, UpOptions& options);

}  // namespace xenoprof::lab
