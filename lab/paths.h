// SPDX-License-Identifier: GPL-2.0-or-later
// Where things are: the user's cache folder, and the programs of this build.
#pragma once

#include <filesystem>

#include "model/result.h"

namespace xenoprof::lab {

// $XENOPROF_CACHE, or xenoprof in the user's cache folder. Everything the lab writes is below it,
// by path: refused where another user could plant something there or put another folder in its
// place.
Result<std::filesystem::path> cache_folder();

// The folder above bin/, lib/ and share/ of the running program; XENOPROF_PREFIX in the environment
// takes precedence (tests run from elsewhere).
Result<std::filesystem::path> build_prefix();

}  // namespace xenoprof::lab
