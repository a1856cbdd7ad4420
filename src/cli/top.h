// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

namespace CLI {
class App;
}

namespace xenoprof {
// `xenoprof top`; its callback exits by throwing CLI::RuntimeError with the status.
void add_top(CLI::App& app);
}  // namespace xenoprof
