// SPDX-License-Identifier: GPL-2.0-or-later
// How every command ends.
#pragma once

#include "model/result.h"

namespace xenoprof {

inline constexpr int kExitWhole = 0;
inline constexpr int kExitError = 1;     // one sentence on stderr said why
inline constexpr int kExitUsage = 2;     // the command line cannot be understood
inline constexpr int kExitNotWhole = 3;  // there is a result, and notes say what it lacks

// Ends the command with its status; CLI11 wants that thrown. An error is printed first.
void throw_status(const Result<int>& status);

}  // namespace xenoprof
