// SPDX-License-Identifier: GPL-2.0-or-later
// For numbers of rows, samples a second and the like. CLI11's own check would name its limits in
// all their digits, and takes -1 for a large number.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

namespace xenoprof {

inline CLI::Validator at_least_one() {
  return CLI::Validator(
      [](const std::string& text) {
        const bool digits = text.find_first_not_of("0123456789") == text.npos;
        return digits && text.find_first_not_of('0') != text.npos
                   ? ""
                   : fmt::format("'{}' is no whole number above 0", text);
      },
      "");
}

}  // namespace xenoprof
