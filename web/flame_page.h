// SPDX-License-Identifier: GPL-2.0-or-later
// The flame graph's page, complete but for the profile.
#pragma once

#include <string_view>

namespace xenoprof {

// Stands in the page where the profile's JSON belongs.
inline constexpr std::string_view kFlamePageData = "@PROFILE@";

std::string_view flame_page();

}  // namespace xenoprof
