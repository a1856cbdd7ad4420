// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <utility>

#include "model/result.h"

namespace CLI {
class App;
}

namespace xenoprof {

// "UNIT=N".
Result<std::pair<std::string, double>> parse_work(const std::string& text);

void add_work(CLI::App& app);

}  // namespace xenoprof
