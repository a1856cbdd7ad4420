// SPDX-License-Identifier: GPL-2.0-or-later
// Numbers from text.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace xenoprof {

// The number that `text` is, from its first character to its last; none when it holds anything else
// or more than a Number can be.
template <class Number>
std::optional<Number> number(std::string_view text, int base = 10) {
  Number parsed{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, parsed, base);
  return error == std::errc() && stop == end ? std::optional(parsed) : std::nullopt;
}

}  // namespace xenoprof
