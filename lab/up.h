// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "kind.h"
#include "model/result.h"
#include "progress.h"

namespace xenoprof::lab {

// Makes a lab and waits until each of its domains answers. When it fails, or is interrupted by
// SIGINT or SIGTERM, no machine is left behind.
Result<void> bring_up(const UpOptions& options, Progress& progress);

}  // namespace xenoprof::lab
