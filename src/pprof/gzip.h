// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "model/result.h"

namespace xenoprof::pprof {

// Without name and time: equal data gives equal bytes.
std::string gzip(std::string_view data);

// Fails when more than `limit` bytes would come out, before it has them all in memory.
Result<std::string> gunzip(std::string_view compressed, std::size_t limit);

}  // namespace xenoprof::pprof
