// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "control.h"
#include "lab/state.pb.h"
#include "model/result.h"
#include "progress.h"
#include "state.h"

namespace xenoprof::lab {

// The lines of a console that an error shows: what a kernel says in its last need, with its stack.
inline constexpr int kConsoleLines = 60;

// Waits until the domain runs commands, or its kernel has panicked. The error of a wait that ran
// out says for what it waited and shows what `console_end` gives: the end of the domain's console.
Result<void> wait_for_domain(const pb::Lab& lab, const pb::Domain& domain, const LabFolder& folder,
                             std::chrono::seconds limit,
                             const std::function<std::string()>& console_end, Progress& progress);

}  // namespace xenoprof::lab
