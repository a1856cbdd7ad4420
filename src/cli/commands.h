// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace CLI {
class App;
}

namespace xenoprof {

// Makes `app` the whole command line of xenoprof.
void add_commands(CLI::App& app);

}  // namespace xenoprof
