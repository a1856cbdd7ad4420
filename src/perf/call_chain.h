// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <vector>

#include "model/mode.h"

namespace xenoprof::perf {

// Makes the tracepoint's call chain, which begins in the driver's handler, that of the sample: what
// stands above the sampled PC goes. A chain that does not lead to the PC, or does not belong to the
// sample (`exact` is false), becomes the PC alone. Markers (PERF_CONTEXT_*) stay right.
void cut_call_chain(std::uint64_t ip, Mode mode, bool exact, std::vector<std::uint64_t>& chain);

}  // namespace xenoprof::perf
