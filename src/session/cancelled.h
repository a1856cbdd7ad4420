// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>

namespace xenoprof {

// Asked while something waits for others; true gives it up.
using Cancelled = std::function<bool()>;

}  // namespace xenoprof
