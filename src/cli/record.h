// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace xenoprof {
// `xenoprof record`; its callback exits by throwing CLI::RuntimeError with the status.
void add_record(CLI::App& app);

// Before the words of a command line are parsed: -g has a value or none, and in front of COMMAND
// the parser could not tell.
void settle_call_chain_option(const CLI::App& app, std::vector<std::string>& words);
}  // namespace xenoprof
