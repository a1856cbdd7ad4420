// SPDX-License-Identifier: GPL-2.0-or-later
// Functions that were inlined, as if they had been called.
#pragma once

#include <string_view>

#include "model/profile.h"

namespace xenoprof {

// Stands behind the name of an inlined function, as perf has it.
inline constexpr std::string_view kInlined = " (inlined)";

// The same samples, whose stacks have a frame for each function that was inlined at one of their
// places, as far as the places' lines tell. A sample's leaf is then the innermost of these.
Profile with_inlined_frames(const Profile& profile);

}  // namespace xenoprof
