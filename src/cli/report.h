// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <CLI/CLI.hpp>

namespace xenoprof {

// `xenoprof report`. When it runs, its exit status is left in `status`.
void add_report(CLI::App& app, int& status);

}  // namespace xenoprof
