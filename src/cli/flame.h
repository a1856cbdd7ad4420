// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <CLI/CLI.hpp>

namespace xenoprof {

void add_flame(CLI::App& app);

}  // namespace xenoprof
