// SPDX-License-Identifier: GPL-2.0-or-later
// What a profile comes to, small enough to be sent while it grows.
#pragma once

#include <cstddef>
#include <string_view>

#include "model/profile.h"

namespace xenoprof {

// Of outline(): what stands for all that is not among the largest.
inline constexpr std::string_view kOthers = "(others)";

// The samples by domain, process, mode and function (or address, where it has no name), without
// call stacks, pids and vCPUs. What lies beyond the largest `rows` is added up by domain and mode.
Profile outline(const Profile& profile, std::size_t rows = 10'000);

}  // namespace xenoprof
