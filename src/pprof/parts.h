// SPDX-License-Identifier: GPL-2.0-or-later
// A pprof message taken apart without being unpacked: a hostile one can name forty times its size
// in objects, so each part is parsed alone and dropped before the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/result.h"
#include "pprof/pprof.h"

namespace xenoprof::pprof {

// The unit of the numbers in a sample.
inline constexpr std::string_view kUnit = "samples";

// Views into the message.
struct Parts {
  std::vector<std::string_view> sample_types;
  std::vector<std::string_view> samples;
  std::vector<std::string_view> mappings;
  std::vector<std::string_view> locations;
  std::vector<std::string_view> functions;
  std::vector<std::string_view> strings;
  std::vector<std::int64_t> comments;
};

Result<Parts> split(std::string_view message, const Limits& limits);

}  // namespace xenoprof::pprof
