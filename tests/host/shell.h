// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <utility>

namespace xenoprof {

// What a command in a shell prints, and whether it ended well.
std::pair<std::string, bool> run(const std::string& command);

}  // namespace xenoprof
