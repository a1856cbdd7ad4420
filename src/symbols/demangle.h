// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace xenoprof {

// A C++ or Rust function's name as its author wrote it, without parameters, as perf shows it. Any
// other name, and one that would become absurdly long, comes back as it is.
std::string demangle(std::string_view name);

}  // namespace xenoprof
