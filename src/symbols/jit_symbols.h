// SPDX-License-Identifier: GPL-2.0-or-later
// Symbols of code that a process made while it ran.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/result.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

// The process that "/tmp/perf-PID.map" is of: such is the name of the image that such code is in.
std::optional<std::int32_t> jit_process(std::string_view image);

// What that file says, as processes that make code write it for perf: a line a function, "START
// SIZE name", hexadecimal (tools/perf/Documentation/jit-interface.txt). Addresses are virtual. It
// must belong to root, to us, or to the user whose process it is: anyone may write into /tmp.
Result<SymbolTable> read_jit_symbols(std::string_view image);

}  // namespace xenoprof
