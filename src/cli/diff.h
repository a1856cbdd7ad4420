// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace CLI {
class App;
}

namespace xenoprof {
void add_diff(CLI::App& app);
}  // namespace xenoprof
